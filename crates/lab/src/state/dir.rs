//! Where everything is in the directory of a lab.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::At;
use crate::plan::PodId;
use crate::{Error, LabName};

/// The directory of one lab.
#[derive(Debug, Clone)]
pub(crate) struct LabDir {
    name: LabName,
    path: PathBuf,
}

/// The directory of one pod.
#[derive(Debug, Clone)]
pub(crate) struct PodDir(PathBuf);

impl LabDir {
    pub(super) fn new(name: LabName, path: PathBuf) -> Self {
        Self { name, path }
    }

    /// The directory of a lab, as a process inside the lab is given it.
    pub(crate) fn from_path(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().parse()?;
        Ok(Self { name, path: path.to_owned() })
    }

    /// The lab's name.
    pub(crate) fn name(&self) -> &LabName {
        &self.name
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The supervisor's own log.
    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// What holds for the whole lab.
    pub(crate) fn settings(&self) -> PathBuf {
        self.path.join("settings.json")
    }

    /// The API server's data.
    pub(crate) fn api(&self) -> PathBuf {
        self.path.join("api")
    }

    /// The API server's log.
    pub(crate) fn api_log(&self) -> PathBuf {
        self.path.join("apiserver.log")
    }

    /// Where the API server is, for this user's processes in whatever network.
    pub(crate) fn api_url(&self) -> String {
        format!("unix://{}", self.api().join("api.sock").display())
    }

    /// What kubectl needs to reach the API server.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.api().join("kubeconfig")
    }

    /// The kubelet's socket.
    pub(crate) fn kubelet_socket(&self) -> PathBuf {
        self.path.join("kubelet.sock")
    }

    /// The status.
    pub(crate) fn status(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// What the agent needs to be known to the API server.
    pub(crate) fn agent_kubeconfig(&self) -> PathBuf {
        self.path.join("agent.kubeconfig")
    }

    /// The agent's log.
    pub(crate) fn agent_log(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    /// The agent's admin socket.
    pub(crate) fn agent_admin(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// Where the agent serves sidecars.
    pub(crate) fn policy_sync(&self) -> PathBuf {
        self.path.join("sync")
    }

    /// The log of a container.
    pub(crate) fn log(&self, pod: &PodId, container: &str) -> PathBuf {
        self.path.join("logs").join(format!("{}_{}", pod.namespace, pod.name)).join(container)
    }

    /// An empty directory, for a container to build its root on.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("root")
    }

    /// The files of a pod, by the name of its link: a short one, for the sake of socket paths.
    pub(crate) fn pod(&self, interface: &str) -> PodDir {
        PodDir(self.path.join("pods").join(interface))
    }

    /// Removes it with all it holds.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.at("remove", &self.path),
        }
    }
}

impl PodDir {
    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }

    /// The authorizer's socket.
    pub(crate) fn authorizer_socket(&self) -> PathBuf {
        self.run().join("authz.sock")
    }

    /// Envoy's admin socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run().join("admin.sock")
    }

    /// Sockets of the sidecar.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// The pod as it was planned, for whoever runs commands in it.
    pub(crate) fn plan(&self) -> PathBuf {
        self.0.join("pod.json")
    }

    /// The hosts file's folder, which containers see.
    pub(crate) fn names(&self) -> PathBuf {
        self.0.join("names")
    }

    /// Listeners and clusters; watched by Envoy.
    pub(crate) fn xds(&self) -> PathBuf {
        self.0.join("xds")
    }

    /// The sidecar's certificate; watched by Envoy.
    pub(crate) fn sds(&self) -> PathBuf {
        self.0.join("sds")
    }

    /// Envoy's bootstrap.
    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.0.join("bootstrap.json")
    }
}
