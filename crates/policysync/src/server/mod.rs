//! The agent's side: a socket for each workload, over which its sidecar is told what concerns it.
//!
//! All sidecars share one copy of the current state, and none has a queue: see `session`. A sidecar
//! that does not read costs what it has read so far, and delays nobody.

mod binder;
mod directory;
mod joins;
pub mod layout;
mod listener;
mod members;
mod need;
mod others;
mod peer;
mod service;
mod session;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]
mod session_tests;
mod store;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tortie_calc::Update;
use tortie_policy::Compat;

use joins::Joins;
pub use peer::{Anybody, OwnPod, Peer, PeerCheck};
use store::Store;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Permission bits of the sockets.
    pub socket_mode: u32,
    /// Group of the sockets; that of the agent if there is none.
    pub socket_group: Option<u32>,
    /// Which sockets there are.
    pub sockets: Sockets,
    /// How often to look for new ones.
    pub poll: Duration,
    /// Silence after which a sidecar is asked whether it is still there.
    pub keepalive: Duration,
    /// How long it may take to answer that.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            socket_mode: 0o660,
            socket_group: None,
            sockets: Sockets::Credentials,
            poll: Duration::from_millis(100),
            keepalive: Duration::from_secs(10),
            patience: Duration::from_secs(5),
        }
    }
}

/// Which sockets there are below the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    /// Those that files in `creds` ask for, as Calico's driver writes them: see [`layout`].
    Credentials,
    /// One for each workload that policy is calculated for, with the id `<namespace>.<pod>`.
    Endpoints,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    config: Config,
    peers: Checker,
    store: RwLock<Store>,
    version: watch::Sender<u64>,
    joins: Joins,
    metrics: Counters,
}

struct Checker(Box<dyn PeerCheck>);

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checker")
    }
}

impl std::ops::Deref for Checker {
    type Target = dyn PeerCheck;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

#[derive(Debug, Default)]
struct Counters {
    sockets: AtomicUsize,
    refused: AtomicU64,
    reports: AtomicU64,
}

impl Counters {
    fn set_sockets(&self, count: usize) {
        self.sockets.store(count, Ordering::Relaxed);
    }
}

/// What the server is doing, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Sockets that are served.
    pub sockets: usize,
    /// Sidecars that are told their policy.
    pub sidecars: usize,
    /// Connections refused since the start, because the process was not of the workload.
    pub refused: u64,
    /// Reports taken since the start.
    pub reports: u64,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn compat(&self) -> Compat {
        self.read().settings.as_ref().map(|settings| settings.compat).unwrap_or_default()
    }
}

/// Serves sidecars until it is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    prefix: watch::Sender<Option<PathBuf>>,
    binder: JoinHandle<()>,
}

impl Server {
    /// A server without sockets: see [`Server::set_prefix`]. Must be called within a tokio runtime.
    pub fn new(config: Config, peers: impl PeerCheck) -> Server {
        let shared = Arc::new(Shared {
            config,
            peers: Checker(Box::new(peers)),
            store: RwLock::default(),
            version: watch::Sender::new(0),
            joins: Joins::default(),
            metrics: Counters::default(),
        });
        let prefix = watch::Sender::new(None);
        let binder = tokio::spawn(binder::run(Arc::clone(&shared), prefix.subscribe()));
        Server { shared, prefix, binder }
    }

    /// Takes in updates, in order; sidecars are told in their own time. Nothing is told before the
    /// first [`Update::InSync`].
    pub fn update(&self, updates: impl IntoIterator<Item = Update>) {
        let version = {
            let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
            updates.into_iter().for_each(|update| store.apply(update));
            store.version
        };
        self.shared.version.send_replace(version);
    }

    /// Where the sockets are from now on; nowhere if nothing is given. Connections below an old
    /// prefix end.
    pub fn set_prefix(&self, prefix: Option<PathBuf>) {
        self.prefix.send_if_modified(|current| {
            let changed = *current != prefix;
            *current = prefix;
            changed
        });
    }

    /// What the server is doing.
    pub fn numbers(&self) -> Numbers {
        let metrics = &self.shared.metrics;
        Numbers {
            sockets: metrics.sockets.load(Ordering::Relaxed),
            sidecars: self.shared.joins.count(),
            refused: metrics.refused.load(Ordering::Relaxed),
            reports: metrics.reports.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.binder.abort();
    }
}
