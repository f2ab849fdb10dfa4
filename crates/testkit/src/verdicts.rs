//! Scenarios: resources, and the verdicts they must bring about. See `corpus/verdicts/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use tortie_client::files;
use tortie_model::{Object, ObjectMeta, PolicyTest, Resource};
use tortie_policy::{Case, Trust};

use crate::{Answer, Engine, Reading, Session, workspace};

/// Annotation of a PolicyTest: the trust domain of the receivers, `cluster.local` when absent.
const TRUST_DOMAIN: &str = "tortie.dev/trust-domain";
/// Annotation of a PolicyTest: further trust domains that are believed, separated by commas.
const TRUST_ALIASES: &str = "tortie.dev/trust-domain-aliases";

/// Annotation of a PolicyTest: `true` if resources that cannot be enforced as written count all the
/// same, as those of a server do.
const MENDED: &str = "tortie.dev/mended";

/// One file: resources, and cases about them.
#[derive(Debug)]
pub struct Scenario {
    /// The file, relative to `corpus/verdicts`.
    pub file: PathBuf,
    /// Everything but the cases.
    pub resources: Vec<Resource>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Whether what cannot be enforced as written is mended, not refused.
    pub mended: bool,
    /// The cases.
    pub cases: Vec<Case>,
}

/// What came of running the corpus on an engine.
#[derive(Debug, Default)]
pub struct Report {
    /// Scenarios run.
    pub scenarios: usize,
    /// Cases whose verdict was as expected.
    pub passed: usize,
    /// Those of them in which the rule that must decide was named, and did.
    pub with_reason: usize,
    /// Cases the engine does not judge.
    pub out_of_scope: usize,
    /// Every disagreement, with the place of the case.
    pub failures: Vec<String>,
}

/// The folder of the scenarios.
pub fn folder() -> PathBuf {
    workspace::root().join("corpus/verdicts")
}

/// Reads all scenarios, in the order of their names.
///
/// # Errors
/// Every file that is not a scenario: nothing is passed over.
pub fn scenarios() -> anyhow::Result<Vec<Scenario>> {
    let (folder, mut paths) = (folder(), Vec::new());
    find(&folder, &mut paths).with_context(|| folder.display().to_string())?;
    paths.sort();
    let (mut scenarios, mut errors) = (Vec::new(), Vec::new());
    for path in &paths {
        match read(&folder, path) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(scenarios)
}

/// Puts every case of every scenario to an engine.
///
/// # Errors
/// If the corpus cannot be read. Disagreements are in the report.
pub fn run(engine: &dyn Engine) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for scenario in scenarios()? {
        report.scenarios += 1;
        run_cases(engine, &scenario, &mut report);
    }
    Ok(report)
}

/// Puts the cases of a scenario to an engine, which takes the resources in once for every way in
/// which a case wants them read.
fn run_cases(engine: &dyn Engine, scenario: &Scenario, report: &mut Report) {
    let mut sessions = BTreeMap::new();
    for case in &scenario.cases {
        let reading = Reading { compat: case.compat, mended: scenario.mended };
        let session = sessions
            .entry(reading)
            .or_insert_with(|| engine.open_as(&scenario.resources, &scenario.trust, reading));
        let outcome = match session {
            Ok(Some(session)) => judge(&**session, case),
            Ok(None) => Ok(None),
            Err(error) => Err(anyhow!("{error}")),
        };
        match outcome {
            Ok(None) => report.out_of_scope += 1,
            Ok(Some(with_reason)) => {
                report.passed += 1;
                report.with_reason += usize::from(with_reason);
            }
            Err(error) => {
                let place = format!("{}: {}", scenario.file.display(), case.name);
                report.failures.push(format!("{place}: {error}"));
            }
        }
    }
}

/// Whether the deciding rule was compared too; nothing if the engine does not judge the flow.
fn judge(session: &dyn Session, case: &Case) -> anyhow::Result<Option<bool>> {
    match session.ask(&case.query, case.staged)? {
        Answer::OutOfScope => Ok(None),
        Answer::Verdict(verdict) if verdict == case.expect => Ok(Some(false)),
        Answer::Verdict(verdict) => bail!("expected {}, found {verdict}", case.expect),
        Answer::Explained(explanation) => match case.difference(&explanation) {
            None => Ok(Some(case.decided_by.is_some())),
            Some(difference) => Err(anyhow!("{difference}\n{explanation:#?}")),
        },
    }
}

fn find(folder: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, paths)?;
        } else if path.extension().is_some_and(|e| e == "yaml") {
            paths.push(path);
        }
    }
    Ok(())
}

fn read(folder: &Path, path: &Path) -> anyhow::Result<Scenario> {
    let file = path.strip_prefix(folder).unwrap_or(path).to_owned();
    let text = fs::read_to_string(path)?;
    parse(file.clone(), &text).with_context(|| file.display().to_string())
}

fn parse(file: PathBuf, text: &str) -> anyhow::Result<Scenario> {
    ensure!(text.starts_with("# "), "the first line must say which fact the scenario pins");
    let name = file.display().to_string();
    let loaded = files::load_text(&name, text.as_bytes()).map_err(|errors| {
        anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    ensure!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let (tests, resources): (Vec<_>, Vec<_>) =
        loaded.resources.into_iter().partition(|r| matches!(r.object, Object::PolicyTest(_)));
    let [Resource { object: Object::PolicyTest(test), .. }] = tests.as_slice() else {
        bail!("there must be one PolicyTest, found {}", tests.len());
    };
    let mended = test.metadata.annotations.get(MENDED).is_some_and(|text| text == "true");
    Ok(Scenario { file, resources, trust: trust(&test.metadata), mended, cases: cases(test)? })
}

fn trust(metadata: &ObjectMeta) -> Trust {
    let mut trust = Trust::default();
    if let Some(domain) = metadata.annotations.get(TRUST_DOMAIN) {
        trust.domain = domain.into();
    }
    let aliases = metadata.annotations.get(TRUST_ALIASES);
    trust.aliases = aliases.iter().flat_map(|a| a.split(',')).map(|a| a.trim().into()).collect();
    trust
}

fn cases(test: &PolicyTest) -> anyhow::Result<Vec<Case>> {
    ensure!(!test.cases.is_empty(), "there are no cases");
    let cases = test.cases.iter().enumerate().map(|(index, wire)| {
        ensure!(!wire.name.is_empty(), "cases[{index}] has no name");
        Case::try_from(wire).map_err(|error| anyhow!("cases[{index}].{error}"))
    });
    let cases: Vec<Case> = cases.collect::<anyhow::Result<_>>()?;
    for (index, case) in cases.iter().enumerate() {
        let again = cases.iter().skip(index + 1).any(|other| other.name == case.name);
        ensure!(!again, "two cases are called `{}`", case.name);
    }
    Ok(cases)
}
