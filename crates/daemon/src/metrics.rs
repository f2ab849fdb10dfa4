//! Metrics beyond what `prometheus-client` has: a histogram without a lock, and labels that nobody
//! can abuse.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
pub use prometheus_client::registry::Registry;

/// Upper bounds for something that takes microseconds, in nanoseconds.
pub const MICROSECONDS: &[u64] = &[
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    10_000_000,
];

/// Longest label value, in bytes.
const MAX_LABEL: usize = 128;

/// A histogram of durations for places that must neither wait nor allocate; clones are the same. A
/// scrape that coincides with observations may count some of them a scrape later.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds in nanoseconds, ascending.
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all.
    counts: Vec<AtomicU64>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// With upper bounds in nanoseconds, ascending.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds, counts, nanoseconds: AtomicU64::new(0) }))
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.0.bounds.partition_point(|bound| *bound < nanoseconds);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Seconds, which is what Prometheus wants.
fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = self.0.bounds.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.nanoseconds.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

/// A text as a label's value: bounded, and without what would end the value or the line.
#[must_use]
pub fn label(text: &str) -> String {
    let plain = |c: char| if matches!(c, '"' | '\\') || c.is_control() { '_' } else { c };
    let mut value = String::with_capacity(text.len().min(MAX_LABEL));
    for c in text.chars().map(plain) {
        if value.len() + c.len_utf8() > MAX_LABEL {
            break;
        }
        value.push(c);
    }
    value
}

/// All metrics of a registry in OpenMetrics' text form.
///
/// # Errors
/// If a collector fails.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_into_buckets() {
        let histogram = Histogram::new(&[1_000, 2_000]);
        for nanoseconds in [0, 1_000, 1_001, 2_000, 2_001, 5_000_000_000] {
            histogram.observe(Duration::from_nanos(nanoseconds));
        }
        let mut registry = Registry::with_prefix("tortie");
        registry.register("check", "how long", histogram.clone());
        let text = text(&registry).unwrap();
        for line in [
            "tortie_check_bucket{le=\"0.000001\"} 2",
            "tortie_check_bucket{le=\"0.000002\"} 4",
            "tortie_check_bucket{le=\"+Inf\"} 6",
            "tortie_check_count 6",
            "tortie_check_sum 5.000006002",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert_eq!(histogram.count(), 6);
    }

    #[test]
    fn labels_are_bounded_and_plain() {
        assert_eq!(label("a/b c"), "a/b c");
        assert_eq!(label("a\"} 1\n\\"), "a_} 1__");
        assert_eq!(label(&"é".repeat(100)).len(), 128);
    }
}
