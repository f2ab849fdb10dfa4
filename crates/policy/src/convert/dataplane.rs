//! How a node's kernel enforces policy, from a FelixConfiguration.

use smol_str::SmolStr;
use tortie_model::{FelixConfigurationSpec, FieldError};

use crate::HostSettings;

/// Longest start of an interface's name: at least one letter must follow.
const MAX_PREFIX: usize = 14;

/// Puts what is given over the settings so far, and notes what cannot be understood or must not be.
pub(crate) fn dataplane(
    spec: &FelixConfigurationSpec,
    settings: &mut HostSettings,
    errors: &mut Vec<FieldError>,
) {
    interfaces(spec, settings, errors);
    if let Some(disabled) = spec.disable_conntrack_invalid_check {
        settings.drop_invalid = !disabled;
    }
    marks(spec, settings, errors);
    flows(spec, settings, errors);
    drop_action(spec, errors);
}

fn interfaces(
    spec: &FelixConfigurationSpec,
    settings: &mut HostSettings,
    errors: &mut Vec<FieldError>,
) {
    let mut read =
        |field: &str, given: Option<&str>, fits: fn(&str) -> bool, hint: &'static str| {
            let text = given.filter(|text| !text.is_empty())?;
            let parts: Vec<SmolStr> = text.split(',').map(|part| part.trim().into()).collect();
            let Some(wrong) = parts.iter().find(|part| !fits(part)) else { return Some(parts) };
            let reason = format!("`{wrong}` cannot be used");
            errors.push(FieldError::new(format!("spec.{field}"), reason).hint(hint));
            None
        };
    let prefixes = spec.interface_prefix.as_deref();
    let hint = "write what the names of workloads' interfaces begin with, up to 14 letters each, \
                separated by commas";
    if let Some(prefixes) = read("interfacePrefix", prefixes, is_prefix, hint) {
        settings.interface_prefixes = prefixes;
    }
    let hint =
        "write names of interfaces, separated by commas; regular expressions are not understood";
    let excluded = spec.interface_exclude.as_deref();
    if let Some(names) = read("interfaceExclude", excluded, super::sets::is_interface, hint) {
        settings.interface_exclude = names;
    }
}

fn is_prefix(text: &str) -> bool {
    text.len() <= MAX_PREFIX && super::sets::is_interface(text)
}

fn marks(spec: &FelixConfigurationSpec, settings: &mut HostSettings, errors: &mut Vec<FieldError>) {
    let given = [
        ("iptablesMarkMask", spec.iptables_mark_mask),
        ("nftablesMarkMask", spec.nftables_mark_mask),
    ];
    for (field, number) in given.into_iter().filter_map(|(f, n)| n.map(|n| (f, n))) {
        match u32::try_from(number) {
            Ok(mask) if mask != 0 => settings.mark_mask = Some(mask),
            _ => {
                let reason = format!("`{number}` grants no bit of a packet's mark");
                let error = FieldError::new(format!("spec.{field}"), reason);
                errors.push(error.hint("write a number between 1 and 4294967295"));
            }
        }
    }
}

fn flows(spec: &FelixConfigurationSpec, settings: &mut HostSettings, errors: &mut Vec<FieldError>) {
    let readers = &mut settings.flow_readers;
    if let Some(server) = &spec.flow_logs_goldmane_server {
        readers.server = !server.is_empty();
    }
    readers.file = spec.flow_logs_file_enabled.unwrap_or(readers.file);
    match spec.flow_logs_local_reporter.as_deref() {
        None => {}
        Some(text) if text.eq_ignore_ascii_case("enabled") => readers.local = true,
        Some(text) if text.is_empty() || text.eq_ignore_ascii_case("disabled") => {
            readers.local = false;
        }
        Some(other) => {
            let reason = format!("`{other}` is neither `Enabled` nor `Disabled`");
            let error = FieldError::new("spec.flowLogsLocalReporter", reason);
            errors.push(error.hint("`Disabled` is the default"));
        }
    }
}

/// Policy cannot be switched off here.
fn drop_action(spec: &FelixConfigurationSpec, errors: &mut Vec<FieldError>) {
    let given = spec.drop_action_override.as_deref().unwrap_or_default();
    if !given.is_empty() && !given.eq_ignore_ascii_case("drop") {
        let reason = format!("`{given}` is not available: what policy denies is dropped");
        let hint = "remove the field; write `Log` rules to see packets, and staged policies to try \
                    something out";
        errors.push(FieldError::new("spec.dropActionOverride", reason).hint(hint));
    }
}
