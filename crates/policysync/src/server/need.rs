//! What a workload's policies need to know of others: nobody is told more than that.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::{ActivePolicy, ActiveProfile, LocalEndpoint, RuleSets, SetId};
use tortie_policy::{Labels, PolicyId, Rule, Scope, Side};
use tortie_selector::Selector;

use super::store::{Item, Store};

/// The policies, profiles and sets of one endpoint, those that come first in the order of tiers.
#[derive(Debug, Default)]
pub(super) struct Interest {
    pub(super) policies: Vec<PolicyId>,
    pub(super) profiles: Vec<SmolStr>,
    pub(super) sets: Vec<SetId>,
    pub(super) identities: Identities,
}

impl Interest {
    /// What an endpoint refers to, as far as it is there.
    pub(super) fn of(endpoint: &LocalEndpoint, store: &Store) -> Interest {
        let mut interest = Interest::default();
        let (mut seen, mut sets) = (HashSet::new(), HashSet::new());
        for id in endpoint.tiers.iter().flat_map(|t| t.ingress.iter().chain(&t.egress)) {
            if let Some(policy) = store.policies.get(id).filter(|_| seen.insert(id)) {
                interest.policies.push(id.clone());
                interest.policy(policy, &mut sets);
            }
        }
        for name in &endpoint.profiles {
            if let Some(profile) = store.profiles.get(name) {
                interest.profiles.push(name.clone());
                interest.profile(profile, &mut sets);
            }
        }
        interest
    }

    fn policy(&mut self, item: &Item<ActivePolicy>, sets: &mut HashSet<SetId>) {
        let ActivePolicy { policy, ingress, egress } = &*item.value;
        self.rules(policy.ingress.iter().chain(&policy.egress), ingress.iter().chain(egress), sets);
    }

    fn profile(&mut self, item: &Item<ActiveProfile>, sets: &mut HashSet<SetId>) {
        let ActiveProfile { profile, ingress, egress } = &*item.value;
        self.rules(
            profile.ingress.iter().chain(&profile.egress),
            ingress.iter().chain(egress),
            sets,
        );
    }

    fn rules<'a>(
        &mut self,
        rules: impl Iterator<Item = &'a Rule>,
        named: impl Iterator<Item = &'a RuleSets>,
        sets: &mut HashSet<SetId>,
    ) {
        for id in named.flat_map(RuleSets::ids) {
            if !sets.contains(id) {
                sets.insert(id.clone());
                self.sets.push(id.clone());
            }
        }
        rules.for_each(|rule| self.identities.rule(rule));
    }
}

/// What is to be told of others' identities. It only ever grows: what was told stays true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identities {
    /// Labels of service accounts.
    pub(super) accounts: Keys,
    /// Labels of namespaces.
    pub(super) namespaces: Keys,
    /// Who uses which address.
    pub(super) addresses: bool,
}

impl Identities {
    /// Everything there is to know.
    pub(super) fn all() -> Identities {
        Identities { accounts: Keys::All, namespaces: Keys::All, addresses: true }
    }

    fn rule(&mut self, rule: &Rule) {
        for side in Side::BOTH {
            let Some(peers) = &rule.side(side).peers else { continue };
            self.addresses = true;
            if let Some(Scope::Selected(selector)) = &peers.scope {
                self.namespaces.add(selector);
            }
            if let Some(selector) = peers.accounts.as_ref().and_then(|a| a.selector.as_ref()) {
                self.accounts.add(selector);
            }
        }
    }

    /// What either asks for.
    pub(super) fn union(&self, other: &Identities) -> Identities {
        Identities {
            accounts: self.accounts.union(&other.accounts),
            namespaces: self.namespaces.union(&other.namespaces),
            addresses: self.addresses || other.addresses,
        }
    }
}

/// Which labels of all service accounts, or of all namespaces, are to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Keys {
    /// None, not even that there are any.
    #[default]
    None,
    /// Those with one of these keys; that something has none of them is also told.
    Some(BTreeSet<SmolStr>),
    /// All.
    All,
}

impl Keys {
    /// Adds those that a selector asks for.
    fn add(&mut self, selector: &Selector) {
        let mut keys = BTreeSet::new();
        selector.node().for_each_leaf(&mut |leaf| keys.extend(leaf.label().map(SmolStr::from)));
        *self = self.union(&Keys::Some(keys));
    }

    fn union(&self, other: &Keys) -> Keys {
        match (self, other) {
            (Keys::All, _) | (_, Keys::All) => Keys::All,
            (Keys::None, keys) | (keys, Keys::None) => keys.clone(),
            (Keys::Some(these), Keys::Some(those)) => Keys::Some(these | those),
        }
    }

    /// Those of some labels that are to be told.
    pub(super) fn of(&self, labels: &Arc<Labels>) -> Arc<Labels> {
        match self {
            Keys::All => Arc::clone(labels),
            Keys::None => Arc::default(),
            Keys::Some(keys) => {
                let told = labels.iter().filter(|(key, _)| keys.contains(*key));
                Arc::new(told.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        }
    }
}
