//! How commands answer: exit statuses, errors, JSON.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;
use tortie_client::files::FileError;

/// Done, or yes.
pub(crate) const YES: u8 = 0;
/// The honest answer is no.
pub(crate) const NO: u8 = 1;
/// Bad usage or invalid input.
const INVALID: u8 = 2;
/// Something needed could not be reached.
const UNREACHABLE: u8 = 3;

/// Shape of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Table,
    /// One JSON document
    Json,
}

/// Why a command could not be done.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    errors: Vec<(String, Option<String>)>,
}

impl Failure {
    /// Bad usage or input.
    pub(crate) fn invalid(error: impl Display) -> Failure {
        Failure { status: INVALID, errors: vec![(error.to_string(), None)] }
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        if let Some((_, slot)) = self.errors.last_mut() {
            *slot = Some(hint.into());
        }
        self
    }

    /// Writes the errors to standard error.
    pub(crate) fn report(self) -> ExitCode {
        for (error, hint) in &self.errors {
            eprintln!("error: {error}");
            if let Some(hint) = hint {
                eprintln!("hint: {hint}");
            }
        }
        ExitCode::from(self.status)
    }
}

impl From<Vec<FileError>> for Failure {
    fn from(errors: Vec<FileError>) -> Failure {
        let text = |error: &FileError| (format!("invalid input: {error}"), error.hint.clone());
        Failure { status: INVALID, errors: errors.iter().map(text).collect() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure { status: UNREACHABLE, errors: vec![(format!("output: {error}"), None)] }
    }
}

impl From<tortie_lab::Error> for Failure {
    fn from(error: tortie_lab::Error) -> Failure {
        Failure { status: error.exit_code(), errors: vec![(error.to_string(), error.hint())] }
    }
}

/// What the lab says keeps its exit status and hint; anything else is something that could not be
/// reached.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        match error.downcast::<tortie_lab::Error>() {
            Ok(error) => Failure::from(error),
            Err(error) => {
                Failure { status: UNREACHABLE, errors: vec![(format!("{error:#}"), None)] }
            }
        }
    }
}

/// Writes warnings to standard error.
pub(crate) fn warn(warnings: &[FileError]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Writes one JSON document to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::invalid)?;
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}
