//! The sidecar's side: stays connected to a socket, keeps a [`State`] up to date, and hands it over
//! whenever it is whole.
//!
//! What was handed over stays in force until something whole replaces it: while the agent is away,
//! and while a new connection is still being told everything. A message that cannot be understood,
//! or that comes out of order, ends the connection; the next one starts from nothing.

mod session;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tortie_calc::State;
use tortie_daemon::backoff::Backoff;
use tortie_policy::Compat;

pub use session::{SessionError, watch};
pub use status::{Link, Status};

/// What takes states: each one replaces the one before.
pub trait Sink: Send {
    /// A whole state, which is now in force. It is called from the client's task, and no message is
    /// read while it runs.
    fn publish(&mut self, state: &State);
}

/// Keeps a copy of the latest state, which shares with it what is large.
impl Sink for watch::Sender<Option<Arc<State>>> {
    fn publish(&mut self, state: &State) {
        self.send_replace(Some(Arc::new(state.clone())));
    }
}

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The socket.
    pub socket: PathBuf,
    /// In which points the messages are read as Calico reads them.
    pub compat: Compat,
    /// Largest message accepted, in bytes.
    pub max_message: usize,
    /// Pause before the second attempt to connect; it doubles from one to the next.
    pub first_pause: Duration,
    /// Longest pause between attempts.
    pub longest_pause: Duration,
    /// Silence after which the agent is asked whether it is still there.
    pub keepalive: Duration,
    /// How long it may take to answer that, or to accept a connection.
    pub patience: Duration,
    /// How long changes that keep coming may be gathered before the state is handed over.
    pub gather: Duration,
    /// Seed of the random part of pauses, which keeps the sidecars of a node from all coming at once.
    pub seed: u64,
}

impl Config {
    /// The usual behaviour at a socket.
    pub fn new(socket: impl Into<PathBuf>) -> Config {
        Config {
            socket: socket.into(),
            compat: Compat::STRICT,
            max_message: 256 << 20,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            keepalive: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            gather: Duration::from_millis(100),
            seed: 1,
        }
    }
}

/// Stays connected until it is dropped. What becomes of it is told through `status`.
///
/// A message of many members takes tens of milliseconds to read, and `sink` may take longer: whoever
/// serves anything else gives this a thread of its own.
pub async fn run(config: Config, sink: &mut dyn Sink, status: watch::Sender<Status>) {
    let mut backoff = Backoff::new(config.first_pause, config.longest_pause, config.seed);
    loop {
        let start = Instant::now();
        let error = session::run(&config, sink, &status).await;
        status.send_modify(|status| status.disconnected(&error, Instant::now()));
        tracing::warn!(socket = %config.socket.display(), %error, "no policy from the agent");
        // A connection that lasted is no failed attempt; one that always ends at once is.
        if start.elapsed() > config.longest_pause {
            backoff.reset();
        }
        sleep(backoff.pause()).await;
    }
}
