//! The agent, put together: resources, calculation, Policy Sync, the kernel, signals.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;
use tortie_calc::{Calculation, Update};
use tortie_client::Watch;
use tortie_client::files::FileError;
use tortie_client::server::Pace;
use tortie_daemon::admin::Admin;
use tortie_daemon::http::{ListenError, Listener, Place};
use tortie_daemon::log::Handle;
use tortie_daemon::metrics::Registry;
use tortie_daemon::readiness::{Guard, Readiness};
use tortie_daemon::shutdown::{self, Signals, Trigger};
use tortie_nft::program::Programmer;
use tortie_nft::render::Renderer;
use tortie_nft::{Delta, Events, Kernel as _, Netlink};
use tortie_policysync::server::{self, OwnPod, Server};

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::network::{self, Choices, Lock, LockError, Network, Teller};
use crate::source::{self, Files};

/// How long work in progress may take to end after a signal.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How often the numbers of sockets and sidecars are brought up to date.
const COUNT: Duration = Duration::from_secs(1);

/// What to do, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node whose workloads are served.
    pub node: SmolStr,
    /// Where resources come from.
    pub source: Source,
    /// Below which directory sidecars get their policy, whatever FelixConfiguration says.
    pub policy_sync_prefix: Option<PathBuf>,
    /// Permission bits and group of the sockets there, and which there are.
    pub policy_sync: server::Config,
    /// How policy is brought into the kernel; not at all if absent.
    pub network: Option<Choices>,
    /// Where to serve metrics and readiness.
    pub admin: Option<Place>,
}

/// Where resources come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Files and folders, read again when they change.
    Files {
        /// The files and folders.
        paths: Vec<PathBuf>,
        /// Whether folders are read with everything below them.
        recursive: bool,
    },
    /// A Kubernetes API.
    Server {
        /// Which one.
        place: tortie_client::server::Place,
        /// Whether all that is followed counts for the revision in force, not only what people
        /// write. Every sidecar is told of each change to it.
        everything: bool,
        /// How long to wait for what.
        pace: Pace,
    },
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The files are broken: all errors.
    #[error("{}", listed(.0))]
    Files(Vec<FileError>),
    /// A file cannot be followed.
    #[error("{0}")]
    Watch(String),
    /// There is no API server, or no way to speak to it.
    #[error(transparent)]
    Server(#[from] tortie_client::server::Error),
    /// The admin interface has no place.
    #[error(transparent)]
    Admin(#[from] ListenError),
    /// Somebody else has the network namespace.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The kernel cannot be programmed.
    #[error(
        "the kernel's packet filter cannot be reached: {0}\nhint: it needs nf_tables and CAP_NET_ADMIN; \
         choose `--dataplane none` to serve sidecars alone"
    )]
    Kernel(io::Error),
    /// The system refused something else.
    #[error("the system refused: {0}")]
    Io(#[from] io::Error),
}

impl AgentError {
    /// The exit code of the command contract: 2 for invalid input, 3 for something that is needed
    /// and cannot be had.
    pub fn exit_code(&self) -> u8 {
        match self {
            AgentError::Files(_) | AgentError::Watch(_) | AgentError::Server(_) => 2,
            AgentError::Admin(_)
            | AgentError::Lock(_)
            | AgentError::Kernel(_)
            | AgentError::Io(_) => 3,
        }
    }
}

/// One error a line, each with its hint; the caller writes the first `error:`.
fn listed(errors: &[FileError]) -> String {
    let hint = |error: &FileError| error.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
    let lines = errors.iter().map(|e| format!("{e}{}", hint(e).unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\nerror: ")
}

/// Works until SIGINT or SIGTERM.
///
/// # Errors
/// If the files are broken at the start, nothing says which API server to ask, or a place to listen
/// on cannot be had. Files that break later, and a server that cannot be reached, are logged; the
/// last good set stays in force.
pub async fn run(config: Config, log: Option<Handle>) -> Result<(), AgentError> {
    let mut signals = Signals::catch()?;
    let (readiness, guard) = Readiness::new("source", "the first resources");
    let mut registry = Registry::with_prefix("tortie");
    let metrics = Arc::new(Metrics::new(&mut registry));
    if matches!(config.source, Source::Server { .. }) {
        metrics.register_server(&mut registry);
    }
    let mut kernel = None;
    if let Some(choices) = &config.network {
        kernel = Some(Kernel::start(choices.clone(), &readiness, &mut registry)?);
    }
    let admin = Admin { registry: Arc::new(registry), readiness, log };
    let trigger = serve_admin(&config, admin).await?;

    let server = Arc::new(Server::new(config.policy_sync.clone(), OwnPod));
    let (told, first) = watch::channel(false);
    let teller = kernel.as_ref().map(|kernel| kernel.network.teller());
    let engine = engine(&config, Arc::clone(&server), teller, Arc::clone(&metrics), told)?;
    let following = follow(&config.source, engine, Arc::clone(&metrics), guard, first).await?;
    let counting = tokio::spawn(count(Arc::clone(&server), metrics));
    tracing::info!(node = %config.node, "working");

    let signal = signals.next().await;
    tracing::info!(%signal, "ending");
    following.abort();
    counting.abort();
    trigger.drain(DRAIN_LIMIT).await;
    drop(kernel);
    Ok(())
}

/// Takes resources to the engine from now on.
async fn follow(
    source: &Source,
    engine: Engine,
    metrics: Arc<Metrics>,
    guard: Guard,
    first: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, AgentError> {
    match source {
        Source::Files { paths, recursive } => {
            let files = Files::new(paths.clone(), *recursive);
            // Watched before read: a change in between is seen.
            let watch = Watch::new(files.paths(), files.recursive());
            let watch = watch.map_err(|error| AgentError::Watch(error.to_string()))?;
            let follower = source::Follower::start(files, engine, metrics);
            Ok(tokio::spawn(follower.map_err(AgentError::Files)?.run(watch, guard, first)))
        }
        Source::Server { place, everything, pace } => {
            let server = tortie_client::server::Server::connect(place).await?;
            tracing::info!(url = server.url(), "following the API server");
            let follower = source::api::Follower::new(engine, metrics, *everything);
            Ok(tokio::spawn(follower.run(server, *pace, guard, first)))
        }
    }
}

async fn serve_admin(config: &Config, admin: Admin) -> Result<Trigger, AgentError> {
    let (trigger, drain) = shutdown::drain();
    if let Some(place) = &config.admin {
        let listener = Listener::bind(place).await?;
        tokio::spawn(admin.serve(place.clone(), listener, drain));
    }
    Ok(trigger)
}

/// Removes the table from this network namespace, undoes what else an agent has changed there, and
/// says whether there was a table.
///
/// # Errors
/// If an agent is at work there, or the kernel refuses.
pub fn clean_up(choices: &Choices) -> Result<bool, AgentError> {
    let _lock = Lock::take()?;
    network::restore(choices)?;
    let mut programmer = Programmer::new(Netlink::new().map_err(AgentError::Kernel)?);
    programmer.remove().map_err(|error| AgentError::Kernel(io::Error::other(error)))
}

/// Closes workloads' interfaces in this network namespace until an agent comes, and says whether
/// that was needed: policy that is there stays.
///
/// # Errors
/// If an agent is at work there, or the kernel refuses.
pub fn close(choices: &Choices) -> Result<bool, AgentError> {
    let _lock = Lock::take()?;
    let mut netlink = Netlink::new().map_err(AgentError::Kernel)?;
    if netlink.read().map_err(AgentError::Kernel)?.is_some() {
        return Ok(false);
    }
    let closed = Renderer::new(choices.options());
    let result = Programmer::new(netlink).update(closed.ruleset(), Delta::default());
    result.map(|_| true).map_err(|error| AgentError::Kernel(io::Error::other(error)))
}

/// What brings policy into the kernel. When it is dropped, policy stays there.
struct Kernel {
    network: Network,
    tasks: Vec<JoinHandle<()>>,
    _lock: Lock,
}

impl Kernel {
    fn start(
        choices: Choices,
        readiness: &Readiness,
        registry: &mut Registry,
    ) -> Result<Kernel, AgentError> {
        let lock = Lock::take()?;
        let netlink = Netlink::new().map_err(AgentError::Kernel)?;
        // Heard of before it is read: a change in between is seen.
        let events = Events::new(netlink.port()).map_err(AgentError::Kernel)?;
        let guard = readiness.guard("network", "the first policy in the kernel");
        let network = Network::start(netlink, choices, network::register(registry), guard)?;
        let teller = network.teller();
        let interfaces = tokio::spawn(network::facts::follow(move |facts| teller.facts(facts)));
        let changes = tokio::spawn(listen(events, network.teller()));
        Ok(Kernel { network, tasks: vec![interfaces, changes], _lock: lock })
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(events: Events, teller: Teller) {
    if let Err(error) = network::events::listen(events, || teller.meddled()).await {
        tracing::error!(%error, "changes of others to the table are not heard of any more");
    }
}

/// The calculation, whose updates go to sidecars and to the kernel; and where sidecars are served, as
/// settings say.
fn engine(
    config: &Config,
    server: Arc<Server>,
    network: Option<Teller>,
    metrics: Arc<Metrics>,
    told: watch::Sender<bool>,
) -> io::Result<Engine> {
    let fixed = config.policy_sync_prefix.clone();
    server.set_prefix(fixed.clone());
    let calculation = Calculation::new(Some(config.node.clone()));
    let calculation = match &config.source {
        Source::Files { .. } => calculation.assigning_addresses(),
        Source::Server { .. } => calculation,
    };
    Engine::start(calculation, metrics, move |updates| {
        for update in &updates {
            if let (Update::Settings(settings), None) = (update, &fixed) {
                server.set_prefix(settings.host.policy_sync_prefix.as_ref().map(PathBuf::from));
            }
        }
        if let Some(network) = &network {
            network.updates(updates.clone());
        }
        server.update(updates);
        told.send_replace(true);
    })
}

/// Keeps the numbers of sockets and sidecars, and the age of what is known, up to date.
async fn count(server: Arc<Server>, metrics: Arc<Metrics>) {
    let mut tick = interval(COUNT);
    loop {
        tick.tick().await;
        let numbers = server.numbers();
        metrics.serving(numbers.sockets, numbers.sidecars);
        metrics.aged();
    }
}
