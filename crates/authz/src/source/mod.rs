//! Where policy comes from: files, or Policy Sync. Each has one task, on a thread of its own, that puts
//! what it learns in force: to compile a large policy takes longer than a check may wait.

mod files;
mod sync;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tortie_calc::{LocalEndpoint, State};
use tortie_daemon::readiness::Guard;
use tortie_policy::EndpointId;

pub use files::{Loaded, Reloader, Source};
pub use sync::{LastGood, PolicySync};

use crate::health::{Config, Health};
use crate::metrics::Metrics;
use crate::snapshot::{Snapshot, View};

/// The one writer of the snapshot that checks are answered by.
#[derive(Debug)]
pub struct Installer {
    view: View,
    snapshot: Arc<ArcSwap<Snapshot>>,
    health: Health,
    guard: Guard,
    metrics: Metrics,
    /// The workloads in force, to see which is new.
    endpoints: BTreeMap<EndpointId, Arc<LocalEndpoint>>,
    newest: Option<EndpointId>,
}

impl Installer {
    /// With nothing in force: every check is refused.
    #[must_use]
    pub fn new(view: View, health: Health, guard: Guard, metrics: Metrics) -> Self {
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::nothing(&view)));
        let (endpoints, newest) = (BTreeMap::new(), None);
        Self { view, snapshot, health, guard, metrics, endpoints, newest }
    }

    /// What checks are answered by, now and after every change.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Puts policy in force. `fingerprint` tells it from other policy.
    fn install(&mut self, state: &State, fingerprint: u64, what: &str) {
        self.note_newest(state);
        let before = self.snapshot.load_full();
        let snapshot = Arc::new(before.next(state, &self.view, self.newest.as_ref()));
        self.snapshot.store(Arc::clone(&snapshot));
        self.health.set_fingerprint(fingerprint);
        let size = snapshot.size();
        self.metrics.installed(size);
        let (endpoints, policies, rules) = (size.endpoints, size.policies, size.rules);
        let problem = snapshot.guarded.problem().map(|lost| lost.to_string());
        match problem.clone() {
            None => self.guard.ready(),
            Some(problem) => self.guard.wait(problem),
        }
        // Told last: whoever reads it may ask at once.
        tracing::info!(endpoints, policies, rules, "{what}");
        if let Some(problem) = problem {
            tracing::error!(%problem, "every request is refused");
        }
    }

    /// Dikastes takes the workload it was told of last; so it is here, if there are several.
    fn note_newest(&mut self, state: &State) {
        let same = |old: &Arc<LocalEndpoint>, new: &Arc<LocalEndpoint>| Arc::ptr_eq(old, new);
        let is_new = |(id, endpoint): &(&EndpointId, &Arc<LocalEndpoint>)| {
            !self.endpoints.get(*id).is_some_and(|old| same(old, endpoint))
        };
        if let Some((id, _)) = state.endpoints.iter().rfind(is_new) {
            self.newest = Some(id.clone());
        }
        self.endpoints.clone_from(&state.endpoints);
    }

    /// What is in force is what the source says.
    fn current(&self) {
        self.health.set_config(Config::Current);
        self.metrics.current();
    }

    /// What is in force is not what the source says, for the reason given.
    fn stale(&self, error: String) {
        self.health.set_config(Config::Stale { error });
        self.metrics.stale(Duration::ZERO);
    }
}
