//! What the ruleset is rendered from: the last word on everything updates tell.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::{ActivePolicy, ActiveProfile, EndpointTier, LocalEndpoint, LocalHost, Settings};
use tortie_policy::{Compat, Direction, EndpointId, HostSettings, PolicyId};

use super::content;
use super::criteria::Known;
use super::rule::{Place, Writer};
use super::sets::IpSets;
use super::words::Words;

/// The last word on everything updates tell.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sets: IpSets,
    pub(super) policies: BTreeMap<PolicyId, Arc<ActivePolicy>>,
    pub(super) profiles: BTreeMap<SmolStr, Arc<ActiveProfile>>,
    pub(super) endpoints: HashSet<ById>,
    pub(super) hosts: BTreeMap<SmolStr, Arc<LocalHost>>,
    /// Addresses that several workloads claim.
    pub(super) disputed: BTreeSet<IpAddr>,
    pub(super) settings: Arc<Settings>,
}

/// A workload, found by who it is.
#[derive(Debug, Clone)]
pub(super) struct ById(pub(super) Arc<LocalEndpoint>);

impl Borrow<EndpointId> for ById {
    fn borrow(&self) -> &EndpointId {
        &self.0.id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl State {
    pub(super) fn compat(&self) -> Compat {
        self.settings.compat
    }

    pub(super) fn host(&self) -> &HostSettings {
        &self.settings.host
    }

    pub(super) fn known(&self) -> Known<'_> {
        // Whether claims are known at all.
        let told = self.settings.addresses;
        // IPv4 comes first in order.
        let four = self.disputed.first().is_some_and(IpAddr::is_ipv4);
        let six = self.disputed.last().is_some_and(IpAddr::is_ipv6);
        let disputed = [told && four, told && six];
        Known { sets: &self.sets, compat: self.compat(), disputed }
    }

    pub(super) fn writer<'a>(
        &'a self,
        words: &'a Words,
        place: Place,
        direction: Direction,
    ) -> Writer<'a> {
        Writer { known: self.known(), words, place, direction }
    }

    /// Whether a policy is enforced: staged ones are not. One that is missing is, until it is known.
    pub(super) fn is_enforced(&self, id: &PolicyId) -> bool {
        match self.policies.get(id) {
            Some(active) => active.policy.staged.is_none(),
            None => !id.kind.is_staged(),
        }
    }

    /// Whether a profile is there, and has no rules in a direction: those of service accounts are
    /// there for their labels.
    pub(super) fn asks_nothing(&self, profile: &SmolStr, direction: Direction) -> bool {
        let active = self.profiles.get(profile);
        active.is_some_and(|active| active.profile.rules(direction).is_empty())
    }

    /// The tiers of an endpoint with policies that are enforced in a direction. A tier whose policies
    /// are all staged does not count.
    pub(super) fn tiers(
        &self,
        tiers: &[EndpointTier],
        direction: Direction,
        place: Place,
    ) -> Vec<Arc<content::Tier>> {
        let tiers = tiers.iter().map(|tier| content::Tier {
            name: tier.name.clone(),
            direction,
            place,
            denies: tier.default_action == tortie_policy::DefaultAction::Deny,
            policies: {
                let policies = tier.policies(direction).iter();
                policies.filter(|id| self.is_enforced(id)).cloned().collect()
            },
        });
        tiers.filter(|tier| !tier.policies.is_empty()).map(Arc::new).collect()
    }
}
