//! The supervisor: makes a node, keeps it running and says how it is.
//!
//! It lives in the node's network namespace and starts everything there. `node` is the one task that
//! decides; the status is what the others tell it and whoever asks.

mod agent;
mod api;
mod certificates;
mod container;
mod gateway;
mod network;
mod node;
mod pod;
mod pods;
mod probe;
mod register;
mod report;
mod surroundings;
mod tools;
mod volumes;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) use self::api::{Api, Applied, describe, is_place};
pub(crate) use self::container::previous;
use self::node::Node;
pub(crate) use self::pod::{AUTHORIZER, PROXY};
use crate::control::{self, Message, Sender};
use crate::error::{At, Reported};
use crate::files::{create_private_dir, read_json, replace_json};
use crate::inside::ABANDONED;
use crate::net::sysctl;
use crate::plan::{GATEWAY_NAME, GATEWAY_NAMESPACE, Machine, Settings};
use crate::state::LabDir;
use crate::status::{ContainerStatus, Phase, Status};
use crate::times::Times;
use crate::{Error, kubelet, programs};

/// How long pods may take to become ready before the lab counts as up without them.
const READY: Duration = Duration::from_secs(60);

/// What all parts of the supervisor need.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The lab's files.
    pub(crate) dir: LabDir,
    /// What holds for the whole lab.
    pub(crate) settings: Settings,
    /// This very executable, also when its file was replaced meanwhile.
    pub(crate) executable: PathBuf,
    /// The file it came from: what another mount namespace can be shown.
    pub(crate) executable_file: PathBuf,
    /// Whether the machine has IPv6.
    pub(crate) v6: bool,
    /// How the lab is.
    pub(crate) status: watch::Sender<Status>,
    /// When containers print what.
    pub(crate) times: Times,
}

impl Environment {
    fn new(dir: &LabDir) -> Result<Self, Error> {
        Ok(Self {
            dir: dir.clone(),
            settings: read_json(&dir.settings())?,
            executable: format!("/proc/{}/exe", std::process::id()).into(),
            executable_file: std::env::current_exe().at("find", "/proc/self/exe")?,
            v6: sysctl::has_ipv6(),
            status: watch::Sender::new(Status::new(dir.name().as_str(), dir.kubeconfig())),
            times: Times::new(),
        })
    }

    /// Changes what is said of one container of the pod of this uid.
    pub(crate) fn update(
        &self,
        uid: &str,
        container: &str,
        change: impl FnOnce(&mut ContainerStatus),
    ) {
        self.status.send_modify(|status| status.update(uid, container, change));
    }

    /// The time, as Kubernetes' timestamps have it: in whole seconds.
    pub(crate) fn now(&self) -> String {
        let now = OffsetDateTime::now_utc();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        now.format(&Rfc3339).unwrap_or_default()
    }

    /// The time in microseconds, as leases have it.
    pub(crate) fn precise_now(&self) -> String {
        let now = OffsetDateTime::now_utc();
        let text = self.now();
        format!("{}.{:06}Z", text.trim_end_matches('Z'), now.microsecond())
    }

    /// What the machine gives to pods.
    pub(crate) fn machine(&self) -> Machine<'_> {
        Machine { executable: &self.settings.executable, v6: self.v6, find: &programs::find }
    }
}

/// Runs until whoever started the lab is gone without having detached it; gives the exit status
/// that says so. Standard output is the control channel.
pub(crate) fn run(dir: LabDir) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.at("start", "supervisor")?.block_on(supervise(dir))
}

async fn supervise(dir: LabDir) -> Result<u8, Error> {
    let (mut report, lifeline) = control::from_stdout()?;
    let work = async {
        let message = match bring_up(&dir, &mut report).await {
            Ok(()) => Message::Ready,
            Err(error) => Message::Failed(Reported::from(&error)),
        };
        report.send(&message).await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        never = work => match never {},
        () = lifeline.broken() => Ok(ABANDONED),
    }
}

/// Starts everything, and returns when all pods are ready or will not be soon.
async fn bring_up(dir: &LabDir, report: &mut Sender) -> Result<(), Error> {
    let mut step = async |text: String| report.send(&Message::Step(text)).await;
    step("the node's network".to_owned()).await;
    let env = Arc::new(Environment::new(dir)?);
    create_private_dir(&env.dir.scratch())?;
    network::node().await?;
    let listener = gateway::listener()?;
    let gateway_port = listener.local_addr().at("read", "standard input")?.port();
    step("the API server".to_owned()).await;
    let api = Api::started(dir).await?;
    prepare(&env, &api, &mut step).await?;
    kubelet::serve(&env)?;
    tokio::spawn(keep_times(Arc::clone(&env)));
    let node = Node::new(Arc::clone(&env), api, gateway_port).await?;
    tokio::spawn(agent::run(Arc::clone(&env)));
    step("policy in the kernel".to_owned()).await;
    agent::ready(&env).await?;
    tokio::spawn(keep_file(Arc::clone(&env)));
    tokio::spawn(open_gateway(Arc::clone(&env), listener));
    let settled = node.settled();
    tokio::spawn(node.run());
    wait_settled(&env, settled, &mut step).await;
    env.status.send_modify(|status| status.phase = Phase::Running);
    replace_json(&dir.status(), &*env.status.borrow())
}

/// Gives the API server the kinds that the lab adds, its node, and what the lab starts with.
async fn prepare(
    env: &Environment,
    api: &Api,
    step: &mut impl AsyncFnMut(String),
) -> Result<(), Error> {
    let kinds = api.kinds().await?;
    let mut own = register::definitions();
    own.push(register::node(&env.dir.kubelet_socket()));
    own.push(register::felix());
    for document in own {
        if let Some(served) = kinds.of(&document) {
            api.apply(&served.kind, &document).await?;
        }
    }
    let mut documents: Vec<_> = env.settings.documents.iter().collect();
    documents.sort_by_key(|document| !is_place(document));
    step(format!("{} objects", documents.len())).await;
    let kinds = api.kinds().await?;
    for document in documents {
        match kinds.of(document) {
            Some(served) => drop(api.apply(&served.kind, document).await?),
            None => {
                let what = describe(document);
                step(format!("warning: {what}: is passed over, the lab has no such kind")).await;
            }
        }
    }
    Ok(())
}

/// Carries connections from the host to a pod of the ingress gateway, if there is one.
async fn open_gateway(env: Arc<Environment>, listener: TcpListener) {
    gateway::forward(listener, || {
        let status = env.status.borrow();
        let is_gateway = |pod: &&crate::status::PodStatus| {
            pod.ready
                && pod.namespace == GATEWAY_NAMESPACE
                && pod.workload.as_deref() == Some(GATEWAY_NAME)
        };
        let address = *status.pods.iter().find(is_gateway)?.addresses.first()?;
        let service = status.services.iter().find(|service| {
            service.namespace == GATEWAY_NAMESPACE && service.name == GATEWAY_NAME
        })?;
        Some(SocketAddr::new(address, *service.targets.first()?))
    })
    .await;
}

async fn keep_times(env: Arc<Environment>) {
    if let Err(error) = env.times.keep().await {
        tracing::error!(%error, "when containers print is noted late from now on");
    }
}

/// Writes the status file whenever the status changes.
async fn keep_file(env: Arc<Environment>) {
    let mut status = env.status.subscribe();
    loop {
        let current = status.borrow_and_update().clone();
        if let Err(error) = replace_json(&env.dir.status(), &current) {
            tracing::error!(%error, "the status could not be written");
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until all pods are ready or stuck, telling of each that gets ready.
async fn wait_settled(
    env: &Environment,
    mut settled: watch::Receiver<bool>,
    step: &mut impl AsyncFnMut(String),
) {
    let mut status = env.status.subscribe();
    let mut told = 0;
    let _ = timeout(READY, async {
        loop {
            let (ready, all) = {
                let current = status.borrow_and_update();
                (current.pods.iter().filter(|pod| pod.ready).count(), current.pods.len())
            };
            if ready > told {
                told = ready;
                step(format!("pods ready: {ready} of {all}")).await;
            }
            if *settled.borrow_and_update() {
                return;
            }
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                changed = settled.changed() => if changed.is_err() { return },
            }
        }
    })
    .await;
}
