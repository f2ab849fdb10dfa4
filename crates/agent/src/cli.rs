//! What users type.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tortie_daemon::http::Place;
use tortie_daemon::log;
use tortie_policysync::server::{self, Sockets};

use crate::agent::{self, Config};

/// The agent of one node.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// Name of the node, as pods' `spec.nodeName` has it
    #[arg(long, value_name = "NODE")]
    node: String,

    /// File or folder with resources, followed as it changes; may be given several times
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long)]
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
  tortie agent --node $(hostname) -f /etc/tortie
  tortie agent --node a -f policies/ --policy-sync-prefix /var/run/nodeagent --admin 127.0.0.1:9091
  tortie policysync watch /var/run/nodeagent/mount/ID/socket     what a sidecar is told";

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
            node: self.node.as_str().into(),
            files: self.files.clone(),
            recursive: self.recursive,
            policy_sync_prefix: self.policy_sync_prefix.clone(),
            policy_sync: server::Config {
                socket_mode: self.socket_mode,
                socket_group: self.socket_group,
                sockets,
                ..server::Config::default()
            },
            admin: self.admin.clone(),
        })
    }
}

/// Runs the agent to its end. Sets up logging and its own runtime, so call it once, from `main`,
/// outside of any runtime.
pub fn run(cli: &Cli) -> ExitCode {
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
