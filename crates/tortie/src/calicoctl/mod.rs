//! calicoctl: its verbs, flags, configuration and words, over Tortie's client and admission.
//!
//! The program answers to that name, and to `tortie calicoctl`. What it says of success and failure is
//! worded as scripts expect it, and whatever fails ends with exit status 1, but for the verbs that
//! Tortie does not have: 2.

mod args;
mod config;
mod etcd;
mod get;
pub(crate) mod kinds;
mod store;
mod verbs;
mod version;
mod virtual_kinds;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use args::Command;
pub(crate) use args::{Calicoctl, Cli};

/// Runs as calicoctl if that is what the program is called by.
pub(crate) fn run_by_name(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let name = arguments.next()?;
    if Path::new(&name).file_name()?.to_str()? != "calicoctl" {
        return None;
    }
    let command = std::iter::once(OsString::from("calicoctl")).chain(arguments);
    Some(match Calicoctl::try_parse_from(command) {
        Ok(Calicoctl { cli }) => run(&cli),
        Err(error) => {
            // A closed pipe has nobody to tell.
            let _ = error.print();
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    })
}

/// Runs a command.
pub(crate) fn run(cli: &Cli) -> ExitCode {
    let done = match &cli.command {
        Command::Create(args) => verbs::create(cli, args),
        Command::Apply(args) => verbs::apply(cli, args),
        Command::Replace(args) => verbs::replace(cli, args),
        Command::Delete(args) => verbs::delete(cli, args),
        Command::Patch(args) => verbs::patch(cli, args),
        Command::Label(args) => verbs::label(cli, args),
        Command::Validate(args) => verbs::validate(args),
        Command::Get(args) => get::run(cli, args),
        Command::Version(args) => version::run(cli, args),
        Command::Absent(verb) => return verb.refused().report_bare(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.plain().report_bare(),
    }
}
