//! The lab alone, as a program: what the tests of this crate run. It answers to the commands a
//! lab's own processes use, as an executable that embeds the lab must.

use std::process::ExitCode;

use clap::Parser;
use tortie_lab::cli::{LabArgs, run};

#[derive(Debug, Parser)]
#[command(name = "tortie-lab")]
enum Program {
    /// The lab.
    Lab(LabArgs),
}

fn main() -> ExitCode {
    let Program::Lab(args) = Program::parse();
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
