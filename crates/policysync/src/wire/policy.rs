//! Policies and profiles.

use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::{ActivePolicy, ActiveProfile, Update};
use tortie_policy::{
    Compat, Labels, Order, Policy, PolicyId, PolicyKind, Profile, Stage, StagedAction,
};
use tortie_proto::felix;
use tortie_selector::Selector;

use super::{WireError, rule, rule_in};

/// The kinds of policies, whose names are those of the wire.
const KINDS: [PolicyKind; 7] = [
    PolicyKind::GlobalNetworkPolicy,
    PolicyKind::NetworkPolicy,
    PolicyKind::KubernetesNetworkPolicy,
    PolicyKind::KubernetesClusterNetworkPolicy,
    PolicyKind::StagedGlobalNetworkPolicy,
    PolicyKind::StagedNetworkPolicy,
    PolicyKind::StagedKubernetesNetworkPolicy,
];

pub(super) fn update(active: &ActivePolicy) -> felix::ActivePolicyUpdate {
    let policy = &active.policy;
    let wire = felix::Policy {
        inbound_rules: rule::list(&policy.ingress, &active.ingress),
        outbound_rules: rule::list(&policy.egress, &active.egress),
        untracked: policy.stage == Stage::Untracked,
        pre_dnat: policy.stage == Stage::PreDnat,
        namespace: text(policy.id.namespace.as_ref()),
        original_selector: policy.subject.canonical().to_owned(),
        perf_hints: Vec::new(),
        tier: policy.tier.to_string(),
    };
    felix::ActivePolicyUpdate { id: Some(id(&policy.id)), policy: Some(wire) }
}

pub(super) fn remove(policy: &PolicyId) -> felix::ActivePolicyRemove {
    felix::ActivePolicyRemove { id: Some(id(policy)) }
}

pub(super) fn id(id: &PolicyId) -> felix::PolicyId {
    felix::PolicyId {
        old_tier: String::new(),
        name: id.name.to_string(),
        namespace: text(id.namespace.as_ref()),
        kind: id.kind.as_str().to_owned(),
    }
}

fn text(name: Option<&SmolStr>) -> String {
    name.map(SmolStr::to_string).unwrap_or_default()
}

pub(super) fn profile_update(active: &ActiveProfile) -> felix::ActiveProfileUpdate {
    let profile = &active.profile;
    let wire = felix::Profile {
        inbound_rules: rule::list(&profile.ingress, &active.ingress),
        outbound_rules: rule::list(&profile.egress, &active.egress),
    };
    felix::ActiveProfileUpdate { id: Some(profile_id(&profile.name)), profile: Some(wire) }
}

pub(super) fn profile_remove(name: &SmolStr) -> felix::ActiveProfileRemove {
    felix::ActiveProfileRemove { id: Some(profile_id(name)) }
}

fn profile_id(name: &SmolStr) -> felix::ProfileId {
    felix::ProfileId { name: name.to_string() }
}

/// The identity of a policy.
///
/// # Errors
/// If it has the shape of older versions, no name, or a kind we do not know.
pub(super) fn read_id(
    message: &'static str,
    wire: Option<felix::PolicyId>,
) -> Result<PolicyId, WireError> {
    let wire = wire.ok_or(WireError::missing(message, "id"))?;
    if !wire.old_tier.is_empty() || (wire.kind.is_empty() && !wire.name.is_empty()) {
        return Err(WireError::OldShape("a policy is identified by its tier"));
    }
    if wire.name.is_empty() {
        return Err(WireError::missing(message, "id.name"));
    }
    let kind = KINDS.into_iter().find(|kind| kind.as_str() == wire.kind);
    let kind = kind.ok_or_else(|| {
        WireError::invalid(message, "id.kind", &wire.kind, "which is no kind of policy")
    })?;
    Ok(PolicyId { kind, namespace: name(wire.namespace), name: wire.name.into() })
}

fn name(text: String) -> Option<SmolStr> {
    Some(text).filter(|text| !text.is_empty()).map(SmolStr::from)
}

pub(super) fn read(wire: felix::ActivePolicyUpdate, compat: Compat) -> Result<Update, WireError> {
    const MESSAGE: &str = "ActivePolicyUpdate";
    let id = read_id(MESSAGE, wire.id)?;
    let wire = wire.policy.ok_or(WireError::missing(MESSAGE, "policy"))?;
    let namespace = name(wire.namespace);
    let (ingress, ingress_sets) = rule_in::list(wire.inbound_rules, namespace.as_ref(), compat);
    let (egress, egress_sets) = rule_in::list(wire.outbound_rules, namespace.as_ref(), compat);
    let policy = Policy {
        staged: id.kind.is_staged().then_some(StagedAction::Set),
        id,
        tier: wire.tier.into(),
        order: Order::LAST, // the endpoint says which order
        subject: Selector::parse(&wire.original_selector).unwrap_or_else(|_| Selector::all()),
        governs_ingress: true, // the endpoint says which direction
        governs_egress: true,
        ingress,
        egress,
        stage: match (wire.untracked, wire.pre_dnat) {
            (true, _) => Stage::Untracked,
            (_, true) => Stage::PreDnat,
            (false, false) => Stage::Normal,
        },
    };
    let policy = Arc::new(policy);
    Ok(Update::Policy(Arc::new(ActivePolicy {
        policy,
        ingress: ingress_sets,
        egress: egress_sets,
    })))
}

pub(super) fn read_remove(wire: felix::ActivePolicyRemove) -> Result<Update, WireError> {
    Ok(Update::PolicyRemove(read_id("ActivePolicyRemove", wire.id)?))
}

pub(super) fn read_profile(
    wire: felix::ActiveProfileUpdate,
    compat: Compat,
) -> Result<Update, WireError> {
    const MESSAGE: &str = "ActiveProfileUpdate";
    let name = read_profile_id(MESSAGE, wire.id)?;
    let wire = wire.profile.ok_or(WireError::missing(MESSAGE, "profile"))?;
    let (ingress, ingress_sets) = rule_in::list(wire.inbound_rules, None, compat);
    let (egress, egress_sets) = rule_in::list(wire.outbound_rules, None, compat);
    let profile = Arc::new(Profile { name, labels: Labels::new(), ingress, egress });
    let active = ActiveProfile { profile, ingress: ingress_sets, egress: egress_sets };
    Ok(Update::Profile(Arc::new(active)))
}

pub(super) fn read_profile_remove(wire: felix::ActiveProfileRemove) -> Result<Update, WireError> {
    Ok(Update::ProfileRemove(read_profile_id("ActiveProfileRemove", wire.id)?))
}

fn read_profile_id(
    message: &'static str,
    wire: Option<felix::ProfileId>,
) -> Result<SmolStr, WireError> {
    let name = wire.and_then(|id| name(id.name));
    name.ok_or(WireError::missing(message, "id"))
}
