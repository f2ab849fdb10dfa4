//! The node's and the pods' network, and where Services lead.

use std::collections::BTreeSet;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Environment;
use super::tools::feed;
use crate::Error;
use crate::error::At;
use crate::files::tail;
use crate::net::{firewall, link, sysctl};
use crate::plan::{PodId, PodPlan, ProxyPlan, ServicePlan};

/// The process that holds a pod's namespaces.
#[derive(Debug)]
pub(crate) struct Pause {
    _process: Child,
    pid: u32,
}

impl Pause {
    /// Its pid, by which the namespaces are named.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The words before a command that runs it in the pod's namespaces.
    pub(crate) fn enter(&self) -> Vec<String> {
        let namespaces = ["net", "uts", "ipc"];
        let flags = namespaces.map(|ns| format!("--{ns}=/proc/{}/ns/{ns}", self.pid));
        ["nsenter".to_owned()].into_iter().chain(flags).chain(["--".to_owned()]).collect()
    }
}

/// Makes this namespace a node: rules first, so that no packet ever passes without them.
pub(crate) async fn node() -> Result<(), Error> {
    sysctl::node()?;
    feed(&["nft", "-f", "-"], &firewall::base()).await?;
    feed(&["ip", "-batch", "-"], &link::node(sysctl::has_ipv6())).await
}

/// Gives a pod its namespaces and its link.
pub(crate) async fn join(env: &Environment, pod: &PodPlan) -> Result<Pause, Error> {
    let pause = ready(env, pause(env, pod)?).await?;
    feed(&["nft", "-f", "-"], &firewall::hairpin("add", &pod.link)).await?;
    feed(&["ip", "-batch", "-"], &link::node_end(&pod.link, pause.pid)).await?;
    let net = format!("--net=/proc/{}/ns/net", pause.pid);
    feed(&["nsenter", &net, "ip", "-batch", "-"], &link::pod_end(&pod.link)).await?;
    if let Some(ProxyPlan::Sidecar { redirect }) = &pod.proxy {
        feed(&["nsenter", &net, "nft", "-f", "-"], redirect).await?;
    }
    Ok(pause)
}

/// Takes a pod's link away, and whatever names its addresses on the node. It may be there in part
/// only.
pub(crate) async fn leave(pod: &PodPlan) {
    for (program, input) in [
        (["ip", "-batch", "-"], link::removal(&pod.link)),
        (["nft", "-f", "-"], firewall::hairpin("delete", &pod.link)),
    ] {
        if let Err(error) = feed(&program, &input).await {
            tracing::debug!(%error, pod = %pod.id, "was not there");
        }
    }
}

fn pause(env: &Environment, pod: &PodPlan) -> Result<Child, Error> {
    Command::new("unshare")
        .args(["--net", "--uts", "--ipc", "--"])
        .arg(&env.executable)
        .args(["lab", "inside", "pause", &pod.id.name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .at("run", "unshare")
}

async fn ready(env: &Environment, mut process: Child) -> Result<Pause, Error> {
    let mut line = String::new();
    if let Some(stdout) = process.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await.at("read", "pause")?;
    }
    match process.id() {
        Some(pid) if line == "ready\n" => Ok(Pause { _process: process, pid }),
        _ => {
            let _ = process.wait().await;
            let said = tail(&env.dir.supervisor_log(), 2).join("; ");
            Err(Error::program("unshare --net --uts --ipc", said))
        }
    }
}

/// Leads Services to those of their pods that are ready, and to no others.
pub(crate) async fn lead(services: &[ServicePlan], ready: &BTreeSet<PodId>) -> Result<(), Error> {
    feed(&["nft", "-f", "-"], &firewall::services(services, ready)).await
}
