//! The node's and the pods' network, set up and kept in step with which pods are ready.

use std::collections::BTreeSet;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::Environment;
use super::tools::feed;
use crate::Error;
use crate::error::At;
use crate::files::tail;
use crate::net::{firewall, link, sysctl};
use crate::plan::{PodId, PodPlan, ServicePlan};
use crate::status::Status;

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
pub(crate) async fn node(pods: &[PodPlan]) -> Result<(), Error> {
    sysctl::node()?;
    feed(&["nft", "-f", "-"], &firewall::base(pods)).await?;
    feed(&["ip", "-batch", "-"], &link::node(sysctl::has_ipv6())).await
}

/// Gives every pod its namespaces and its link. The processes are in the order of the pods.
pub(crate) async fn pods(env: &Environment, pods: &[PodPlan]) -> Result<Vec<Pause>, Error> {
    let mut holders = Vec::new();
    for pod in pods {
        holders.push(pause(env, pod)?);
    }
    let mut pauses = Vec::new();
    for holder in holders {
        pauses.push(ready(env, holder).await?);
    }
    let each = || pods.iter().zip(&pauses);
    let batch: String = each().map(|(pod, pause)| link::node_end(&pod.link, pause.pid)).collect();
    feed(&["ip", "-batch", "-"], &batch).await?;
    for (pod, pause) in each() {
        let net = format!("--net=/proc/{}/ns/net", pause.pid);
        feed(&["nsenter", &net, "ip", "-batch", "-"], &link::pod_end(&pod.link)).await?;
        if let Some(rules) = pod.proxy.as_ref().and_then(|proxy| proxy.redirect.as_ref()) {
            feed(&["nsenter", &net, "nft", "-f", "-"], rules).await?;
        }
    }
    Ok(pauses)
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

/// Leads Services to the pods that are ready, whenever that changes, and says to which they lead.
pub(crate) async fn follow(
    services: Vec<ServicePlan>,
    mut status: watch::Receiver<Status>,
    led: watch::Sender<Option<BTreeSet<PodId>>>,
) {
    loop {
        let ready = status.borrow_and_update().ready();
        if led.borrow().as_ref() != Some(&ready) {
            match lead(&services, &ready).await {
                Ok(()) => drop(led.send_replace(Some(ready))),
                Err(error) => tracing::error!(%error, "Services could not be led to their pods"),
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

async fn lead(services: &[ServicePlan], ready: &BTreeSet<PodId>) -> Result<(), Error> {
    feed(&["nft", "-f", "-"], &firewall::services(services, ready)).await
}
