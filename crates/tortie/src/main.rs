//! `tortie`: workload access control on the command line.

mod calicoctl;
mod commands;
mod demo;
mod early;
mod input;
mod output;
mod remote;
mod show;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::label::{self, Pairs};
use crate::commands::send;
use crate::commands::stage::{self, Way};
use crate::output::Failure;
use crate::remote::Whereabouts;
use crate::remote::change::Verb;

/// Decides who may talk to whom, by identity, address and HTTP request, and says why.
#[derive(Debug, Parser)]
#[command(name = "tortie", version, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Shown and completed here; read behind the command, where they are put.
    #[command(
        flatten,
        next_help_heading = "Options of commands that ask a server, before or behind the command"
    )]
    _whereabouts: Whereabouts,
}

const EXAMPLES: &str = "Examples:
  tortie validate -f policies/                        every error in the files, with its reason
  tortie explain -f . --from default/a --to default/b --port 80
  tortie demo yaobank                                 see two attacks stopped
  tortie apply -f policies/                           make it so on the server
  tortie get gnp                                      what is there?

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
    /// Create objects on the server
    #[command(after_help = send::CREATE)]
    Create(send::Args),
    /// Make objects on the server what files say
    #[command(after_help = send::APPLY)]
    Apply(send::Args),
    /// Replace objects on the server
    #[command(after_help = send::REPLACE)]
    Replace(send::Args),
    /// Change fields of an object on the server
    Patch(commands::patch::Args),
    /// Delete objects on the server
    Delete(commands::delete::Args),
    /// Show objects of the server
    Get(commands::get::Args),
    /// Show everything about objects of the server
    Describe(commands::describe::Args),
    /// Change labels of objects
    #[command(after_help = label::LABEL)]
    Label(label::Args),
    /// Change annotations of objects
    #[command(after_help = label::ANNOTATE)]
    Annotate(label::Args),
    /// Turn enforced policies into staged ones
    #[command(after_help = stage::STAGE)]
    Stage(stage::Args),
    /// Turn staged policies into enforced ones
    #[command(after_help = stage::ENFORCE)]
    Enforce(stage::Args),
    /// Calico's command line
    Calicoctl(calicoctl::Cli),
    /// Print what the agent of a node would tell
    Calc(commands::calc::Args),
    /// Print what the agent of a node would have the kernel enforce
    Nft(commands::nft::Args),
    /// The agent of a node: keeps its kernel and its sidecars to policy
    Agent(tortie_agent::cli::Cli),
    /// A Kubernetes API over a store of its own, for kubectl
    Apiserver(tortie_apiserver::cli::Args),
    /// A page for browsers that shows what policy a server has
    Console(tortie_console::cli::Args),
    /// The API server, the web console and this machine's agent, by one command
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
    /// Print what a shell needs to complete commands
    Completion(commands::completion::Args),
}

fn main() -> ExitCode {
    let by_name = tortie_authz::cli::run_by_name(std::env::args_os());
    if let Some(code) = by_name.or_else(|| calicoctl::run_by_name(std::env::args_os())) {
        return code;
    }
    let result = match Cli::parse_from(early::behind_the_command(std::env::args_os())).command {
        Command::Validate(args) => commands::validate::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Connectivity(args) => commands::connectivity::run(&args),
        Command::Diff(args) => commands::diff::run(&args),
        Command::Test(args) => commands::test::run(&args),
        Command::Selector(args) => commands::selector::run(&args),
        Command::Create(args) => send::run(Verb::Create, &args),
        Command::Apply(args) => send::run(Verb::Apply, &args),
        Command::Replace(args) => send::run(Verb::Replace, &args),
        Command::Patch(args) => commands::patch::run(&args),
        Command::Delete(args) => commands::delete::run(&args),
        Command::Get(args) => commands::get::run(&args),
        Command::Describe(args) => commands::describe::run(&args),
        Command::Label(args) => label::run(Pairs::Labels, &args),
        Command::Annotate(args) => label::run(Pairs::Annotations, &args),
        Command::Stage(args) => stage::run(Way::Stage, &args),
        Command::Enforce(args) => stage::run(Way::Enforce, &args),
        Command::Calicoctl(args) => return calicoctl::run(&args),
        Command::Calc(args) => commands::calc::run(&args),
        Command::Nft(args) => commands::nft::run(&args),
        Command::Agent(args) => return tortie_agent::cli::run(&args),
        Command::Apiserver(args) => return tortie_apiserver::cli::run(&args),
        Command::Console(args) => return tortie_console::cli::run(&args),
        Command::Up(args) => commands::up::run(&args),
        Command::User(args) => return tortie_apiserver::cli::user::run(&args),
        Command::Webhook(args) => return tortie_apiserver::webhook::run(&args),
        Command::Part(args) => commands::up::confine::run(&args),
        Command::Policysync(args) => commands::policysync::run(&args),
        Command::Authz(args) => return tortie_authz::cli::run(args),
        Command::Lab(args) => tortie_lab::cli::run(args).map_err(Failure::from),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Completion(args) => commands::completion::run(Cli::command(), &args),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
        calicoctl::Calicoctl::command().debug_assert();
    }
}
