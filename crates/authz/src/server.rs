//! The server, put together: policy, sockets, services, signals.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tortie_client::Watch;
use tortie_client::files::FileError;
use tortie_daemon::admin::Admin;
use tortie_daemon::http::{ListenError, Listener, Place};
use tortie_daemon::log;
use tortie_daemon::metrics::Registry;
use tortie_daemon::readiness::Readiness;
use tortie_daemon::shutdown::{self, Signals};
use tortie_daemon::socket::{self, BindError};
use tortie_policy::{CompatPoint, SpiffeId};
use tortie_policysync::client;

use crate::answer::Answers;
use crate::decision_log::{self, DecisionLog};
use crate::guarded::Mode;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::service::{Authorizer, Setup};
use crate::snapshot::View;
use crate::source::{Installer, LastGood, Loaded, PolicySync, Reloader, Source};
use crate::terminate;
use crate::transport::{self, Routes};

/// How long requests in flight and idle connections may take to end after a signal.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// The socket.
    pub listen: PathBuf,
    /// Its permission bits.
    pub listen_mode: u32,
    /// Where policy comes from.
    pub from: From,
    /// Whom to guard, and what to believe.
    pub view: View,
    /// How long policy may not be what its source says before everything is refused.
    pub max_staleness: Option<Duration>,
    /// How decisions are told.
    pub answers: Answers,
    /// What is logged of them.
    pub log: decision_log::Config,
    /// Where operators ask.
    pub admin: Option<Place>,
    /// Where Dikastes' `/terminate` is served.
    pub terminate: Option<Place>,
}

/// Where policy comes from.
#[derive(Debug, Clone)]
pub enum From {
    /// Files and folders.
    Files {
        /// Which.
        paths: Vec<PathBuf>,
        /// Whether folders are read with everything below them.
        recursive: bool,
    },
    /// Policy Sync.
    PolicySync {
        /// The socket of the workload.
        socket: PathBuf,
        /// Where what is in force is kept for the next start.
        last_good: Option<LastGood>,
    },
}

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The files are broken: all errors.
    #[error("{}", listed(.0))]
    Files(Vec<FileError>),
    /// Something in the configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// The socket cannot be had.
    #[error(transparent)]
    Bind(BindError),
    /// The place for operators cannot be had.
    #[error(transparent)]
    Listen(ListenError),
    /// The system refused something else.
    #[error("the system refused: {0}")]
    Io(io::Error),
    /// gRPC could not go on.
    #[error("the server ended: {0}")]
    Transport(tonic::transport::Error),
}

impl ServerError {
    /// The exit code of the command contract: 2 for invalid input, 3 for something that is needed
    /// and cannot be had.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Files(_) | Self::Config(_) => 2,
            Self::Bind(_) | Self::Listen(_) | Self::Io(_) | Self::Transport(_) => 3,
        }
    }
}

/// One error a line, each with its hint; the caller writes the first `error:`.
fn listed(errors: &[FileError]) -> String {
    let hint = |error: &FileError| error.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
    let lines = errors.iter().map(|e| format!("{e}{}", hint(e).unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\nerror: ")
}

/// Serves until SIGINT or SIGTERM, and then until requests in flight are answered.
///
/// # Errors
/// If the files are broken at the start, or a place to listen on cannot be had. Files that break
/// later are logged; the last good set stays in force.
pub async fn run(config: Config, log: log::Handle) -> Result<(), ServerError> {
    let mut signals = Signals::catch().map_err(ServerError::Io)?;
    check_domains(&config.view)?;
    let (readiness, guard) = Readiness::new("policy", "the first load");
    let health = Health::new(readiness.clone());
    let metrics = Metrics::default();
    let decisions = Arc::new(DecisionLog::new(config.log.clone()));
    let mut registry = Registry::with_prefix("tortie_authz");
    metrics.register(&mut registry, Arc::clone(&decisions));

    let loaded = Loading::begin(&config)?;
    let (listener, file) =
        socket::bind(&config.listen, config.listen_mode).map_err(ServerError::Bind)?;
    let admin = bind(config.admin.as_ref()).await?;
    let terminate = bind(config.terminate.as_ref()).await?;
    let installer = Installer::new(config.view.clone(), health.clone(), guard, metrics.clone());
    let snapshot = installer.snapshot();
    let setup = Setup {
        answers: config.answers.clone(),
        log: decisions,
        metrics,
        max_staleness: config.max_staleness,
        empty_http_in_v2: config.view.compat.has(CompatPoint::EmptyHttpInV2),
    };
    let authorizer = Authorizer::new(snapshot, setup);
    follow(loaded.start(installer, &readiness)).map_err(ServerError::Io)?;
    tracing::info!(socket = %file.path().display(), "listening");

    let (trigger, drain) = shutdown::drain();
    if let Some((place, listener)) = admin {
        let admin =
            Admin { registry: Arc::new(registry), readiness: readiness.clone(), log: Some(log) };
        tokio::spawn(admin.serve(place, listener, drain.clone()));
    }
    let (end, mut ended) = mpsc::channel(1);
    if let Some((_, listener)) = terminate {
        tokio::spawn(terminate::serve(listener, end.clone(), drain.clone()));
    }
    let mut serving =
        tokio::spawn(transport::serve(listener, Routes::new(authorizer, health), drain));
    tokio::select! {
        ended = &mut serving => return finished(ended),
        signal = signals.next() => tracing::info!(%signal, "draining"),
        _ = ended.recv() => tracing::info!("told to end over HTTP, draining"),
    }
    let _leaving = readiness.guard("drain", "the server is ending");
    if !trigger.drain(DRAIN_LIMIT).await {
        tracing::warn!("some clients did not leave in time");
        serving.abort();
    }
    drop(file);
    tracing::info!("ended");
    Ok(())
}

async fn bind(place: Option<&Place>) -> Result<Option<(Place, Listener)>, ServerError> {
    let Some(place) = place else { return Ok(None) };
    let listener = Listener::bind(place).await.map_err(ServerError::Listen)?;
    let at = listener.local_address().map_or_else(String::new, |address| address.to_string());
    tracing::info!(?place, at, "listening for operators");
    Ok(Some((place.clone(), listener)))
}

/// A source of policy, read as far as must be before the socket exists.
enum Loading {
    /// Files, the first set of them good.
    Files { source: Source, view: View, loaded: Box<Loaded>, watch: Watch },
    /// An agent, which need not be there.
    PolicySync { config: client::Config, last_good: Option<LastGood> },
}

impl Loading {
    fn begin(config: &Config) -> Result<Self, ServerError> {
        let view = config.view.clone();
        match &config.from {
            From::Files { paths, recursive } => {
                let source = source(paths, *recursive)?;
                // Watched before read: a change in between is seen.
                let watch = Watch::new(&source.paths, source.recursive);
                let loaded = source.load_with(view.compat).map_err(ServerError::Files)?;
                let watch = watch.map_err(|error| ServerError::Config(error.to_string()))?;
                Ok(Self::Files { source, view, loaded: Box::new(loaded), watch })
            }
            From::PolicySync { socket, last_good } => {
                let mut config = client::Config::new(socket);
                config.compat = view.compat;
                // Different for every sidecar of a node, which is all it has to be.
                config.seed = u64::from(std::process::id());
                Ok(Self::PolicySync { config, last_good: last_good.clone() })
            }
        }
    }

    /// Puts in force what was read.
    fn start(self, installer: Installer, readiness: &Readiness) -> Following {
        match self {
            Self::Files { source, view, loaded, watch } => {
                let node = match view.mode {
                    Mode::Node { node, .. } => node,
                    Mode::Workload(_) => None,
                };
                let reloader = Reloader::start(source, view.compat, node, *loaded, installer);
                Following::Files { reloader: Box::new(reloader), watch }
            }
            Self::PolicySync { config, last_good } => {
                let guard = readiness.guard("Policy Sync", "no connection to the agent yet");
                let sync = PolicySync::start(config, last_good, installer, guard);
                Following::PolicySync(Box::new(sync))
            }
        }
    }
}

/// A source of policy that is followed.
enum Following {
    Files { reloader: Box<Reloader>, watch: Watch },
    PolicySync(Box<PolicySync>),
}

impl Following {
    async fn run(self) {
        match self {
            Self::Files { reloader, watch } => reloader.run(watch).await,
            Self::PolicySync(sync) => sync.run().await,
        }
    }
}

/// Follows on a thread of its own, which ends with the process.
fn follow(following: Following) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || runtime.block_on(following.run());
    std::thread::Builder::new().name("policy".to_owned()).spawn(run).map(drop)
}

/// The server never ends by itself; if it does, that is an error to be told.
fn finished(
    ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> Result<(), ServerError> {
    match ended {
        Ok(result) => result.map_err(ServerError::Transport),
        Err(error) => Err(ServerError::Io(io::Error::other(error))),
    }
}

fn source(paths: &[PathBuf], recursive: bool) -> Result<Source, ServerError> {
    if paths.iter().any(|path| path.as_os_str() == "-") {
        let error = "-f: `-` cannot be read again after a change\nhint: name a file";
        return Err(ServerError::Config(error.to_owned()));
    }
    Ok(Source { paths: paths.to_vec(), recursive })
}

fn check_domains(view: &View) -> Result<(), ServerError> {
    // Whatever no principal can contain would silently match nothing.
    let invalid =
        |domain: &&String| SpiffeId::parse(&format!("spiffe://{domain}/ns/a/sa/b")).is_err();
    match view.trust_domain.iter().chain(&view.trust_domain_aliases).find(invalid) {
        Some(domain) => Err(ServerError::Config(format!("`{domain}` is not a valid trust domain"))),
        None => Ok(()),
    }
}
