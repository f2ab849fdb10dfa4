//! `tortie up`: all of it on one machine, by one command.
//!
//! Each part is a process of its own with no more rights than it needs, started again when it ends.
//! This one starts them and waits.

pub(crate) mod confine;
mod part;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use rustix::thread::CapabilitySet;
use time::OffsetDateTime;
use tokio::sync::watch;
use tortie_apiserver::AGENT_USER;
use tortie_apiserver::cli::{Kubeconfig, Places, Proof, Settings, default_data};
use tortie_apiserver::tls::Pki;
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
}

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
    let mut signals = shutdown::Signals::catch()?;
    let data = args.data.clone().or_else(default_data);
    let data = data.ok_or_else(|| Failure::invalid("--data: there is no home directory"))?;
    let places = Places::new(&std::path::absolute(data)?);
    let (stop, stopped) = watch::channel(false);
    let (said, mut ready) = watch::channel(String::new());
    let server = apiserver(args, &places);
    let mut server = tokio::spawn(async move { server.keep(said, stopped).await });
    let line = tokio::select! {
        biased; // the end of the server is the end of what it says, too
        never = &mut server => return Err(failed(never.ok().flatten())),
        line = ready.wait_for(|line| !line.is_empty()) => line.map(|line| line.clone()),
        _ = signals.next() => Ok(String::new()),
    };
    let line = line.unwrap_or_default();
    if !line.is_empty() {
        let agent = agent(args, &places);
        announce(&line, &places, agent.as_ref().map(|(node, _)| node.as_str()))?;
        wait(agent.map(|(_, part)| part), &mut signals).await;
    }
    // The agent first: it follows the server.
    stop.send_replace(true);
    let _ = server.await;
    Ok(YES)
}

/// Keeps the agent, if there is one, until a signal comes.
async fn wait(agent: Option<Part>, signals: &mut shutdown::Signals) {
    let (stop, stopped) = watch::channel(false);
    let (said, _) = watch::channel(String::new());
    let agent = agent.map(|agent| tokio::spawn(async move { agent.keep(said, stopped).await }));
    signals.next().await;
    stop.send_replace(true);
    if let Some(agent) = agent {
        let _ = agent.await;
    }
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
    let low = (1..1024).contains(&args.server.listen.port());
    let keep = if low { CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() };
    Part::new("apiserver", arguments, keep)
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
    Some((node, part.prepared_by(move || invite(&places, &kubeconfig))))
}

fn logged(args: &Args, mut arguments: Vec<OsString>) -> Vec<OsString> {
    if args.server.debug {
        arguments.push("--debug".into());
    }
    arguments.extend(["--log-format".into(), args.server.log_format.to_string().into()]);
    arguments
}

/// Writes the agent's own kubeconfig: it may read what it has to enforce, and nothing else.
fn invite(places: &Places, path: &std::path::Path) -> anyhow::Result<()> {
    let now = OffsetDateTime::now_utc();
    let pki = Pki::open(&places.pki(), now)?;
    let identity = pki.client("agent.pem", AGENT_USER, None, now)?;
    let own = std::fs::read_to_string(places.kubeconfig())?;
    let config = Kubeconfig::like(&own).context("the kubeconfig names no server")?;
    let text = config.of(AGENT_USER, &Proof::Certificate(identity));
    Ok(file::replace(path, text.as_bytes(), 0o600)?)
}

fn announce(line: &str, places: &Places, node: Option<&str>) -> Result<(), Failure> {
    let agent = match node {
        Some(node) => format!("enforcing policy on this machine, node {node}"),
        None => "this machine's network is left alone: no agent".to_owned(),
    };
    text(format_args!(
        "{line}\n{agent}\n\nnext:\n  export KUBECONFIG={}\n  kubectl get tiers\n  \
         kubectl apply -f POLICY.yaml\n  tortie user add NAME --data {} > NAME.kubeconfig\n",
        places.kubeconfig().display(),
        places.data.display()
    ))
}
