//! States of which something is missing, and what the reference evaluator asks there.

use std::sync::Arc;

use tortie_calc::{EndpointTier, State};
use tortie_policy::{Action, Direction, Order, Policy, PolicyId, Rule, Tier, TierPolicies};

use crate::draw::Damage;

/// A policy that stands for one that is missing: if it is asked, it decides.
fn stand_in(id: &PolicyId, tier: &EndpointTier) -> Policy {
    Policy {
        id: PolicyId { name: "the-missing".into(), ..id.clone() },
        tier: tier.name.clone(),
        order: Order::LAST,
        subject: tortie_selector::Selector::all(),
        governs_ingress: true,
        governs_egress: true,
        ingress: vec![Rule::any(Action::Deny)],
        egress: vec![Rule::any(Action::Deny)],
        stage: tortie_policy::Stage::Normal,
        staged: None,
    }
}

/// Whether a policy stands for one that is missing.
pub(crate) fn is_stand_in(policy: &Policy) -> bool {
    policy.id.name == "the-missing"
}

/// The policies of an endpoint as its state names them.
pub(crate) fn applicable(
    state: &State,
    tiers: &[EndpointTier],
    direction: Direction,
) -> Vec<TierPolicies> {
    let policy = |id: &PolicyId, tier: &EndpointTier| match state.policies.get(id) {
        Some(active) => Some(Arc::clone(&active.policy)).filter(|p| p.staged.is_none()),
        None if id.kind.is_staged() => None,
        None => Some(Arc::new(stand_in(id, tier))),
    };
    let tiers = tiers.iter().map(|tier| TierPolicies {
        tier: Arc::new(Tier {
            name: tier.name.clone(),
            order: Order::LAST,
            default_action: tier.default_action,
            defined: true,
        }),
        default_action: tier.default_action,
        policies: tier.policies(direction).iter().filter_map(|id| policy(id, tier)).collect(),
    });
    tiers.filter(|tier| !tier.policies.is_empty()).collect()
}

/// A state with what is wrong with it.
pub(crate) fn damaged(mut state: State, damage: &Damage) -> State {
    let mut ids: Vec<_> = state.sets.keys().cloned().collect();
    ids.sort();
    for id in damage.incomplete.iter().filter_map(|at| ids.get(*at)) {
        let set = state.sets.get_mut(id).unwrap();
        Arc::make_mut(set).incomplete = true;
    }
    for id in damage.missing_sets.iter().filter_map(|at| ids.get(*at)) {
        state.sets.remove(id);
    }
    if let Some(id) = damage.missing_policy.and_then(|at| state.policies.keys().nth(at).cloned()) {
        state.policies.remove(&id);
    }
    if damage.missing_labels {
        state.namespaces.pop_first();
        state.accounts.pop_last();
    }
    Arc::make_mut(state.settings.as_mut().unwrap()).addresses = damage.addresses;
    state
}
