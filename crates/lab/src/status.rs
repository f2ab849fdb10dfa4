//! How a lab is: what `status` shows, and what the parts of the supervisor tell each other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::{PodId, ServicePlan};

/// A lab, as its supervisor last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The lab's name.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
    /// With this kubectl reaches the lab's API server.
    pub kubeconfig: PathBuf,
    /// Where the ingress gateway can be reached from outside, if there is one.
    pub gateway_url: Option<String>,
    /// Its pods, in the order in which they came.
    pub pods: Vec<PodStatus>,
    /// Its Services.
    pub services: Vec<ServiceStatus>,
    /// Its service accounts, each with a certificate.
    pub service_accounts: Vec<Named>,
    /// Its Secrets, those with the certificates among them.
    pub secrets: Vec<SecretStatus>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its own addresses; none if it is headless.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<u16>,
    /// The ports of its first pod that they lead to.
    pub targets: Vec<u16>,
}

/// A namespaced object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A Secret, without its contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStatus {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Type, such as `istio.io/key-and-cert`.
    #[serde(rename = "type")]
    pub type_: String,
}

/// How far a lab is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Pods are being started for the first time.
    Starting,
    /// The lab is up.
    Running,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What tells it from others of its name.
    pub uid: String,
    /// The name of the Deployment or other workload it is of, if it is of one.
    pub workload: Option<String>,
    /// When the lab took it up, as in RFC 3339.
    pub started_at: String,
    /// Whether it is being stopped.
    pub ending: bool,
    /// Addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Service account.
    pub service_account: String,
    /// Name of the node's end of its link.
    pub interface: String,
    /// Whether its traffic passes an Envoy with an authorizer.
    pub sidecar: bool,
    /// Whether all its containers are ready, so that Services lead to it.
    pub ready: bool,
    /// Its containers, those of the sidecar first.
    pub containers: Vec<ContainerStatus>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Image, as written in the manifest.
    pub image: String,
    /// What it does.
    pub state: State,
    /// Whether it runs, did not end at once, and its declared TCP ports accept connections.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Exit status of its last end; 128 and the signal for one that was killed.
    pub exit_code: Option<u8>,
    /// Why it does not run: the last line of its log, or why it could not be started.
    pub message: Option<String>,
    /// Why it waits, in one word, if that is not what it will get over by itself.
    pub reason: Option<String>,
    /// When it was last started, as in RFC 3339.
    pub started_at: Option<String>,
    /// When it last ended.
    pub finished_at: Option<String>,
    /// Its process, by its pid inside the lab.
    pub pid: Option<u32>,
    /// Its log.
    pub log: PathBuf,
}

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Envoy, or the authorizer beside it.
    Sidecar,
    /// It runs to its end before the others start.
    Init,
    /// What the pod is for.
    Application,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It waits for others before its first start.
    Waiting,
    /// It runs.
    Running,
    /// It ended with status 0 and stays ended.
    Completed,
    /// It ended otherwise and stays ended.
    Error,
    /// It ended and will be started again.
    CrashLoopBackOff,
}

impl State {
    /// The word `status` shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::CrashLoopBackOff => "CrashLoopBackOff",
        }
    }
}

impl ContainerStatus {
    /// A container that was not started yet.
    pub(crate) fn waiting(name: &str, role: Role, image: &str, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            role,
            image: image.to_owned(),
            state: State::Waiting,
            ready: false,
            restarts: 0,
            exit_code: None,
            message: None,
            reason: None,
            started_at: None,
            finished_at: None,
            pid: None,
            log,
        }
    }

    /// Its probe passed.
    pub(crate) fn set_ready(&mut self) {
        self.state = State::Running;
        self.ready = true;
        self.message = None;
    }

    /// Whether it does what it is for, or has done it.
    fn is_fine(&self) -> bool {
        self.ready || self.state == State::Completed
    }

    /// Whether it keeps its pod from being ready: only an init container may have ended.
    fn keeps_waiting(&self) -> bool {
        !(self.ready || (self.role == Role::Init && self.state == State::Completed))
    }

    /// Whether it will not get ready by waiting a little longer.
    fn stuck(&self) -> bool {
        match self.state {
            State::Error => true,
            State::CrashLoopBackOff => self.restarts >= 2,
            State::Waiting => self.message.is_some(),
            State::Running | State::Completed => false,
        }
    }
}

impl PodStatus {
    /// `NAMESPACE/NAME`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Why it is not ready, in one line; nothing if it has done all it is for.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let container = self.containers.iter().find(|c| !c.is_fine())?;
        let state = match container.state {
            State::Running => "runs, but not all of its ports accept connections",
            other => other.as_str(),
        };
        let message = container.message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
        Some(format!("container `{}`: {state}{message}", container.name))
    }

    fn settled(&self) -> bool {
        let all_fine = self.containers.iter().all(ContainerStatus::is_fine);
        all_fine || self.containers.iter().any(ContainerStatus::stuck)
    }
}

impl Status {
    /// A lab without pods.
    pub(crate) fn new(name: &str, kubeconfig: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            phase: Phase::Starting,
            kubeconfig,
            gateway_url: None,
            pods: Vec::new(),
            services: Vec::new(),
            service_accounts: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Whether every pod is ready or will not be soon.
    pub(crate) fn settled(&self) -> bool {
        self.pods.iter().all(|pod| !pod.ending && pod.settled())
    }

    /// The pods Services lead to.
    pub(crate) fn ready(&self) -> BTreeSet<PodId> {
        let ready = self.pods.iter().filter(|pod| pod.ready);
        ready.map(|p| PodId { namespace: p.namespace.clone(), name: p.name.clone() }).collect()
    }

    /// The pod of a uid.
    pub(crate) fn pod(&self, uid: &str) -> Option<&PodStatus> {
        self.pods.iter().find(|pod| pod.uid == uid)
    }

    /// Changes one pod, and with it whether it is ready.
    pub(crate) fn update_pod(&mut self, uid: &str, change: impl FnOnce(&mut PodStatus)) {
        let Some(pod) = self.pods.iter_mut().find(|pod| pod.uid == uid) else { return };
        change(pod);
        pod.ready = !pod.ending && !pod.containers.iter().any(ContainerStatus::keeps_waiting);
    }

    /// Changes one container, and with it whether its pod is ready.
    pub(crate) fn update(
        &mut self,
        uid: &str,
        container: &str,
        change: impl FnOnce(&mut ContainerStatus),
    ) {
        self.update_pod(uid, |pod| {
            if let Some(container) = pod.containers.iter_mut().find(|c| c.name == container) {
                change(container);
            }
        });
    }
}

impl From<&ServicePlan> for ServiceStatus {
    fn from(service: &ServicePlan) -> Self {
        Self {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            addresses: service.addresses.clone(),
            ports: service.ports.iter().map(|port| port.port).collect(),
            targets: service
                .pods
                .iter()
                .take(1)
                .flat_map(|pod| pod.ports.clone())
                .flatten()
                .collect(),
        }
    }
}

#[cfg(test)]
impl PodStatus {
    /// A pod of these containers, for tests.
    pub(crate) fn of(containers: Vec<ContainerStatus>) -> Self {
        Self {
            namespace: "default".into(),
            name: "p-0".into(),
            uid: "u".into(),
            workload: None,
            started_at: "2026-01-01T00:00:00Z".into(),
            ending: false,
            addresses: vec!["10.65.0.2".parse().unwrap()],
            service_account: "default".into(),
            interface: "cali0".into(),
            sidecar: false,
            ready: false,
            containers,
        }
    }
}
