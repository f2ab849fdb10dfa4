//! `tortie test`: expectations on flows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tortie_client::files;
use tortie_model::{Object, PolicyTest, Resource};
use tortie_policy::{Case, Cluster, Compat, Engine, Explanation, Outcome, Trust};

use super::explain::{text, trust};
use crate::input::{EngineName, Files, chosen};
use crate::output::{self, Failure, Format, NO, YES, json};

/// Arguments of `tortie test`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tortie test -f examples/yaobank examples/yaobank/policy-test.yaml"
)]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Files with expectations: documents of kind PolicyTest (`tortie.dev/v1`)
    #[arg(value_name = "CASES", required = true)]
    cases: Vec<PathBuf>,

    /// Trust domain of the receivers [default: as configured, or cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,

    /// Which engine gives verdicts
    #[arg(long, value_enum, default_value_t)]
    engine: EngineName,

    /// Shape of the answer
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// One case and what came of it.
#[derive(Serialize)]
struct Report {
    name: String,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Box<Explanation>>,
}

/// Runs the cases. Exit status 1 if one failed.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let (loaded, cluster) = args.files.cluster()?;
    let trust = trust(&cluster, args.trust_domain.as_deref());
    let cases = cases(&args.cases)?;
    let mut views = Views {
        loaded: &loaded,
        compat: args.files.compat(),
        engine: args.engine,
        trust: &trust,
        known: BTreeMap::new(),
    };
    let mut reports: Vec<Report> = Vec::new();
    for case in &cases {
        let (engine, cluster) = views.of(case)?;
        reports.push(report(case, case.run_by(&**engine, cluster, &trust)));
    }
    let failed = reports.iter().filter(|r| !r.passed).count();
    match args.output {
        Format::Json => json(&reports)?,
        Format::Table => output::text(table(&reports, failed))?,
    }
    Ok(if failed == 0 { YES } else { NO })
}

/// A cluster, and what gives verdicts on it.
type View = (Box<dyn Engine>, Cluster);

/// The resources as the cases want them read, each way once.
struct Views<'l> {
    loaded: &'l files::Loaded,
    compat: Compat,
    engine: EngineName,
    trust: &'l Trust,
    known: BTreeMap<(Compat, bool), View>,
}

impl Views<'_> {
    fn of(&mut self, case: &Case) -> Result<&View, Failure> {
        let compat = self.compat.union(case.compat);
        Ok(match self.known.entry((compat, case.staged)) {
            Entry::Occupied(view) => view.into_mut(),
            Entry::Vacant(place) => {
                let cluster = chosen(self.loaded, compat)?;
                let cluster = if case.staged { cluster.pending() } else { cluster };
                place.insert((self.engine.of(&cluster, self.trust), cluster))
            }
        })
    }
}

fn cases(paths: &[PathBuf]) -> Result<Vec<Case>, Failure> {
    let loaded = files::load(paths, false)?;
    let mut cases = Vec::new();
    let mut errors = Vec::new();
    for (index, test) in loaded.resources.iter().enumerate().filter_map(as_test) {
        for (number, wire) in test.cases.iter().enumerate() {
            match Case::try_from(wire) {
                Ok(case) => cases.push(case),
                Err(mut error) => {
                    error.field = format!("cases[{number}].{}", error.field);
                    errors.push(loaded.error(index, error));
                }
            }
        }
    }
    if !errors.is_empty() {
        return Err(Failure::from(errors));
    }
    if cases.is_empty() {
        let hint = "write a document `apiVersion: tortie.dev/v1`, `kind: PolicyTest` with `cases`";
        return Err(Failure::invalid("no cases to test").hint(hint));
    }
    Ok(cases)
}

fn as_test((index, resource): (usize, &Resource)) -> Option<(usize, &PolicyTest)> {
    match &resource.object {
        Object::PolicyTest(test) => Some((index, test)),
        _ => None,
    }
}

fn report(case: &Case, outcome: Outcome) -> Report {
    let (difference, explanation) = match outcome {
        Outcome::Passed => (None, None),
        Outcome::Failed { difference, explanation } => (Some(difference), Some(explanation)),
        Outcome::Impossible(error) => (Some(error.to_string()), None),
    };
    Report { name: case.name.clone(), passed: difference.is_none(), difference, explanation }
}

fn table(reports: &[Report], failed: usize) -> String {
    let mut table = String::new();
    for report in reports.iter().filter(|r| !r.passed) {
        let difference = report.difference.as_deref().unwrap_or_default();
        let _ = writeln!(table, "FAILED {}: {difference}", report.name);
        if let Some(explanation) = &report.explanation {
            table.push_str(&text(explanation));
        }
    }
    let _ = writeln!(table, "{} passed, {failed} failed", reports.len() - failed);
    table
}
