//! `tortie`: workload access control on the command line.

mod commands;
mod demo;
mod input;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::Failure;

/// Decides who may talk to whom, by identity, address and HTTP request, and says why.
#[derive(Debug, Parser)]
#[command(name = "tortie", version, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  tortie validate -f policies/                        every error in the files, with its reason
  tortie explain -f . --from default/a --to default/b --port 80
  tortie demo yaobank                                 see two attacks stopped

Exit status: 0 done, or yes; 1 no (denied, a test failed); 2 bad usage or input; 3 unreachable";

#[derive(Debug, Subcommand)]
enum Command {
    /// Check resources and report every error
    Validate(commands::validate::Args),
    /// Say whether a flow is allowed, and by which rule
    Explain(commands::explain::Args),
    /// Say who reaches whom
    Connectivity(commands::connectivity::Args),
    /// Show which verdicts between workloads a change of policy changes
    Diff(commands::diff::Args),
    /// Check expectations on flows
    Test(commands::test::Args),
    /// Work with label selectors
    Selector(commands::selector::Args),
    /// Print what the agent of a node would tell
    Calc(commands::calc::Args),
    /// Print what the agent of a node would have the kernel enforce
    Nft(commands::nft::Args),
    /// The agent of a node: keeps its kernel and its sidecars to policy
    Agent(tortie_agent::cli::Cli),
    /// A Kubernetes API over a store of its own, for kubectl
    Apiserver(tortie_apiserver::cli::Args),
    /// The API server and this machine's agent, by one command
    Up(commands::up::Args),
    /// Add, list and remove users of the API server
    User(tortie_apiserver::cli::user::Args),
    /// Refuse, in a real cluster, what could not be enforced
    Webhook(tortie_apiserver::webhook::Args),
    /// A part of `tortie up`
    #[command(hide = true)]
    Part(commands::up::confine::Args),
    /// Look at what the node's agent tells sidecars
    Policysync(commands::policysync::Args),
    /// The authorizer that answers Envoy
    Authz(tortie_authz::cli::Cli),
    /// A one-machine cluster: pods in network namespaces, with real Envoys
    Lab(tortie_lab::cli::LabArgs),
    /// Play a scripted tutorial on a lab
    Demo(commands::demo::Args),
}

fn main() -> ExitCode {
    if let Some(code) = tortie_authz::cli::run_by_name(std::env::args_os()) {
        return code;
    }
    let result = match Cli::parse().command {
        Command::Validate(args) => commands::validate::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Connectivity(args) => commands::connectivity::run(&args),
        Command::Diff(args) => commands::diff::run(&args),
        Command::Test(args) => commands::test::run(&args),
        Command::Selector(args) => commands::selector::run(&args),
        Command::Calc(args) => commands::calc::run(&args),
        Command::Nft(args) => commands::nft::run(&args),
        Command::Agent(args) => return tortie_agent::cli::run(&args),
        Command::Apiserver(args) => return tortie_apiserver::cli::run(&args),
        Command::Up(args) => commands::up::run(&args),
        Command::User(args) => return tortie_apiserver::cli::user::run(&args),
        Command::Webhook(args) => return tortie_apiserver::webhook::run(&args),
        Command::Part(args) => commands::up::confine::run(&args),
        Command::Policysync(args) => commands::policysync::run(&args),
        Command::Authz(args) => return tortie_authz::cli::run(args),
        Command::Lab(args) => tortie_lab::cli::run(args).map_err(Failure::from),
        Command::Demo(args) => commands::demo::run(&args),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.report(),
    }
}
