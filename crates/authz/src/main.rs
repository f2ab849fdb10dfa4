//! `tortie-authz`: the authorizer alone, for the sidecar.

use std::process::ExitCode;

use clap::Parser;

/// Decides Envoy's external authorization requests by Calico policy
#[derive(Debug, Parser)]
#[command(name = "tortie-authz", version)]
struct Main {
    #[command(flatten)]
    cli: tortie_authz::cli::Cli,
}

fn main() -> ExitCode {
    match tortie_authz::cli::run_by_name(std::env::args_os()) {
        Some(code) => code,
        None => tortie_authz::cli::run(Main::parse().cli),
    }
}
