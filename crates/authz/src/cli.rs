//! The commands, with the flags, defaults and exit codes of Dikastes.
//!
//! The small binary `tortie-authz` and the command `tortie authz` share these definitions.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use tortie_daemon::log;
use tortie_policy::EndpointId;

use crate::answer::Detail;
use crate::client::{self, HealthCheck, Question};
use crate::server::{self, Config};

/// Where Dikastes listens, and so do we.
const SOCKET: &str = "/var/run/dikastes/dikastes.sock";

/// The authorizer of one workload.
#[derive(Debug, Args)]
pub struct Cli {
    /// Socket to listen on
    #[arg(short, long, global = true, value_name = "SOCKET", default_value = SOCKET)]
    listen: PathBuf,

    /// Socket to connect to: Policy Sync for `server`, the authorizer for `client`
    #[arg(short, long, global = true, value_name = "SOCKET")]
    dial: Option<PathBuf>,

    /// Log what is needed to debug policy
    #[arg(long, global = true)]
    debug: bool,

    /// Format of log lines: human or json
    #[arg(long, global = true, value_name = "FORMAT", default_value_t)]
    log_format: log::Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decide Envoy's requests
    Server(Server),
    /// Ask a running server for one decision and print it
    Client(Client),
    /// Ask a running server about its health
    Health(Health),
}

#[derive(Debug, Args)]
struct Server {
    /// File or folder with resources; may be given several times
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long)]
    recursive: bool,

    /// The workload to guard
    #[arg(long, value_name = "NAMESPACE/POD")]
    endpoint: Option<EndpointId>,

    /// What a refused client is told beside the status 403
    #[arg(long, value_enum, default_value_t = DenyDetail::None)]
    deny_detail: DenyDetail,

    /// Trust domain of peers, where the workload's own certificate does not tell
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,

    /// Trust domain to accept beside the workload's own; may be given several times
    #[arg(long = "trust-domain-alias", value_name = "DOMAIN")]
    trust_domain_aliases: Vec<String>,

    /// Permission bits of the socket, in octal
    #[arg(long, value_name = "MODE", default_value = "666", value_parser = octal)]
    listen_mode: u32,
}

/// As [`Detail`], in the words of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DenyDetail {
    /// Nothing
    None,
    /// Which policy refused
    Brief,
    /// Which policy refused, and why
    Full,
}

impl From<DenyDetail> for Detail {
    fn from(detail: DenyDetail) -> Self {
        match detail {
            DenyDetail::None => Self::None,
            DenyDetail::Brief => Self::Brief,
            DenyDetail::Full => Self::Full,
        }
    }
}

#[derive(Debug, Args)]
struct Client {
    /// Namespace of the source's service account
    namespace: String,

    /// Name of the source's service account
    account: String,

    /// HTTP method; without method and path, ask about a plain connection
    #[arg(long)]
    method: Option<String>,

    /// HTTP path
    #[arg(long)]
    path: Option<String>,

    /// Address the request comes from
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
}

#[derive(Debug, Args)]
struct Health {
    /// `liveness` or `readiness`
    check: String,

    /// Socket of the server
    #[arg(long, value_name = "SOCKET", default_value = SOCKET)]
    dial_path: PathBuf,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not an octal number up to 777".to_owned()),
    }
}

/// Runs a command to its end. Sets up logging and its own runtime, so call it once, from `main`,
/// outside of any runtime.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let filter = log::filter(cli.debug, std::env::var(log::ENV).ok());
    if let Err(error) = log::init(cli.log_format, &filter) {
        return fail(2, &error);
    }
    // A second thread would not make answers faster, but their slowest ones slower.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(3, &error),
    };
    let Cli { listen, dial, command, .. } = cli;
    runtime.block_on(async {
        match command {
            Command::Server(args) => serve(args, listen, dial).await,
            Command::Client(args) => ask(args, &dial.unwrap_or_else(|| SOCKET.into())).await,
            Command::Health(args) => health(&args).await,
        }
    })
}

async fn serve(args: Server, listen: PathBuf, dial: Option<PathBuf>) -> ExitCode {
    let config = match config(args, listen, dial) {
        Ok(config) => config,
        Err(error) => return fail(2, &error),
    };
    match server::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.exit_code(), &error),
    }
}

/// From what was typed to what was meant.
fn config(args: Server, listen: PathBuf, dial: Option<PathBuf>) -> Result<Config, String> {
    if dial.is_some() {
        return Err("--dial: policy from Policy Sync is not supported yet\n\
                    hint: give the resources as files with `-f`"
            .to_owned());
    }
    if args.files.is_empty() {
        return Err("no source of policy\nhint: give the resources as files with `-f`".to_owned());
    }
    let endpoint = args
        .endpoint
        .ok_or("no workload to guard\nhint: name it with `--endpoint NAMESPACE/POD`")?;
    Ok(Config {
        listen,
        listen_mode: args.listen_mode,
        files: args.files,
        recursive: args.recursive,
        endpoint,
        detail: args.deny_detail.into(),
        trust_domain: args.trust_domain,
        trust_domain_aliases: args.trust_domain_aliases,
    })
}

/// Exit codes: 0 there is an answer (allow or deny), 1 there is none.
async fn ask(args: Client, socket: &Path) -> ExitCode {
    let Client { namespace, account, method, path, source } = args;
    let http = (method.is_some() || path.is_some()).then(|| {
        (method.unwrap_or_else(|| "GET".to_owned()), path.unwrap_or_else(|| "/".to_owned()))
    });
    let principal = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
    let question = Question { principal, source, http };
    let answer = client::check(socket, question).await;
    match answer.and_then(|answer| client::print(&answer, &mut std::io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

/// Exit codes: 0 healthy, 1 bad argument, 2 no answer, 3 unhealthy.
async fn health(args: &Health) -> ExitCode {
    let check = match args.check.as_str() {
        "liveness" => HealthCheck::Liveness,
        "readiness" => HealthCheck::Readiness,
        other => {
            let error = format!("unknown health check `{other}`: use `liveness` or `readiness`");
            return fail(1, &error);
        }
    };
    match client::health(&args.dial_path, check).await {
        Ok(report) => {
            if let Some(detail) = &report.detail {
                eprintln!("{detail}");
            }
            if report.healthy { ExitCode::SUCCESS } else { ExitCode::from(3) }
        }
        Err(error) => fail(2, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
