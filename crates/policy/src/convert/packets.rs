//! What becomes of packets that are denied or logged, from a FelixConfiguration.

use tortie_model::{FelixConfigurationSpec, FieldError};

use crate::layer4::number;
use crate::{DenyAction, HostSettings, LogLimit};

/// Log lines at once beyond the rate, where nothing else is said.
const BURST: u32 = 5;
/// Most log lines at once.
const MAX_BURST: u32 = 9_999;

/// Puts what is given over the settings so far, and notes what cannot be understood.
pub(crate) fn packets(
    spec: &FelixConfigurationSpec,
    settings: &mut HostSettings,
    errors: &mut Vec<FieldError>,
) {
    match spec.nftables_filter_deny_action.as_deref() {
        None | Some("") => {}
        Some(text) if text.eq_ignore_ascii_case("drop") => settings.deny = DenyAction::Drop,
        Some(text) if text.eq_ignore_ascii_case("reject") => settings.deny = DenyAction::Reject,
        Some(other) => {
            let reason = format!("`{other}` is neither `Drop` nor `Reject`");
            let error = FieldError::new("spec.nftablesFilterDenyAction", reason);
            errors.push(error.hint("`Drop` is the default"));
        }
    }
    if let Some(prefix) = spec.log_prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        settings.log.prefix = prefix.into();
    }
    let before = settings.log.limit.map_or(BURST, |limit| limit.burst);
    let burst = burst(spec.log_action_rate_limit_burst, before, errors);
    if let Some(limit) = &mut settings.log.limit {
        limit.burst = burst;
    }
    match spec.log_action_rate_limit.as_deref() {
        None => {}
        Some("") => settings.log.limit = None,
        Some(text) => match limit(text, burst) {
            Some(limit) => settings.log.limit = Some(limit),
            None => {
                let reason = format!("`{text}` is no rate");
                let hint = "write a number and a unit, as in `10/minute`; units are `second`, \
                            `minute`, `hour` and `day`";
                errors.push(FieldError::new("spec.logActionRateLimit", reason).hint(hint));
            }
        },
    }
}

fn burst(given: Option<i64>, before: u32, errors: &mut Vec<FieldError>) -> u32 {
    let Some(given) = given else { return before };
    match u32::try_from(given) {
        Ok(burst) if burst <= MAX_BURST => burst,
        _ => {
            let reason = format!("`{given}` is not a number between 0 and {MAX_BURST}");
            let error = FieldError::new("spec.logActionRateLimitBurst", reason);
            errors.push(error.hint("5 is the default"));
            before
        }
    }
}

fn limit(text: &str, burst: u32) -> Option<LogLimit> {
    let (lines, unit) = text.split_once('/')?;
    let seconds = match unit {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    let lines = number::<u32>(lines).filter(|n| (1..1_000_000_000).contains(n))?;
    (!text.starts_with('0')).then_some(LogLimit { lines, seconds, burst })
}
