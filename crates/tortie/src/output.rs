//! How commands answer: exit statuses, errors, JSON.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

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

    /// The honest answer is no: somebody else decides that, and has.
    pub(crate) fn refused(error: impl Display) -> Failure {
        Failure { status: NO, errors: vec![(error.to_string(), None)] }
    }

    /// Something needed could not be reached.
    pub(crate) fn unreachable(error: impl Display) -> Failure {
        Failure { status: UNREACHABLE, errors: vec![(error.to_string(), None)] }
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        if let Some((_, slot)) = self.errors.last_mut() {
            *slot = Some(hint.into());
        }
        self
    }

    /// Both. The worse exit status counts.
    #[must_use]
    pub(crate) fn and(mut self, other: Failure) -> Failure {
        self.status = self.status.max(other.status);
        self.errors.extend(other.errors);
        self
    }

    /// The same, said of a place.
    #[must_use]
    pub(crate) fn at(mut self, place: impl Display) -> Failure {
        for (error, _) in &mut self.errors {
            *error = format!("{place}: {error}");
        }
        self
    }

    /// The same with the exit status of programs that know but one.
    #[must_use]
    pub(crate) fn plain(self) -> Failure {
        Failure { status: NO, ..self }
    }

    /// Writes the errors to standard error.
    pub(crate) fn report(self) -> ExitCode {
        self.report_as("error: ")
    }

    /// The same, in the way of a program that does not say that an error is one.
    pub(crate) fn report_bare(self) -> ExitCode {
        self.report_as("")
    }

    fn report_as(self, word: &str) -> ExitCode {
        for (error, hint) in &self.errors {
            remark(format_args!("{word}{error}"));
            if let Some(hint) = hint {
                remark(format_args!("hint: {hint}"));
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

/// An answer that could not be written. Whoever closed the pipe has seen enough and is told nothing.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure { status: UNREACHABLE, errors: Vec::new() };
        }
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
        remark(format_args!("warning: {warning}"));
    }
}

/// Writes a line to standard error. Unlike `eprintln!`, it does not panic where nobody reads it.
pub(crate) fn remark(line: impl Display) {
    let line = harmless(&line.to_string()) + "\n";
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Text for people, without what would steer their terminal or turn its text around: names and values
/// are by whoever wrote the object.
pub(crate) fn harmless(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        match steers(c) || turns(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
        shown
    })
}

/// Writes text to standard output. Unlike `print!`, it takes a closed pipe for an error.
pub(crate) fn text(text: impl Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    write!(output, "{text}")?;
    Ok(output.flush()?)
}

/// Writes one JSON document to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let document = serde_json::to_string_pretty(value).map_err(Failure::invalid)?;
    text(document + "\n")
}

/// Progress of long work on standard error, from its second second on.
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    shown: Instant,
}

impl Progress {
    /// Nothing done yet.
    pub(crate) fn new(what: &'static str, total: usize) -> Progress {
        Progress { what, total, done: 0, shown: Instant::now() }
    }

    /// One more done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        if self.shown.elapsed() > Duration::from_secs(1) {
            self.shown = Instant::now();
            remark(format_args!("{} of {} {}", self.done, self.total, self.what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        for (text, shown) in [
            ("spec.selector: `ü` at\n\tbyte 1", "spec.selector: `ü` at\n\tbyte 1"),
            ("a\u{1b}[2Jb\r\u{7f}\u{9b}", "a\\u{1b}[2Jb\\u{d}\\u{7f}\\u{9b}"),
            ("evil\u{202e}txt.yaml\u{2066}", "evil\\u{202e}txt.yaml\\u{2066}"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }
}
