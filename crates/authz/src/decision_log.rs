//! One line for every decision that is asked for: denials, unless told otherwise.
//!
//! It says who wanted what and which rule decided, under the same keys as the dynamic metadata. It
//! never holds a header, a query or a body: those are not even decoded. So many lines a second and no
//! more: whoever is refused cannot fill the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::budget::Budget;
use crate::call::Call;
use crate::decide::Decision;
use crate::template::Template;
use crate::text::Shown;

/// The target of the lines, for log filters.
pub const TARGET: &str = "tortie_authz::decision";

/// What is logged.
#[derive(Debug, Clone)]
pub struct Config {
    /// Most lines a second; what is above is counted.
    pub each_second: u64,
    /// One in so many denials; 0 for none.
    pub denied_sample: u64,
    /// One in so many allowances; 0 for none.
    pub allowed_sample: u64,
    /// A text in place of fields.
    pub format: Option<Template>,
}

impl Default for Config {
    fn default() -> Self {
        Self { each_second: 100, denied_sample: 1, allowed_sample: 0, format: None }
    }
}

/// The log of one server.
#[derive(Debug)]
pub struct DecisionLog {
    config: Config,
    lines: Budget,
    denied: AtomicU64,
    allowed: AtomicU64,
    suppressed: AtomicU64,
}

impl DecisionLog {
    /// A log as configured.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let zero = || AtomicU64::new(0);
        let lines = Budget::new(config.each_second);
        Self { config, lines, denied: zero(), allowed: zero(), suppressed: zero() }
    }

    /// Whether the next decision is to be logged. `now` is the time since some fixed moment.
    pub fn wants(&self, allowed: bool, now: Duration) -> bool {
        let (sample, count) = match allowed {
            true => (self.config.allowed_sample, &self.allowed),
            false => (self.config.denied_sample, &self.denied),
        };
        if sample == 0 || !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return false;
        }
        count.fetch_add(1, Ordering::Relaxed).is_multiple_of(sample) && self.lines.take(now)
    }

    /// How many lines were left out because there were too many in a second.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Logs a decision.
    pub fn write(&self, call: &Call<'_>, decision: &Decision) {
        let suppressed = self.lines.take_refused();
        if suppressed > 0 {
            self.suppressed.fetch_add(suppressed, Ordering::Relaxed);
            tracing::warn!(target: TARGET, suppressed, "decisions were not logged: too many");
        }
        let word = if decision.allowed() { "allowed" } else { "denied" };
        match &self.config.format {
            Some(format) => {
                let text = format.render(decision, Some(call));
                tracing::info!(target: TARGET, "{text}");
            }
            None => write_fields(call, decision, word),
        }
    }
}

fn write_fields(call: &Call<'_>, decision: &Decision, word: &str) {
    let http = call.http;
    let (source, destination) = (call.source.place, call.destination.place);
    let principal = Shown::principal(call.source.principal).to_string();
    let id = http.map(|http| Shown::word(http.id).to_string());
    let method = http.map(|http| Shown::word(http.method).to_string());
    let path = http.map(|http| Shown::path(http.path).to_string());
    let by = decision.by.as_ref();
    tracing::info!(
        target: TARGET,
        verdict = decision.verdict(),
        code = decision.code.as_str_name(),
        source = source.to_string().as_str(),
        principal = (!principal.is_empty()).then_some(principal.as_str()),
        destination = destination.to_string().as_str(),
        method = method.as_deref(),
        path = path.as_deref(),
        tier = by.and_then(|by| by.tier.as_deref()),
        kind = by.and_then(|by| by.kind.as_deref()),
        namespace = by.and_then(|by| by.namespace.as_deref()),
        name = by.and_then(|by| by.name.as_deref()),
        action = by.map(|by| by.action),
        rule = by.and_then(|by| by.rule),
        reason = Shown::sentence(&decision.reason).to_string().as_str(),
        request = id.as_deref(),
        "{word}",
    );
}
