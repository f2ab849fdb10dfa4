//! The server, put together: files, socket, services, signals.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tortie_client::Watch;
use tortie_client::files::FileError;
use tortie_daemon::readiness::Readiness;
use tortie_daemon::shutdown::{self, Signals};
use tortie_daemon::socket::{self, BindError};
use tortie_policy::{EndpointId, SpiffeId, Trust};

use crate::answer::Detail;
use crate::health::Health;
use crate::service::Authorizer;
use crate::source::{Reloader, Source};
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
    /// Files and folders with resources.
    pub files: Vec<PathBuf>,
    /// Whether folders are read with everything below them.
    pub recursive: bool,
    /// The workload to guard.
    pub endpoint: EndpointId,
    /// What a refused client is told.
    pub detail: Detail,
    /// Trust domain of peers where the workload's own certificate does not tell.
    pub trust_domain: String,
    /// Trust domains to accept beside the workload's own.
    pub trust_domain_aliases: Vec<String>,
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
            Self::Bind(_) | Self::Io(_) | Self::Transport(_) => 3,
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
/// If the files are broken at the start, or the socket cannot be had. Files that break later are
/// logged; the last good set stays in force.
pub async fn run(config: Config) -> Result<(), ServerError> {
    let mut signals = Signals::catch().map_err(ServerError::Io)?;
    let trust = trust(&config)?;
    let (readiness, guard) = Readiness::new("policy", "the first load");
    let health = Health::new(readiness.clone());
    let source = source(&config)?;
    // Watched before read: a change in between is seen.
    let watch = Watch::new(&source.paths, source.recursive);
    let loaded = source.load().map_err(ServerError::Files)?;
    let watch = watch.map_err(|error| ServerError::Config(error.to_string()))?;
    let (listener, file) =
        socket::bind(&config.listen, config.listen_mode).map_err(ServerError::Bind)?;
    let reloader = Reloader::start(source, config.endpoint, loaded, health.clone(), guard);
    let authorizer = Authorizer::new(reloader.snapshot(), trust, config.detail);
    tracing::info!(socket = %file.path().display(), "listening");

    let (trigger, drain) = shutdown::drain();
    let reloading = tokio::spawn(reloader.run(watch));
    let mut serving =
        tokio::spawn(transport::serve(listener, Routes::new(authorizer, health), drain));
    let signal = tokio::select! {
        ended = &mut serving => return finished(ended),
        signal = signals.next() => signal,
    };
    tracing::info!(%signal, "draining");
    let _leaving = readiness.guard("drain", "the server is ending");
    if !trigger.drain(DRAIN_LIMIT).await {
        tracing::warn!("some clients did not leave in time");
        serving.abort();
    }
    reloading.abort();
    drop(file);
    tracing::info!("ended");
    Ok(())
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

fn source(config: &Config) -> Result<Source, ServerError> {
    if config.files.iter().any(|path| path.as_os_str() == "-") {
        let error = "-f: `-` cannot be read again after a change\nhint: name a file";
        return Err(ServerError::Config(error.to_owned()));
    }
    Ok(Source { paths: config.files.clone(), recursive: config.recursive })
}

fn trust(config: &Config) -> Result<Trust, ServerError> {
    for domain in std::iter::once(&config.trust_domain).chain(&config.trust_domain_aliases) {
        // Whatever no principal can contain would silently match nothing.
        if SpiffeId::parse(&format!("spiffe://{domain}/ns/a/sa/b")).is_err() {
            let error = format!("`{domain}` is not a valid trust domain");
            return Err(ServerError::Config(error));
        }
    }
    let aliases = config.trust_domain_aliases.iter().map(Into::into).collect();
    Ok(Trust { domain: (&config.trust_domain).into(), aliases })
}
