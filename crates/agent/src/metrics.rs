//! What operators see of the agent.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tortie_daemon::metrics::{Histogram, Registry};

/// Upper bounds of what a flush takes, in nanoseconds.
const FLUSH: &[u64] = &[100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];

/// Counters of one agent; clones are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    flush: Histogram,
    updates: Counter<u64, AtomicU64>,
    /// Sets of files that could not be used.
    refused: Counter<u64, AtomicU64>,
    stale: Gauge<i64, AtomicI64>,
    invalid: Gauge<i64, AtomicI64>,
    sockets: Gauge<i64, AtomicI64>,
    sidecars: Gauge<i64, AtomicI64>,
    connected: Gauge<i64, AtomicI64>,
    missing: Gauge<i64, AtomicI64>,
    age: Gauge<f64, AtomicU64>,
    /// Since when what is known may be out of date.
    away: Arc<Mutex<Option<Instant>>>,
}

impl Metrics {
    /// Adds the agent's metrics to a registry.
    pub fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            flush: Histogram::new(FLUSH),
            updates: Counter::default(),
            refused: Counter::default(),
            stale: Gauge::default(),
            invalid: Gauge::default(),
            sockets: Gauge::default(),
            sidecars: Gauge::default(),
            connected: Gauge::default(),
            missing: Gauge::default(),
            age: Gauge::default(),
            away: Arc::default(),
        };
        let own = registry.sub_registry_with_prefix("agent");
        own.register("flush_seconds", "Time from a change to its updates", metrics.flush.clone());
        own.register("updates", "Updates calculated", metrics.updates.clone());
        own.register("source_errors", "Sets of files that were refused", metrics.refused.clone());
        own.register("source_stale", "Whether the files are broken", metrics.stale.clone());
        let help = "Resources that cannot be enforced as written";
        own.register("invalid_resources", help, metrics.invalid.clone());
        own.register("policysync_sockets", "Sockets of workloads", metrics.sockets.clone());
        own.register("policysync_sidecars", "Sidecars connected", metrics.sidecars.clone());
        metrics
    }

    /// Adds what concerns an API server, where resources come from one.
    pub(crate) fn register_server(&self, registry: &mut Registry) {
        let source = registry.sub_registry_with_prefix("source");
        let help = "Whether the API server is followed; the last policy stays in force if not";
        source.register("connected", help, self.connected.clone());
        let help = "For how long what is known may have been out of date, in seconds";
        source.register("age_seconds", help, self.age.clone());
        let help = "Kinds that the API server does not have";
        source.register("missing_kinds", help, self.missing.clone());
        self.away();
    }

    /// What is known may be out of date from now on.
    pub(crate) fn away(&self) {
        self.connected.set(0);
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.get_or_insert_with(Instant::now);
    }

    /// What is known is up to date.
    pub(crate) fn back(&self) {
        self.connected.set(1);
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.age.set(0.0);
    }

    /// Time has passed.
    pub(crate) fn aged(&self) {
        let away = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = away {
            self.age.set(since.elapsed().as_secs_f64());
        }
    }

    /// So many more kinds are missing.
    pub(crate) fn missing(&self, more: i64) {
        self.missing.inc_by(more);
    }

    /// So many resources cannot be enforced as written.
    pub(crate) fn invalid(&self, resources: usize) {
        self.invalid.set(i64::try_from(resources).unwrap_or(i64::MAX));
    }

    /// A flush has been calculated.
    pub(crate) fn flushed(&self, updates: usize, took: Duration) {
        self.flush.observe(took);
        self.updates.inc_by(u64::try_from(updates).unwrap_or(u64::MAX));
    }

    /// The files were read.
    pub(crate) fn read(&self, good: bool) {
        if !good {
            self.refused.inc();
        }
        self.stale.set(i64::from(!good));
    }

    /// What Policy Sync is doing.
    pub(crate) fn serving(&self, sockets: usize, sidecars: usize) {
        self.sockets.set(i64::try_from(sockets).unwrap_or(i64::MAX));
        self.sidecars.set(i64::try_from(sidecars).unwrap_or(i64::MAX));
    }
}
