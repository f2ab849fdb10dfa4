//! Policy from Policy Sync: in force as soon as it is whole, and as long as nothing newer is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tortie_calc::State;
use tortie_daemon::readiness::Guard;
use tortie_policysync::client::{self, Config, Link, Sink, Status};
use tortie_policysync::disk;

use super::Installer;
use crate::health::{self, Health};
use crate::metrics::Metrics;

/// Between two writes of what is in force to disk.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Where what was in force last is kept, for a start without the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// A folder for this alone.
    pub folder: PathBuf,
    /// How old it may be.
    pub max_age: Duration,
}

/// Follows an agent.
pub struct PolicySync {
    config: Config,
    last_good: Option<LastGood>,
    sink: Installing,
    health: Health,
    metrics: Metrics,
    /// Ready while the agent is there and has told everything.
    guard: Guard,
}

/// Puts states in force as the client hands them over.
struct Installing {
    installer: Installer,
    /// What is not on disk yet, if it is to be.
    unsaved: Option<Arc<Mutex<Option<State>>>>,
}

impl Sink for Installing {
    fn publish(&mut self, state: &State) {
        let revision = state.settings.as_ref().map_or(0, |settings| settings.revision);
        self.installer.install(state, revision, "policy received");
        if let Some(unsaved) = &self.unsaved {
            *unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
        }
    }
}

impl PolicySync {
    /// Puts in force what was kept on disk, if it is to be trusted.
    #[must_use]
    pub fn start(
        config: Config,
        last_good: Option<LastGood>,
        installer: Installer,
        guard: Guard,
    ) -> Self {
        let (health, metrics) = (installer.health.clone(), installer.metrics.clone());
        let unsaved = last_good.is_some().then(Arc::default);
        let mut sync = Self {
            sink: Installing { installer, unsaved },
            config,
            last_good,
            health,
            metrics,
            guard,
        };
        sync.load();
        sync
    }

    fn load(&mut self) {
        let Some(LastGood { folder, max_age }) = &self.last_good else { return };
        let now = SystemTime::now();
        match disk::load(folder, now, *max_age, self.config.compat) {
            Ok(Some(saved)) => {
                let age = now.duration_since(saved.at).unwrap_or_default();
                tracing::warn!(age = age.as_secs(), "policy of an earlier run is in force");
                self.metrics.stale(age);
                let revision = saved.state.settings.as_ref().map_or(0, |s| s.revision);
                self.sink.installer.install(&saved.state, revision, "policy loaded");
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "policy of an earlier run is not used"),
        }
    }

    /// Follows the agent until it is dropped.
    pub async fn run(mut self) {
        let (sender, status) = watch::channel(Status::new(Instant::now()));
        let unsaved = self.sink.unsaved.clone();
        let follower = Follower {
            status,
            health: self.health,
            metrics: self.metrics,
            guard: self.guard,
            connections: 0,
        };
        tokio::join!(
            client::run(self.config, &mut self.sink, sender),
            follower.run(),
            keep(self.last_good, unsaved),
        );
    }
}

/// Tells health and metrics of the connection.
struct Follower {
    status: watch::Receiver<Status>,
    health: Health,
    metrics: Metrics,
    guard: Guard,
    connections: u64,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let status = self.status.borrow_and_update().clone();
            self.tell(&status);
            if self.status.changed().await.is_err() {
                return;
            }
        }
    }

    fn tell(&mut self, status: &Status) {
        let new = status.connections.saturating_sub(self.connections.max(1));
        self.connections = status.connections;
        self.metrics.reconnected(new);
        match status.stale_since {
            None => {
                self.metrics.current();
                self.health.set_config(health::Config::Current);
                self.guard.ready();
            }
            Some(since) => {
                self.metrics.stale(since.elapsed());
                let error = reason(&status.link);
                if status.ever_synced {
                    self.health.set_config(health::Config::Stale { error: error.clone() });
                }
                self.guard.wait(error);
            }
        }
    }
}

fn reason(link: &Link) -> String {
    match link {
        Link::Connecting => "no connection to the agent yet".to_owned(),
        Link::Syncing | Link::Synced => "the agent has not told everything yet".to_owned(),
        Link::Down(error) => format!("no connection to the agent: {error}"),
    }
}

/// Writes what is in force to disk, now and then.
async fn keep(last_good: Option<LastGood>, unsaved: Option<Arc<Mutex<Option<State>>>>) {
    let (Some(LastGood { folder, .. }), Some(unsaved)) = (last_good, unsaved) else { return };
    let mut ticks = interval(SAVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let state = unsaved.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(state) = state
            && let Err(error) = disk::save(&folder, &state, SystemTime::now())
        {
            tracing::error!(%error, "policy cannot be kept for the next start");
        }
    }
}
