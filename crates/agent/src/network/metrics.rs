//! What operators see of the network.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::Gauge;
use tortie_daemon::metrics::{Histogram, Registry, label};
use tortie_nft::Ruleset;
use tortie_nft::program::Report;

use super::drops::Drop;

/// Upper bounds of what a batch takes, in nanoseconds.
const APPLY: &[u64] = &[
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
];

type Number = Gauge<i64, AtomicI64>;
type Total = Counter<u64, AtomicU64>;
type Revision = Gauge<u64, AtomicU64>;

/// The metrics of the network; clones are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    apply: Histogram,
    repair: Histogram,
    cut: Histogram,
    cuts: Total,
    forgotten: Total,
    unenforced: Number,
    batches: Total,
    rewrites: Total,
    failures: Total,
    repairs: Total,
    chains: Number,
    rules: Number,
    sets: Number,
    elements: Number,
    matches: Number,
    revision: Revision,
    ready: Arc<AtomicBool>,
    drops: Arc<Mutex<Vec<Drop>>>,
}

impl Metrics {
    /// Adds the metrics to a registry.
    pub(super) fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            apply: Histogram::new(APPLY),
            repair: Histogram::new(APPLY),
            cut: Histogram::new(APPLY),
            cuts: Total::default(),
            forgotten: Total::default(),
            unenforced: Number::default(),
            batches: Total::default(),
            rewrites: Total::default(),
            failures: Total::default(),
            repairs: Total::default(),
            chains: Number::default(),
            rules: Number::default(),
            sets: Number::default(),
            elements: Number::default(),
            matches: Number::default(),
            revision: Revision::default(),
            ready: Arc::default(),
            drops: Arc::default(),
        };
        let apply = "Time from an update to the kernel having it";
        registry.register("apply_seconds", apply, metrics.apply.clone());
        let repair = "Time to look at the table and repair it";
        registry.register("repair_seconds", repair, metrics.repair.clone());
        let cut = "Time to find connections that policy denies and cut them";
        registry.register("cut_seconds", cut, metrics.cut.clone());
        let totals = [
            ("cut_connections", "Connections that were cut", &metrics.cuts),
            (
                "forgotten_connections",
                "Connections deleted of addresses that workloads gave up",
                &metrics.forgotten,
            ),
            ("batches", "Batches that came into force", &metrics.batches),
            ("rewrites", "Batches that wrote everything anew", &metrics.rewrites),
            ("failures", "Attempts that the kernel refused", &metrics.failures),
            ("repairs", "Changes of others that were undone", &metrics.repairs),
        ];
        for (name, help, total) in totals {
            registry.register(name, help, total.clone());
        }
        let numbers = [
            ("chains", "Chains", &metrics.chains),
            ("rules", "Rules", &metrics.rules),
            ("sets", "Sets and maps", &metrics.sets),
            ("elements", "Elements of all sets and maps", &metrics.elements),
            (
                "unenforced_endpoints",
                "Workloads that policy cannot be enforced for",
                &metrics.unenforced,
            ),
            ("ready", "Whether the kernel has what it should", &metrics.matches),
        ];
        for (name, help, number) in numbers {
            registry.register(name, help, number.clone());
        }
        let revision = "Which set of resources the kernel enforces, by the source's number for it";
        registry.register("revision", revision, metrics.revision.clone());
        registry.register_collector(Box::new(Dropped(Arc::clone(&metrics.drops))));
        metrics
    }

    /// Something was brought into force.
    pub(super) fn applied(&self, report: &Report, took: Duration) {
        if report.changed() {
            self.apply.observe(took);
            self.batches.inc_by(report.batches);
            self.rewrites.inc_by(u64::from(report.rewritten));
        }
    }

    /// The table was looked at.
    pub(super) fn repaired(&self, report: &Report, took: Duration) {
        self.repair.observe(took);
        if report.changed() {
            self.repairs.inc();
            self.batches.inc_by(report.batches);
            self.rewrites.inc_by(u64::from(report.rewritten));
        }
    }

    /// Connections were looked at, and some cut.
    pub(super) fn cut(&self, cut: u64, took: Duration) {
        self.cut.observe(took);
        self.cuts.inc_by(cut);
    }

    /// Connections of addresses that are free were deleted.
    pub(super) fn forgotten(&self, count: u64) {
        self.forgotten.inc_by(count);
    }

    /// How many workloads policy cannot be enforced for.
    pub(super) fn unenforced(&self, count: usize) {
        self.unenforced.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The kernel refused.
    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// Whether the kernel has what it should.
    pub(super) fn ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
        self.matches.set(i64::from(ready));
    }

    /// Of which set of resources that is.
    pub(super) fn revision(&self, revision: u64) {
        self.revision.set(revision);
    }

    /// What was last said of it.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// How big the ruleset is.
    pub(super) fn sizes(&self, ruleset: &Ruleset) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.chains.set(number(ruleset.chains.len()));
        self.rules.set(number(ruleset.chains.values().map(|chain| chain.rules.len()).sum()));
        self.sets.set(number(ruleset.sets.len()));
        self.elements.set(number(ruleset.sets.values().map(|set| set.elements.len()).sum()));
    }

    /// What rules that deny have counted.
    pub(super) fn drops(&self, drops: Vec<Drop>) {
        *self.drops.lock().unwrap_or_else(PoisonError::into_inner) = drops;
    }
}

/// Encodes what was dropped, when somebody asks.
#[derive(Debug)]
struct Dropped(Arc<Mutex<Vec<Drop>>>);

impl Collector for Dropped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let drops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        type Value = fn(&Drop) -> u64;
        let families: [(_, _, Value); 2] = [
            ("dropped_packets", "Packets dropped by rule", |drop| drop.counter.packets),
            ("dropped_bytes", "Bytes dropped by rule", |drop| drop.counter.bytes),
        ];
        for (name, help, value) in families {
            let counter = ConstCounter::new(0_u64);
            let kind = counter.metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for drop in drops.iter() {
                let labels = [
                    ("kind", label(&drop.kind)),
                    ("namespace", label(&drop.namespace)),
                    ("name", label(&drop.name)),
                    ("direction", drop.direction.to_owned()),
                    ("rule", drop.rule.clone()),
                ];
                let one = family.encode_family(&labels)?;
                ConstCounter::new(value(drop)).encode(one)?;
            }
        }
        Ok(())
    }
}
