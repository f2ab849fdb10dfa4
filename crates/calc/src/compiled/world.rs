//! What a snapshot knows besides rules: sets, labels, who uses an address, settings.

use std::net::IpAddr;
use std::sync::Arc;

use tortie_policy::{Account, Compat};

use super::identities::Identities;
use super::sets::Sets;
use crate::{ByAddress, Settings, State};

/// Everything rules ask about, but the traffic itself.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) sets: Sets,
    pub(super) identities: Arc<Identities>,
    /// Who uses which address, if that is known of all workloads.
    pub(super) addresses: Option<ByAddress<Arc<[Account]>>>,
    pub(super) settings: Arc<Settings>,
}

impl World {
    /// Takes over a state, but for the slots of sets, which rules still may ask for.
    pub(super) fn update(&mut self, state: &State) {
        if self.sets.is_worn(state) {
            self.sets = Sets::default();
        }
        self.sets.update(state);
        if !self.identities.is_of(state) {
            self.identities = Arc::new(Identities::new(state));
        }
        self.settings = state.settings.clone().unwrap_or_default();
        self.addresses = self.settings.addresses.then(|| state.addresses.clone());
    }

    pub(super) fn compat(&self) -> Compat {
        self.settings.compat
    }

    /// The accounts of the workloads at an address; none where nobody told.
    pub(super) fn claims(&self, address: IpAddr) -> &[Account] {
        let claims = self.addresses.as_ref().and_then(|map| map.get(&address));
        claims.map(|claims| &**claims).unwrap_or_default()
    }
}
