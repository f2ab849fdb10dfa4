//! One line for every denial.
//!
//! It says who wanted what and which rule refused it, under the same keys as the dynamic metadata.
//! It never holds a header, a query or a body: those are not even decoded.

use crate::call::Call;
use crate::decide::Decision;
use crate::text::Shown;

/// The target of the lines, for log filters.
pub const TARGET: &str = "tortie_authz::decision";

/// Logs a denial.
pub fn log(call: &Call<'_>, decision: &Decision) {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    let http = call.http;
    let (source, destination) = (call.source.place, call.destination.place);
    let principal = Shown::principal(call.source.principal).to_string();
    let id = http.map(|http| Shown::word(&http.id).to_string());
    let method = http.map(|http| Shown::word(&http.method).to_string());
    let path = http.map(|http| Shown::path(&http.path).to_string());
    let by = decision.by.as_ref();
    tracing::info!(
        target: TARGET,
        verdict = "deny",
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
        "denied",
    );
}
