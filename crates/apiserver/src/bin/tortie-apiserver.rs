//! The API server alone.

use std::process::ExitCode;

use clap::Parser;

/// A Kubernetes API over a store of its own, for kubectl.
#[derive(Debug, Parser)]
#[command(name = "tortie-apiserver", version)]
struct Program {
    #[command(flatten)]
    args: tortie_apiserver::cli::Args,
}

fn main() -> ExitCode {
    tortie_apiserver::cli::run(&Program::parse().args)
}
