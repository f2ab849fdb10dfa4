//! What operators see of the agent.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

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
    sockets: Gauge<i64, AtomicI64>,
    sidecars: Gauge<i64, AtomicI64>,
}

impl Metrics {
    /// Adds the agent's metrics to a registry.
    pub fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            flush: Histogram::new(FLUSH),
            updates: Counter::default(),
            refused: Counter::default(),
            stale: Gauge::default(),
            sockets: Gauge::default(),
            sidecars: Gauge::default(),
        };
        let own = registry.sub_registry_with_prefix("agent");
        own.register("flush_seconds", "Time from a change to its updates", metrics.flush.clone());
        own.register("updates", "Updates calculated", metrics.updates.clone());
        own.register("source_errors", "Sets of files that were refused", metrics.refused.clone());
        own.register("source_stale", "Whether the files are broken", metrics.stale.clone());
        own.register("policysync_sockets", "Sockets of workloads", metrics.sockets.clone());
        own.register("policysync_sidecars", "Sidecars connected", metrics.sidecars.clone());
        metrics
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
