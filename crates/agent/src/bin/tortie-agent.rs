//! The agent alone.

use std::process::ExitCode;

use clap::Parser;

/// The agent of one node.
#[derive(Debug, Parser)]
#[command(name = "tortie-agent", version)]
struct Program {
    #[command(flatten)]
    agent: tortie_agent::cli::Cli,
}

fn main() -> ExitCode {
    tortie_agent::cli::run(&Program::parse().agent)
}
