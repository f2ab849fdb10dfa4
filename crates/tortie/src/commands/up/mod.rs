//! `tortie up`: all of it on one machine, by one command.
//!
//! Each part is a process of its own with no more rights than it needs, started again when it ends.
//! This one starts them and waits.

pub(crate) mod confine;
mod part;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use rustix::thread::CapabilitySet;
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tortie_apiserver::cli::{Kubeconfig, Places, Proof, Settings, default_data};
use tortie_apiserver::tls::Pki;
use tortie_apiserver::{AGENT_USER, CONSOLE_USER};
use tortie_daemon::{file, log, shutdown};

use crate::output::{Failure, YES, text};
use part::Part;

/// Arguments of `tortie up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of resources, certificates and the kubeconfig [default: /var/lib/tortie for root, else
    /// tortie below $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    #[command(flatten)]
    server: Settings,

    /// Name of this machine's node [default: the host's name]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,

    /// Leave this machine's network alone: no agent. Only root has one anyway
    #[arg(long)]
    no_agent: bool,

    /// Where browsers find the web console: a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6981")]
    console_listen: SocketAddr,

    /// No web console
    #[arg(long, conflicts_with = "console_listen")]
    no_console: bool,
}

/// How long the console may take to say where it is.
const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "Examples:
  tortie up
  sudo tortie up --listen 0.0.0.0:6980 --tls-san policy.example.com
  tortie user add ada --group dev > ada.kubeconfig          a second user, while it runs";

/// Runs until it is told to end, or a part cannot start at all.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let filter = log::filter(args.server.debug, std::env::var(log::ENV).ok());
    log::init(args.server.log_format, &filter).map_err(Failure::invalid)?;
    // Parts end with the thread that started them, so there is one thread only.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(up(args))
}

async fn up(args: &Args) -> Result<u8, Failure> {
    if !args.console_listen.ip().is_loopback() {
        return Err(exposed(args.console_listen));
    }
    let mut signals = shutdown::Signals::catch()?;
    let data = args.data.clone().or_else(default_data);
    let data = data.ok_or_else(|| Failure::invalid("--data: there is no home directory"))?;
    let places = Places::new(&std::path::absolute(data)?);
    let (stop, stopped) = watch::channel(false);
    let (server, mut line) = started(apiserver(args, &places), stopped);
    let line = tokio::select! {
        line = &mut line => line.unwrap_or(Err(None)).map_err(failed)?,
        _ = signals.next() => String::new(),
    };
    if !line.is_empty() {
        wait(args, &places, &line, &mut signals).await?;
    }
    // The others have ended before: they follow the server.
    stop.send_replace(true);
    let _ = server.await;
    Ok(YES)
}

/// Keeps the parts that follow the server until a signal comes.
async fn wait(
    args: &Args,
    places: &Places,
    line: &str,
    signals: &mut shutdown::Signals,
) -> Result<(), Failure> {
    let (stop, stopped) = watch::channel(false);
    let (node, agent) = agent(args, places).unzip();
    let mut kept: Vec<JoinHandle<()>> = Vec::new();
    if let Some(agent) = agent {
        let ((said, _), stopped) = (watch::channel(String::new()), stopped.clone());
        kept.push(tokio::spawn(async move {
            let _ = agent.keep(said, stopped).await;
        }));
    }
    let mut shown = None;
    if !args.no_console {
        let (console, line) = started(console(args, places)?, stopped);
        kept.push(console);
        // If it does not start it has said why, and the rest works.
        let line = tokio::time::timeout(PATIENCE, line).await;
        shown = line.ok().and_then(Result::ok).and_then(Result::ok);
    }
    announce(line, places, node.as_deref(), shown.as_deref())?;
    signals.next().await;
    stop.send_replace(true);
    for part in kept {
        let _ = part.await;
    }
    Ok(())
}

/// The first line that a part says, or how it ended before.
type FirstLine = oneshot::Receiver<Result<String, Option<i32>>>;

/// Starts a part, and keeps it once it has said something.
fn started(part: Part, stopped: watch::Receiver<bool>) -> (JoinHandle<()>, FirstLine) {
    let (tell, told) = oneshot::channel();
    let (said, mut ready) = watch::channel(String::new());
    let keeping = tokio::spawn(async move {
        let mut keep = pin!(part.keep(said, stopped));
        let line = tokio::select! {
            biased; // the end of the part is the end of what it says, too
            code = &mut keep => Err(code),
            line = ready.wait_for(|line| !line.is_empty()) => Ok(line.map(|l| l.clone()).unwrap_or_default()),
        };
        let ended = line.is_err();
        let _ = tell.send(line);
        if !ended {
            keep.await;
        }
    });
    (keeping, told)
}

fn exposed(address: SocketAddr) -> Failure {
    let failure = format!("--console-listen: `{address}` can be reached from elsewhere");
    Failure::invalid(failure).hint("listen on a loopback address, and forward the port with ssh -L")
}

fn failed(code: Option<i32>) -> Failure {
    // It has said why.
    match code {
        Some(2) => Failure::invalid("the API server does not start"),
        _ => Failure::unreachable("the API server does not start"),
    }
}

/// The API server: without any capability, but for a port that needs one.
fn apiserver(args: &Args, places: &Places) -> Part {
    let mut arguments: Vec<OsString> = vec!["apiserver".into(), "--data".into()];
    arguments.push(places.data.clone().into());
    arguments.extend(args.server.arguments());
    Part::new("apiserver", arguments, to_listen(args.server.listen))
}

/// The agent of this machine's node, and the node's name: only root may change the network.
fn agent(args: &Args, places: &Places) -> Option<(String, Part)> {
    if args.no_agent || !rustix::process::geteuid().is_root() {
        return None;
    }
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node = args.node.clone().unwrap_or_else(host);
    let kubeconfig = places.data.join("agent.kubeconfig");
    let arguments = vec![
        "agent".into(),
        "--node".into(),
        node.clone().into(),
        "--kubeconfig".into(),
        kubeconfig.clone().into(),
    ];
    let keep = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    // One heap for all threads: what the start leaves behind is used again.
    let part = Part::new("agent", logged(args, arguments), keep).with("MALLOC_ARENA_MAX", "1");
    let places = places.clone();
    let invited = move || invite(&places, AGENT_USER, "agent.pem", &kubeconfig);
    Some((node, part.prepared_by(invited)))
}

/// The web console: without any capability, but for a port that needs one. The code that opens it is
/// a new one each time.
fn console(args: &Args, places: &Places) -> Result<Part, Failure> {
    let kubeconfig = places.data.join("console.kubeconfig");
    let token = places.data.join("console.token");
    match std::fs::remove_file(&token) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::unreachable(format!("`{}`: {error}", token.display())));
        }
        _ => {}
    }
    let arguments = vec![
        "console".into(),
        "--listen".into(),
        args.console_listen.to_string().into(),
        "--token-file".into(),
        token.into(),
        "--kubeconfig".into(),
        kubeconfig.clone().into(),
    ];
    let part = Part::new("console", logged(args, arguments), to_listen(args.console_listen));
    let places = places.clone();
    Ok(part.prepared_by(move || invite(&places, CONSOLE_USER, "console.pem", &kubeconfig)))
}

/// The capability that it takes to listen.
fn to_listen(address: SocketAddr) -> CapabilitySet {
    let low = (1..1024).contains(&address.port());
    if low { CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() }
}

fn logged(args: &Args, mut arguments: Vec<OsString>) -> Vec<OsString> {
    if args.server.debug {
        arguments.push("--debug".into());
    }
    arguments.extend(["--log-format".into(), args.server.log_format.to_string().into()]);
    arguments
}

/// Writes a part's own kubeconfig: it may read what it needs, and nothing else.
fn invite(
    places: &Places,
    user: &str,
    certificate: &str,
    path: &std::path::Path,
) -> anyhow::Result<()> {
    let now = OffsetDateTime::now_utc();
    let pki = Pki::open(&places.pki(), now)?;
    let identity = pki.client(certificate, user, None, now)?;
    let own = std::fs::read_to_string(places.kubeconfig())?;
    let config = Kubeconfig::like(&own).context("the kubeconfig names no server")?;
    let text = config.of(user, &Proof::Certificate(identity));
    Ok(file::replace(path, text.as_bytes(), 0o600)?)
}

fn announce(
    line: &str,
    places: &Places,
    node: Option<&str>,
    console: Option<&str>,
) -> Result<(), Failure> {
    let console = console.unwrap_or("no web console");
    let agent = match node {
        Some(node) => format!("enforcing policy on this machine, node {node}"),
        None => "this machine's network is left alone: no agent".to_owned(),
    };
    text(format_args!(
        "{line}\n{agent}\n{console}\n\nnext:\n  export KUBECONFIG={}\n  kubectl get tiers\n  \
         kubectl apply -f POLICY.yaml\n  tortie user add NAME --data {} > NAME.kubeconfig\n",
        places.kubeconfig().display(),
        places.data.display()
    ))
}
