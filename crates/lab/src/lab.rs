//! Starting, finding and ending labs: the library behind the commands.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tortie_client::files::{self, Loaded};
pub use tortie_mesh::envoy::MutualTls;

use crate::admin;
use crate::apply::{self, Change};
use crate::denials::{self, Denial};
use crate::error::{At, Problems};
use crate::exec::{self, Output};
use crate::files::{read_json, replace_json};
use crate::launch::{Launch, Started};
use crate::net::sysctl;
use crate::plan::{self, Machine, Settings};
use crate::state::{LabDir, Liveness, StateRoot};
use crate::status::Status;
use crate::supervisor::AUTHORIZER;
use crate::{Error, LabName, programs};

/// The lifetime of workload certificates when nothing is said.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How much a lab needs to begin with, in bytes: the API server's store, for one.
const ROOM: u64 = 8 << 20;

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lab's name.
    pub name: LabName,
    /// Where labs keep their state.
    pub state: StateRoot,
    /// The executable that runs the lab's own processes: it must answer to `lab`, to
    /// `agent` and to `authz`.
    pub executable: PathBuf,
    /// Manifests to start with: files and directories, `-` being standard input.
    pub manifests: Vec<PathBuf>,
    /// Whether directories are read with everything below them.
    pub recursive: bool,
    /// A file with an image map, beside those among the manifests.
    pub images: Option<PathBuf>,
    /// Whether sidecars serve clients without a certificate.
    pub mtls: MutualTls,
    /// Lifetime of workload certificates; they are renewed after half of it.
    pub certificate_lifetime: Duration,
    /// The host's port for the ingress gateway; a free one if 0.
    pub gateway_port: u16,
}

impl Options {
    /// The default lab of this user, with this process's executable and no manifests.
    ///
    /// # Errors
    /// If there is nowhere to keep state, or the executable's path is unknown.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            name: LabName::default(),
            state: StateRoot::for_user()?,
            executable: std::env::current_exe().at("find", "/proc/self/exe")?,
            manifests: Vec::new(),
            recursive: false,
            images: None,
            mtls: MutualTls::Strict,
            certificate_lifetime: CERTIFICATE_LIFETIME,
            gateway_port: 0,
        })
    }

    /// Reads the input and checks it. Nothing is started yet.
    fn check(&self) -> Result<Checked, Error> {
        let manifests = load(&self.manifests, self.recursive)?;
        let images = load(self.images.as_slice(), false)?;
        programs::check()?;
        let machine =
            Machine { executable: &self.executable, v6: sysctl::has_ipv6(), find: &programs::find };
        let checked = plan::check(&machine, &manifests, &images).map_err(Problems::from)?;
        let envoy = match programs::envoy(&self.executable) {
            Err(error) if checked.needs_envoy => return Err(error),
            found => found.ok(),
        };
        let (api_port, claim) = free_port()?;
        let settings = Settings {
            documents: checked.documents,
            images: images.resources.into_iter().map(|resource| resource.raw).collect(),
            executable: self.executable.clone(),
            envoy,
            permissive: self.mtls == MutualTls::Permissive,
            certificate_seconds: self.certificate_lifetime.as_secs().max(1),
            api_port,
            rootless: is_rootless(),
        };
        let warnings = manifests.warnings.iter().chain(&images.warnings);
        let warnings = warnings.map(ToString::to_string).collect();
        Ok(Checked { settings, warnings, _claim: claim })
    }
}

/// What to start with, and what was passed over on the way to it.
struct Checked {
    settings: Settings,
    warnings: Vec<String>,
    /// Held until the API server listens.
    _claim: UnixDatagram,
}

/// The first of the ports for API servers, and how many there are: all below those that are given to
/// whoever asks for any.
const PORTS: (u16, u16) = (20_000, 12_000);

/// A port that nobody listens on now, and that nobody is given by chance before the API server has it
/// or while that is started again. No other lab takes it as long as the claim on it lives.
fn free_port() -> Result<(u16, UnixDatagram), Error> {
    let (first, count) = PORTS;
    let chosen = RandomState::new().hash_one(()) % u64::from(count);
    let chosen = u16::try_from(chosen).unwrap_or_default();
    let mut ports = (0..count).map(|next| first + (chosen + next) % count);
    let free = ports.find_map(|port| {
        let claim = claim(port).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some((port, claim))
    });
    let none = || io::Error::from(io::ErrorKind::AddrInUse);
    free.ok_or_else(none).at("find", "a free port")
}

/// A socket of this name belongs to whoever may take a port.
fn claim(port: u16) -> io::Result<UnixDatagram> {
    let name = format!("tortie-lab-port-{port}");
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

fn load(paths: &[PathBuf], recursive: bool) -> Result<Loaded, Error> {
    Ok(files::load(paths, recursive).map_err(Problems::from)?)
}

fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root()
}

/// A running lab.
///
/// A lab from [`Lab::up`] ends with this value, or with the process, unless it is
/// [detached](Lab::detach).
#[derive(Debug)]
pub struct Lab {
    state: StateRoot,
    dir: LabDir,
    started: Option<Started>,
}

impl Lab {
    /// Starts a lab and waits until its pods are ready, or will not be soon: see
    /// [`Lab::status`]. Each step's text, and each warning, is passed to `progress`.
    ///
    /// # Errors
    /// For bad input or missing programs, before anything is started; for anything that fails
    /// later, after everything started has been ended again.
    pub fn up(options: &Options, mut progress: impl FnMut(&str)) -> Result<Self, Error> {
        let Checked { settings, warnings, _claim } = options.check()?;
        warnings.iter().for_each(|warning| progress(&format!("warning: {warning}")));
        let stdin = gateway_listener(options.gateway_port)?;
        let dir = options.state.reserve(&options.name)?;
        let launch = Launch { executable: &options.executable, stdin, rootless: is_rootless() };
        let mut started = launch.start(&options.state, &dir, |dir| prepare(dir, &settings))?;
        started.wait_ready(progress)?;
        Ok(Self { state: options.state.clone(), dir, started: Some(started) })
    }

    /// The running lab of this name.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn open(state: &StateRoot, name: &LabName) -> Result<Self, Error> {
        let (dir, _) = state.running_lab(name)?;
        Ok(Self { state: state.clone(), dir, started: None })
    }

    /// Lets the lab live on when this value, or this process, ends.
    ///
    /// # Errors
    /// If the supervisor is gone.
    pub fn detach(&mut self) -> Result<(), Error> {
        self.started.as_mut().map_or(Ok(()), Started::detach)
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &LabName {
        self.dir.name()
    }

    /// How the lab is now.
    ///
    /// # Errors
    /// If the status cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        read_json(&self.dir.status())
    }

    /// Where the ingress gateway can be reached from this machine, if the lab has one.
    ///
    /// # Errors
    /// If the status cannot be read.
    pub fn gateway_url(&self) -> Result<Option<String>, Error> {
        Ok(self.status()?.gateway_url)
    }

    /// Runs a command in a container of a pod, without input, as the container's own process runs:
    /// same view of the machine, environment and privileges.
    ///
    /// `pod` is `NAMESPACE/NAME`, or the name alone where no other pod has it, or that of the
    /// Deployment or other workload whose only pod it is; the container is the pod's first unless
    /// one is named.
    ///
    /// # Errors
    /// If there is no such pod or container, it does not run, or the time is over; the command
    /// is killed then.
    pub fn exec(
        &self,
        pod: &str,
        container: Option<&str>,
        argv: &[String],
        limit: Duration,
    ) -> Result<Output, Error> {
        let command = self.exec_command(pod, container, argv)?;
        exec::capture(command, &format!("pod `{pod}`: {}", argv.join(" ")), limit)
    }

    /// As [`Lab::exec`], as a command whose standard streams the caller may choose.
    ///
    /// # Errors
    /// If there is no such pod or container, or it does not run.
    pub fn exec_command(
        &self,
        pod: &str,
        container: Option<&str>,
        argv: &[String],
    ) -> Result<Command, Error> {
        let status = self.status()?;
        let pod = exec::find_pod(&status, pod)?;
        let container = exec::container_name(pod, container)?;
        let settings: Settings = read_json(&self.dir.settings())?;
        let (_, holder) = self.state.running_lab(self.name())?;
        let running = exec::Running::from_outside(&self.dir, &settings, holder, pod, &container)?;
        Ok(running.command(argv))
    }

    /// The log of a container of a pod; see [`Lab::exec`] for how they are named.
    ///
    /// # Errors
    /// If there is no such pod or container.
    pub fn log(&self, pod: &str, container: Option<&str>) -> Result<PathBuf, Error> {
        let status = self.status()?;
        let pod = exec::find_pod(&status, pod)?;
        let container = exec::container_name(pod, container)?;
        let found = pod.containers.iter().find(|c| c.name == container);
        Ok(found.map(|c| c.log.clone()).unwrap_or_default())
    }

    /// What the authorizer of a pod has refused, oldest first.
    ///
    /// # Errors
    /// If there is no such pod, or it has no sidecar.
    pub fn denials(&self, pod: &str) -> Result<Vec<Denial>, Error> {
        denials::read(&self.log(pod, Some(AUTHORIZER))?)
    }

    /// With this kubectl and calicoctl reach the lab's API server.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.kubeconfig()
    }

    /// Returns when the kernel and every authorizer work by what the API server holds now.
    ///
    /// # Errors
    /// If they do not in time, or the API server does not answer.
    pub fn wait_in_force(&self) -> Result<(), Error> {
        apply::wait_in_force(&self.dir)
    }

    /// The metrics of the node's agent, as Prometheus reads them: what the kernel dropped, for one.
    ///
    /// # Errors
    /// If the agent does not answer.
    pub fn metrics(&self) -> Result<String, Error> {
        let socket = self.dir.agent_admin();
        admin::get(&socket, "/metrics").at("ask", socket)
    }

    /// Gives the API server what some files hold; returns when the kernel and every authorizer work by
    /// the policy in it.
    ///
    /// # Errors
    /// If anything is wrong with any of it: nothing is changed then.
    pub fn apply(&self, paths: &[PathBuf], recursive: bool) -> Result<Vec<Change>, Error> {
        apply::apply(&self.dir, paths, recursive)
    }

    /// Deletes from the API server what some files hold; returns when neither the kernel nor an
    /// authorizer works by policy in it any more.
    ///
    /// # Errors
    /// If the files cannot be read.
    pub fn delete(&self, paths: &[PathBuf], recursive: bool) -> Result<Vec<Change>, Error> {
        apply::delete(&self.dir, paths, recursive)
    }

    /// Ends the lab and removes every process, namespace, link, mount and file of it.
    ///
    /// # Errors
    /// If a process does not end, or a file cannot be removed.
    pub fn down(mut self) -> Result<(), Error> {
        match &mut self.started {
            Some(started) => started.end(),
            None => down(&self.state, self.dir.name()),
        }
    }
}

/// Writes what the lab starts with, if there is room for what it will write itself.
fn prepare(dir: &LabDir, settings: &Settings) -> Result<(), Error> {
    let found = rustix::fs::statvfs(dir.path()).at("inspect", dir.path())?;
    if found.f_bavail.saturating_mul(found.f_frsize) < ROOM {
        return Err(rustix::io::Errno::NOSPC).at("write", dir.path());
    }
    replace_json(&dir.settings(), settings)
}

/// A listener of this machine for the ingress gateway.
fn gateway_listener(port: u16) -> Result<Stdio, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map(|listener| Stdio::from(OwnedFd::from(listener)))
        .map_err(|source| Error::GatewayPort { port, source })
}

/// Ends a lab by name and removes everything of it; the remains of one that died count.
///
/// # Errors
/// [`Error::NotRunning`] if there is none.
pub fn down(state: &StateRoot, name: &LabName) -> Result<(), Error> {
    let dir = state.lab(name);
    match dir.liveness() {
        Liveness::Running(holder) => holder.kill()?,
        Liveness::Stale => {}
        Liveness::Absent | Liveness::Starting => return state.running_lab(name).map(drop),
    }
    state.forget(&dir)
}
