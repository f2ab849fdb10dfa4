//! The lab alone, as a program: what the tests of this crate run. It answers to the commands a
//! lab's own processes use, as an executable that embeds the lab must.

use std::process::ExitCode;

use clap::Parser;
use tortie_lab::cli::{LabArgs, run};

#[derive(Debug, Parser)]
#[command(name = "tortie-lab")]
enum Program {
    /// The lab
    Lab(LabArgs),
    /// The lab's API server
    Apiserver(tortie_apiserver::cli::Args),
    /// The agent of the node
    Agent(tortie_agent::cli::Cli),
    /// The authorizer beside each sidecar
    Authz(tortie_authz::cli::Cli),
}

fn main() -> ExitCode {
    let args = match Program::parse() {
        Program::Lab(args) => args,
        Program::Apiserver(args) => return tortie_apiserver::cli::run(&args),
        Program::Agent(cli) => return tortie_agent::cli::run(&cli),
        Program::Authz(cli) => return tortie_authz::cli::run(cli),
    };
    match run(args) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            error.exit_code().into()
        }
    }
}
