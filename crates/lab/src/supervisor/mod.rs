//! The supervisor: builds the lab from its plan, keeps it running and says how it is.
//!
//! It lives in the node's namespaces as the only child of pid 1, and starts everything else. The
//! status is the one thing its parts share: containers write it, and Services, the status file and
//! the start of whatever waits for others follow it.

mod agent;
mod certificates;
mod container;
mod gateway;
mod network;
mod pod;
mod probe;
mod tools;
mod volumes;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) use self::pod::{AUTHORIZER, PROXY};
use crate::Error;
use crate::control::{self, Message, Sender};
use crate::error::{At, Reported};
use crate::files::{create_private_dir, read_json, replace, replace_json};
use crate::inside::ABANDONED;
use crate::plan::{Plan, PodPlan};
use crate::state::LabDir;
use crate::status::{ContainerStatus, Phase, Status};

/// How long pods may take to become ready before the lab counts as up without them.
const READY: Duration = Duration::from_secs(60);

/// What all parts of the supervisor need.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The lab's files.
    pub(crate) dir: LabDir,
    /// What it runs.
    pub(crate) plan: Plan,
    /// This very executable, also when its file was replaced meanwhile.
    pub(crate) executable: PathBuf,
    /// The file it came from: what another mount namespace can be shown.
    pub(crate) executable_file: PathBuf,
    /// How the lab is.
    pub(crate) status: watch::Sender<Status>,
}

impl Environment {
    /// Changes what is said of one container.
    pub(crate) fn update(
        &self,
        pod: usize,
        container: &str,
        change: impl FnOnce(&mut ContainerStatus),
    ) {
        self.status.send_modify(|status| status.update(pod, container, change));
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
    step("reading the plan".to_owned()).await;
    let env = Arc::new(environment(dir)?);
    let Plan { pods, services, .. } = &env.plan;
    step(format!("network: {} pods, {} services", pods.len(), services.len())).await;
    prepare(&env)?;
    network::node(pods).await?;
    let pauses = network::pods(&env, pods).await?;
    agent::announce(&env, &pauses)?;
    tokio::spawn(agent::run(Arc::clone(&env)));
    step(format!("certificates for {} service accounts", env.plan.accounts.len())).await;
    let certificates = certificates::Certificates::new(&env, OffsetDateTime::now_utc())?;
    tokio::spawn(certificates.keep(Arc::clone(&env)));
    step("policy in the kernel".to_owned()).await;
    agent::ready(&env).await?;
    let (leading, mut led) = watch::channel(None);
    tokio::spawn(network::follow(services.clone(), env.status.subscribe(), leading));
    tokio::spawn(keep_file(Arc::clone(&env)));
    open_gateway(&env)?;
    step("containers".to_owned()).await;
    for (position, pause) in pauses.into_iter().enumerate() {
        tokio::spawn(pod::run(Arc::clone(&env), position, pause));
    }
    wait_settled(&env, &mut step).await;
    // Whoever is told that the lab is up may use its Services at once.
    let all = led.wait_for(|led| led.as_ref() == Some(&env.status.borrow().ready()));
    let _ = timeout(READY, all).await;
    env.status.send_modify(|status| status.phase = Phase::Running);
    replace_json(&dir.status(), &*env.status.borrow())
}

fn environment(dir: &LabDir) -> Result<Environment, Error> {
    let plan: Plan = read_json(&dir.plan())?;
    let containers = plan.pods.iter().map(|pod| pod::waiting(dir, pod)).collect();
    let status = Status::new(dir.name().as_str(), &plan, containers);
    Ok(Environment {
        dir: dir.clone(),
        executable: format!("/proc/{}/exe", std::process::id()).into(),
        executable_file: std::env::current_exe().at("find", "/proc/self/exe")?,
        status: watch::Sender::new(status),
        plan,
    })
}

/// Makes all directories and files that do not depend on certificates.
fn prepare(env: &Environment) -> Result<(), Error> {
    let cluster = env.dir.cluster();
    create_private_dir(&cluster)?;
    create_private_dir(&env.dir.scratch())?;
    for (path, document) in
        [(env.dir.cluster_file(), &env.plan.cluster), (env.dir.policies_file(), &env.plan.policies)]
    {
        replace(&path, document.to_string().as_bytes(), 0o600)?;
    }
    env.plan.pods.iter().try_for_each(|pod| pod::prepare(env, pod))
}

/// Carries connections from the host to the ingress gateway, if there is one.
fn open_gateway(env: &Environment) -> Result<(), Error> {
    let is_gateway = |pod: &&PodPlan| pod.proxy.is_some() && !pod.has_sidecar();
    let address = env.plan.pods.iter().find(is_gateway).and_then(|pod| pod.link.addresses.first());
    if let (Some(port), Some(address)) = (env.plan.gateway_port, address) {
        let listener = gateway::listener()?;
        let own = listener.local_addr().at("read", "standard input")?;
        env.status.send_modify(|status| status.gateway_url = Some(format!("http://{own}")));
        tokio::spawn(gateway::forward(listener, SocketAddr::new(*address, port)));
    }
    Ok(())
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
async fn wait_settled(env: &Environment, step: &mut impl AsyncFnMut(String)) {
    let mut status = env.status.subscribe();
    let mut told = 0;
    let all = env.plan.pods.len();
    let _ = timeout(READY, async {
        loop {
            let (settled, ready) = {
                let current = status.borrow_and_update();
                (current.settled(), current.pods.iter().filter(|pod| pod.ready).count())
            };
            if ready > told {
                told = ready;
                step(format!("pods ready: {ready} of {all}")).await;
            }
            if settled || status.changed().await.is_err() {
                return;
            }
        }
    })
    .await;
}
