//! The commands, with the flags, defaults and exit codes of Dikastes.
//!
//! The small binary `tortie-authz` and the command `tortie authz` share these definitions.

mod server;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tortie_daemon::log;

use crate::client::{self, HealthCheck, Question};

/// Where Dikastes listens, and so do we.
const SOCKET: &str = "/var/run/dikastes/dikastes.sock";

/// The names under which the program takes Dikastes' place.
const DIKASTES: &str = "dikastes";
const HEALTHZ: &str = "healthz";

#[derive(Debug, Parser)]
#[command(name = DIKASTES, version, about = "Decides Envoy's requests, as Calico's Dikastes does")]
struct Dikastes {
    #[command(flatten)]
    cli: Cli,
}

/// Runs the program if it was called by a name that Calico's images have: `dikastes`, with the
/// commands of [`Cli`], or `healthz`, which takes `liveness` or `readiness` and `-dialPath`.
#[must_use]
pub fn run_by_name(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let name = arguments.next()?;
    let rest = match Path::new(&name).file_name()?.to_str()? {
        DIKASTES => arguments.collect::<Vec<_>>(),
        HEALTHZ => std::iter::once("health".into()).chain(arguments.map(dial_path)).collect(),
        _ => return None,
    };
    let command = std::iter::once(OsString::from(DIKASTES)).chain(rest);
    Some(run(Dikastes::parse_from(command).cli))
}

/// Go's flags have one dash or two.
fn dial_path(argument: OsString) -> OsString {
    match argument.to_str().map(|text| text.trim_start_matches('-')) {
        Some("dialPath") => "--dial-path".into(),
        Some(text) if text.starts_with("dialPath=") => {
            text.replacen("dialPath", "--dial-path", 1).into()
        }
        _ => argument,
    }
}

/// The authorizer.
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
    Server(Box<server::Server>),
    /// Ask a running server for one decision and print it
    Client(Client),
    /// Ask a running server about its health
    Health(Health),
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

/// Runs a command to its end. Sets up logging and its own runtime, so call it once, from `main`,
/// outside of any runtime.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let filter = log::filter(cli.debug, std::env::var(log::ENV).ok());
    let log = match log::init(cli.log_format, &filter) {
        Ok(log) => log,
        Err(error) => return fail(2, &error),
    };
    // A second thread would not make answers faster, but their slowest ones slower.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(3, &error),
    };
    let Cli { listen, dial, command, .. } = cli;
    runtime.block_on(async {
        match command {
            Command::Server(args) => serve(*args, listen, dial, log).await,
            Command::Client(args) => ask(args, &dial.unwrap_or_else(|| SOCKET.into())).await,
            Command::Health(args) => health(&args).await,
        }
    })
}

async fn serve(
    args: server::Server,
    listen: PathBuf,
    dial: Option<PathBuf>,
    log: log::Handle,
) -> ExitCode {
    let config = match args.config(listen, dial, |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => return fail(2, &error),
    };
    match crate::server::run(config, log).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.exit_code(), &error),
    }
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
