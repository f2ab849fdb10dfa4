//! Settings of the cluster that sidecars need.

use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::{Settings, Update};
use tortie_policy::{Compat, CompatPoint, Trust};
use tortie_proto::felix::SettingsUpdate;

use super::WireError;

pub(super) fn update(settings: &Settings) -> SettingsUpdate {
    SettingsUpdate {
        trust_domain: settings.trust.domain.to_string(),
        trust_domain_aliases: settings.trust.aliases.iter().map(SmolStr::to_string).collect(),
        compat: settings.compat.points().map(|point| point.name().to_owned()).collect(),
        addresses: settings.addresses,
        revision: settings.revision,
    }
}

/// Names of compatibility that we do not know stay strict: they are of a newer agent.
pub(super) fn read(wire: SettingsUpdate) -> Result<Update, WireError> {
    if wire.trust_domain.is_empty() {
        return Err(WireError::missing("SettingsUpdate", "trust_domain"));
    }
    let aliases = wire.trust_domain_aliases.into_iter().map(SmolStr::from).collect();
    let points = wire.compat.iter().filter_map(|name| name.parse::<CompatPoint>().ok());
    Ok(Update::Settings(Arc::new(Settings {
        trust: Trust { domain: wire.trust_domain.into(), aliases },
        compat: points.collect::<Compat>(),
        // A sidecar has none of them.
        nodes: Default::default(),
        host: Default::default(),
        established: Default::default(),
        addresses: wire.addresses,
        revision: wire.revision,
    })))
}
