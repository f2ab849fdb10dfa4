//! What the authorizer counts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use tortie_daemon::metrics::{Histogram, MICROSECONDS, Registry, label};
use tortie_policy::TraceEntry;
use tortie_proto::ext_authz::rpc::Code;

use crate::decision_log::DecisionLog;
use crate::grpc::Version;

/// Most rules that are counted one by one; what further ones decide is counted together.
const MAX_RULES: u64 = 2_000;

/// In place of the moment when policy became stale.
const CURRENT: i64 = i64::MIN;

const CODES: [Code; 4] = [Code::Ok, Code::PermissionDenied, Code::InvalidArgument, Code::Internal];

/// The metrics of one server; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    latency: Histogram,
    /// By version and code.
    answers: [[AtomicU64; CODES.len()]; Version::ALL.len()],
    malformed: Counter,
    verdicts: Family<Decider, Counter>,
    /// How many were asked for that were not there.
    deciders: AtomicU64,
    sizes: Sizes,
    updates: Counter,
    reconnects: Counter,
    /// When policy stopped being current, in milliseconds after `epoch`; [`CURRENT`] while it is.
    stale_since: AtomicI64,
    epoch: Instant,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            latency: Histogram::new(MICROSECONDS),
            answers: Default::default(),
            malformed: Counter::default(),
            verdicts: Family::default(),
            deciders: AtomicU64::new(0),
            sizes: Sizes::default(),
            updates: Counter::default(),
            reconnects: Counter::default(),
            stale_since: AtomicI64::new(CURRENT),
            epoch: Instant::now(),
        }
    }
}

#[derive(Debug, Default)]
struct Sizes {
    endpoints: Gauge,
    policies: Gauge,
    rules: Gauge,
    sets: Gauge,
    members: Gauge,
}

/// How large the policy in force is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Guarded workloads.
    pub endpoints: usize,
    /// Policies and profiles.
    pub policies: usize,
    /// Rules of all of them, in both directions.
    pub rules: usize,
    /// IP sets.
    pub sets: usize,
    /// Members of all of them.
    pub members: usize,
}

/// What decided, as labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decider {
    verdict: &'static str,
    tier: String,
    kind: String,
    namespace: String,
    name: String,
    rule: String,
}

impl Decider {
    fn of(allowed: bool, by: Option<&TraceEntry>) -> Self {
        let text = |text: Option<&String>| text.map(|text| label(text)).unwrap_or_default();
        let rule = by.and_then(|by| by.rule).map(|rule| rule.to_string());
        Self {
            verdict: if allowed { "allow" } else { "deny" },
            tier: text(by.and_then(|by| by.tier.as_ref())),
            kind: text(by.and_then(|by| by.kind.as_ref())),
            namespace: text(by.and_then(|by| by.namespace.as_ref())),
            name: text(by.and_then(|by| by.name.as_ref())),
            rule: rule.unwrap_or_default(),
        }
    }

    /// Whatever decided beyond those that are counted one by one.
    fn other(allowed: bool) -> Self {
        Self { kind: "other".to_owned(), ..Self::of(allowed, None) }
    }
}

impl Metrics {
    /// Adds everything to a registry.
    pub fn register(&self, registry: &mut Registry, log: Arc<DecisionLog>) {
        let inner = &self.0;
        registry.register("check_seconds", "Time to answer a check", inner.latency.clone());
        registry.register(
            "malformed_checks",
            "Checks that could not be read",
            inner.malformed.clone(),
        );
        registry.register("verdicts", "Verdicts by what decided", inner.verdicts.clone());
        registry.register("updates", "Changes of the policy in force", inner.updates.clone());
        registry.register(
            "reconnects",
            "Connections to Policy Sync after the first",
            inner.reconnects.clone(),
        );
        let sizes = &inner.sizes;
        for (name, help, gauge) in [
            ("endpoints", "Guarded workloads", &sizes.endpoints),
            ("policies", "Policies and profiles in force", &sizes.policies),
            ("rules", "Rules in force", &sizes.rules),
            ("ip_sets", "IP sets in force", &sizes.sets),
            ("ip_set_members", "Members of all IP sets", &sizes.members),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register_collector(Box::new(Scraped { metrics: self.clone(), log }));
    }

    /// Counts one answer.
    pub fn answered(&self, version: Version, code: Code, took: Duration) {
        self.0.latency.observe(took);
        let code = CODES.iter().position(|known| *known == code);
        let version = Version::ALL.iter().position(|known| *known == version);
        let row = version.and_then(|version| self.0.answers.get(version));
        if let Some(count) = code.and_then(|code| row?.get(code)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a check that could not be read.
    pub fn malformed(&self) {
        self.0.malformed.inc();
    }

    /// The counter of what a rule, a tier's default or a profile decides. Takes a lock: ask once and
    /// keep it.
    #[must_use]
    pub fn decider(&self, allowed: bool, by: Option<&TraceEntry>) -> Counter {
        let decider = Decider::of(allowed, by);
        let verdicts = &self.0.verdicts;
        let known = verdicts.get(&decider).map(|counter| counter.clone());
        known.unwrap_or_else(|| match self.0.deciders.fetch_add(1, Ordering::Relaxed) {
            0..MAX_RULES => verdicts.get_or_create_owned(&decider),
            _ => verdicts.get_or_create_owned(&Decider::other(allowed)),
        })
    }

    /// Policy of this size is in force now.
    pub fn installed(&self, size: Size) {
        self.0.updates.inc();
        let sizes = &self.0.sizes;
        for (gauge, value) in [
            (&sizes.endpoints, size.endpoints),
            (&sizes.policies, size.policies),
            (&sizes.rules, size.rules),
            (&sizes.sets, size.sets),
            (&sizes.members, size.members),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// So many connections after the first were made since this was last called.
    pub fn reconnected(&self, times: u64) {
        self.0.reconnects.inc_by(times);
    }

    /// Policy is what its source says.
    pub fn current(&self) {
        self.0.stale_since.store(CURRENT, Ordering::Relaxed);
    }

    /// Policy has not been what its source says for `age`; what was said before stays.
    pub fn stale(&self, age: Duration) {
        let since = self.now().saturating_sub(milliseconds(age));
        let (stale, order) = (&self.0.stale_since, Ordering::Relaxed);
        let _ = stale.compare_exchange(CURRENT, since, order, order);
    }

    /// For how long policy has not been what its source says; none if it is.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        match self.0.stale_since.load(Ordering::Relaxed) {
            CURRENT => None,
            since => {
                let age = u64::try_from(self.now().saturating_sub(since)).unwrap_or_default();
                Some(Duration::from_millis(age))
            }
        }
    }

    fn now(&self) -> i64 {
        milliseconds(self.0.epoch.elapsed())
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What is worked out when it is asked for.
#[derive(Debug)]
struct Scraped {
    metrics: Metrics,
    log: Arc<DecisionLog>,
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stale = self.metrics.staleness().unwrap_or_default();
        let gauge = ConstGauge::new(stale.as_secs_f64());
        let help = "For how long policy has not been what its source says";
        gauge.encode(encoder.encode_descriptor(
            "stale_seconds",
            help,
            None,
            gauge.metric_type(),
        )?)?;

        let suppressed = ConstCounter::new(self.log.suppressed());
        let help = "Decisions left out of the log because there were too many";
        let kind = suppressed.metric_type();
        let descriptor = encoder.encode_descriptor("unlogged_decisions", help, None, kind)?;
        suppressed.encode(descriptor)?;
        self.answers(&mut encoder)
    }
}

impl Scraped {
    fn answers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor("checks", "Answers by code", None, kind)?;
        for (version, counts) in Version::ALL.iter().zip(&self.metrics.0.answers) {
            for (code, count) in CODES.iter().zip(counts) {
                let labels = [("api", version.as_str()), ("code", code.as_str_name())];
                let counter = ConstCounter::new(count.load(Ordering::Relaxed));
                counter.encode(family.encode_family(&labels.as_slice())?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut registry = Registry::with_prefix("tortie_authz");
        metrics.register(&mut registry, Arc::new(DecisionLog::new(Default::default())));
        tortie_daemon::metrics::text(&registry).unwrap()
    }

    #[test]
    fn everything_is_shown() {
        let metrics = Metrics::default();
        metrics.answered(Version::V2, Code::Internal, Duration::from_micros(3));
        metrics.decider(true, None).inc();
        metrics.installed(Size { rules: 7, ..Size::default() });
        let text = text(&metrics);
        for line in [
            "tortie_authz_check_seconds_count 1",
            "tortie_authz_checks_total{api=\"v2\",code=\"INTERNAL\"} 1",
            "tortie_authz_rules 7",
            "tortie_authz_stale_seconds 0.0",
            "tortie_authz_unlogged_decisions_total 0",
            "tortie_authz_updates_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.contains("tortie_authz_verdicts_total{verdict=\"allow\",tier=\"\""), "{text}");
    }

    #[test]
    fn rules_are_bounded() {
        let metrics = Metrics::default();
        let entry = |rule| TraceEntry {
            tier: None,
            kind: None,
            namespace: None,
            name: None,
            action: "allow",
            rule: Some(rule),
            plane: None,
        };
        let most = usize::try_from(MAX_RULES).unwrap();
        for rule in 0..3 * most {
            metrics.decider(true, Some(&entry(rule))).inc();
        }
        let lines = text(&metrics).lines().filter(|l| l.contains("verdicts_total{")).count();
        assert_eq!(lines, most + 1);
    }

    #[test]
    fn staleness_counts_from_its_beginning() {
        let metrics = Metrics::default();
        assert_eq!(metrics.staleness(), None);
        metrics.stale(Duration::ZERO);
        let first = metrics.staleness().unwrap();
        metrics.stale(Duration::ZERO);
        assert!(metrics.staleness().unwrap() >= first);
        metrics.current();
        metrics.stale(Duration::from_secs(1_000_000));
        assert!(metrics.staleness().unwrap() >= Duration::from_secs(1_000_000));
        metrics.current();
        assert_eq!(metrics.staleness(), None);
    }
}
