//! What users type.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use smol_str::SmolStr;
use tortie_client::server::{self, Pace};
use tortie_daemon::http::Place;
use tortie_daemon::log;
use tortie_policysync::server::{self as sidecars, Sockets};

use crate::agent::{self, AgentError, Config, Source};
use crate::network::{Choices, LockError, STATE, may_program};

/// The agent of one node.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// Name of the node, as pods' `spec.nodeName` has it
    #[arg(long, value_name = "NODE", required_unless_present_any = ["cleanup", "close"])]
    node: Option<String>,

    /// File or folder with resources, followed as it changes, instead of an API server; may be
    /// given several times
    #[arg(
        short,
        long = "file",
        value_name = "PATH",
        conflicts_with_all = ["server", "kubeconfig", "context"]
    )]
    files: Vec<PathBuf>,

    #[command(flatten)]
    place: server::Place,

    /// Let the revision in force (`tortie_network_revision`, and what sidecars say) count pods, nodes,
    /// Services and EndpointSlices too, not only what people write. Every sidecar is told whenever
    /// one of them changes
    #[arg(long, conflicts_with = "files")]
    revision_of_everything: bool,

    /// Read folders with everything below them
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,

    /// Serve sidecars their policy below this folder, whatever FelixConfiguration's
    /// `policySyncPathPrefix` says
    #[arg(long, value_name = "FOLDER")]
    policy_sync_prefix: Option<PathBuf>,

    /// Serve a socket for every workload of the node, instead of those that files in the folder's
    /// `creds` ask for
    #[arg(long)]
    policy_sync_for_all: bool,

    /// Permission bits of sidecars' sockets, in octal
    #[arg(long, value_name = "MODE", default_value = "660", value_parser = octal)]
    socket_mode: u32,

    /// Group of sidecars' sockets, by number; the agent's own if not given
    #[arg(long, value_name = "GID")]
    socket_group: Option<u32>,

    /// What enforces policy besides sidecars: `nft` is the kernel of this network namespace, and
    /// needs CAP_NET_ADMIN; `none` is nothing
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Dataplane::Nft)]
    dataplane: Dataplane,

    /// What the names of workloads' interfaces begin with, whatever FelixConfiguration's
    /// `interfacePrefix` says (`cali` if neither does); may be given several times. An interface of
    /// such a name is closed until it is known whose it is
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    workload_interface_prefix: Vec<SmolStr>,

    /// Record what policy decides (NFLOG groups 1 and 2) although no FelixConfiguration names a
    /// reader of flows
    #[arg(long)]
    records: bool,

    /// Be ready although there are workloads that policy cannot be enforced for, on bridges that are
    /// not filtered, for one
    #[arg(long)]
    accept_unenforced: bool,

    /// Folder for what must outlive the agent until the machine boots
    #[arg(long, value_name = "FOLDER", default_value = STATE)]
    state_dir: PathBuf,

    /// Remove the table `inet tortie` from this network namespace and end: whatever policy kept out
    /// is let in
    #[arg(long, conflicts_with_all = ["node", "files"])]
    cleanup: bool,

    /// Close the interfaces of workloads in this network namespace and end, as is done when the
    /// machine boots; nothing changes where policy is in force already
    #[arg(long, conflicts_with_all = ["node", "files", "cleanup"])]
    close: bool,

    /// Serve metrics, readiness and the log's filter at `ADDRESS:PORT` or `unix:PATH`
    #[arg(long, value_name = "PLACE")]
    admin: Option<Place>,

    /// Log what is needed to debug
    #[arg(long)]
    debug: bool,

    /// Format of log lines: human or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    log_format: log::Format,
}

const EXAMPLES: &str = "Examples:
  tortie agent --node $(hostname)                                  follow the API server
  tortie agent --node $(hostname) -f /etc/tortie                   follow files
  tortie agent --node a -f policies/ --policy-sync-prefix /var/run/nodeagent --admin 127.0.0.1:9091
  tortie agent --node a -f policies/ --dataplane none                    serve sidecars alone
  tortie agent --cleanup                                                 take policy out of the kernel
  tortie policysync watch /var/run/nodeagent/mount/ID/socket     what a sidecar is told";

/// What enforces policy besides sidecars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dataplane {
    /// The kernel's packet filter, nftables
    Nft,
    /// Nothing
    None,
}

/// A name that would match every interface would close the host's own.
fn prefix(text: &str) -> Result<SmolStr, String> {
    match text.len() {
        1..=14 if !text.contains(['/', '*', ' ', '"']) => Ok(text.into()),
        _ => Err("not the beginning of an interface's name".to_owned()),
    }
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not an octal number up to 777".to_owned()),
    }
}

impl Cli {
    fn config(&self) -> Result<Config, String> {
        if self.files.iter().any(|path| path.as_os_str() == "-") {
            return Err("-f: `-` cannot be read again after a change\nhint: name a file".to_owned());
        }
        let sockets =
            if self.policy_sync_for_all { Sockets::Endpoints } else { Sockets::Credentials };
        Ok(Config {
            node: self.node.as_deref().unwrap_or_default().into(),
            source: self.source(),
            policy_sync_prefix: self.policy_sync_prefix.clone(),
            policy_sync: sidecars::Config {
                socket_mode: self.socket_mode,
                socket_group: self.socket_group,
                sockets,
                ..sidecars::Config::default()
            },
            network: self.network()?,
            admin: self.admin.clone(),
        })
    }

    fn source(&self) -> Source {
        match self.files.is_empty() {
            true => Source::Server {
                place: self.place.clone(),
                everything: self.revision_of_everything,
                pace: Pace::default(),
            },
            false => Source::Files { paths: self.files.clone(), recursive: self.recursive },
        }
    }

    fn network(&self) -> Result<Option<Choices>, String> {
        match self.dataplane {
            Dataplane::None => Ok(None),
            Dataplane::Nft if !may_program() => Err(NO_CAPABILITY.to_owned()),
            Dataplane::Nft => Ok(Some(Choices {
                prefixes: self.workload_interface_prefix.clone(),
                records: self.records,
                accept_unenforced: self.accept_unenforced,
                state: self.state_dir.clone(),
            })),
        }
    }
}

const NO_CAPABILITY: &str = "--dataplane nft: this process has no CAP_NET_ADMIN\nhint: run it as root \
    or give it the capability, or choose `--dataplane none` to serve sidecars alone";

/// Takes policy out of the kernel.
fn clean_up(choices: &Choices) -> ExitCode {
    match agent::clean_up(choices) {
        Ok(true) => done("removed the table `inet tortie`"),
        Ok(false) => done("there is no table `inet tortie`: nothing to do"),
        Err(error) => fail(error.exit_code(), &error),
    }
}

/// Closes workloads' interfaces until an agent comes.
fn close(choices: &Choices) -> ExitCode {
    match agent::close(choices) {
        Ok(true) => done("workloads are closed until the agent is ready"),
        Ok(false) => done("the table `inet tortie` is there already: nothing to do"),
        // An agent is at work.
        Err(AgentError::Lock(LockError::Held)) => done("an agent is at work: nothing to do"),
        Err(error) => fail(error.exit_code(), &error),
    }
}

fn done(what: &str) -> ExitCode {
    println!("{what}");
    ExitCode::SUCCESS
}

/// Runs the agent to its end. Sets up logging and its own runtime, so call it once, from `main`,
/// outside of any runtime.
pub fn run(cli: &Cli) -> ExitCode {
    if cli.cleanup || cli.close {
        return match cli.network() {
            Ok(choices) if cli.cleanup => clean_up(&choices.unwrap_or_default()),
            Ok(choices) => close(&choices.unwrap_or_default()),
            Err(error) => fail(2, &error),
        };
    }
    let config = match cli.config() {
        Ok(config) => config,
        Err(error) => return fail(2, &error),
    };
    let filter = log::filter(cli.debug, std::env::var(log::ENV).ok());
    let log = match log::init(cli.log_format, &filter) {
        Ok(log) => log,
        Err(error) => return fail(2, &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(3, &error),
    };
    match runtime.block_on(agent::run(config, Some(log))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.exit_code(), &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
