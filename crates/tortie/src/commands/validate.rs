//! `tortie validate`: every error of the files given, and what they are warned of.

use serde::Serialize;
use tortie_client::files::{FileError, Loaded};
use tortie_policy::Cluster;
use tortie_policy::lint::{self, Code};

use crate::input::Files;
use crate::output::{Failure, Format, YES, json, remark, text, warn};

const EXAMPLES: &str = "Examples:
  tortie validate -f policies/ -R -o json
  tortie validate -f policies/ -f cluster.yaml --deny-warnings

Each warning has a code; docs/validation.md says what it means. Some are given only if workloads are
among the files.

Exit status: 0 valid; 2 errors, or with --deny-warnings any warning that has a code";

/// Arguments of `tortie validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// End with status 2 if there are warnings
    #[arg(long)]
    deny_warnings: bool,

    /// Give warnings as rows of JSON, too, and not only on standard error
    #[arg(long)]
    warnings: bool,

    /// Shape of the answer
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// An error or a warning as JSON.
#[derive(Debug, Serialize)]
struct Row {
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(flatten)]
    found: FileError,
}

/// Checks the files. Exit status 2 if anything is wrong.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    match (args.files.check(), args.output) {
        (Ok((loaded, cluster)), output) => {
            warn(&loaded.warnings);
            let warnings = warnings(&loaded, &cluster);
            match output {
                Format::Table => {
                    tell(&warnings);
                    summary(loaded.resources.len(), warnings.len())?;
                }
                Format::Json if args.warnings || args.deny_warnings => {
                    json(&warnings.iter().map(warning_row).collect::<Vec<_>>())?;
                }
                // A row is an error to whoever did not ask for more.
                Format::Json => {
                    tell(&warnings);
                    json(&[(); 0])?;
                }
            }
            Ok(if args.deny_warnings && !warnings.is_empty() { 2 } else { YES })
        }
        (Err(errors), Format::Table) => Err(Failure::from(errors)),
        (Err(errors), Format::Json) => {
            let row = |found| Row { severity: "error", code: None, found };
            json(&errors.into_iter().map(row).collect::<Vec<_>>())?;
            Ok(2)
        }
    }
}

fn warnings(loaded: &Loaded, cluster: &Cluster) -> Vec<(Code, FileError)> {
    let found = lint::lint(&loaded.resources, cluster).into_iter();
    found.map(|warning| (warning.code, loaded.error(warning.resource, warning.text))).collect()
}

fn warning_row((code, found): &(Code, FileError)) -> Row {
    Row { severity: "warning", code: Some(code.as_str()), found: found.clone() }
}

fn tell(warnings: &[(Code, FileError)]) {
    for (code, warning) in warnings {
        remark(format_args!("warning[{code}]: {warning}"));
        if let Some(hint) = &warning.hint {
            remark(format_args!("hint: {hint}"));
        }
    }
}

fn summary(resources: usize, warnings: usize) -> Result<(), Failure> {
    match warnings {
        0 => text(format_args!("{resources} resources are valid\n")),
        1 => text(format_args!("{resources} resources are valid, with 1 warning\n")),
        count => text(format_args!("{resources} resources are valid, with {count} warnings\n")),
    }
}
