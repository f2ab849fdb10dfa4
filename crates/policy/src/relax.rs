//! Documents as Calico takes them, where that is chosen over refusing them or over the strict
//! meaning.

use std::borrow::Cow;
use std::collections::BTreeMap;

use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{
    IntOrString, KubernetesNetworkPolicySpec, KubernetesPeer, KubernetesPort, LabelRequirement,
    LabelSelector, Object, PolicySpec, Rule as WireRule,
};

use crate::{Compat, CompatPoint, Labels, Policy, PortMatch, Rule, labels};

/// The object with what Calico passes over taken out of it, and what it infers stated.
pub(crate) fn relaxed(object: &Object, compat: Compat) -> Cow<'_, Object> {
    if compat.is_strict() {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    match &mut object {
        Object::GlobalNetworkPolicy(p) => state_types(&mut p.spec, compat),
        Object::NetworkPolicy(p) => state_types(&mut p.spec, compat),
        Object::StagedGlobalNetworkPolicy(p) => state_types(&mut p.spec, compat),
        Object::StagedNetworkPolicy(p) => state_types(&mut p.spec, compat),
        Object::KubernetesNetworkPolicy(p) => kubernetes(&mut p.spec, compat),
        Object::StagedKubernetesNetworkPolicy(p) => kubernetes(&mut p.spec, compat),
        Object::Tier(tier) if compat.has(CompatPoint::TierDefaultAction) => {
            let action = tier.spec.default_action.iter_mut().filter(|a| *a != "Pass");
            action.for_each(|action| *action = "Deny".into());
        }
        Object::Pod(pod) => drop(take_reserved(&mut pod.metadata.labels, compat)),
        Object::Workload(w) => drop(take_reserved(&mut w.spec.template.metadata.labels, compat)),
        _ => {}
    }
    Cow::Owned(object)
}

/// Takes labels of reserved prefixes out, where they are accepted.
pub(crate) fn take_reserved(wire: &mut BTreeMap<String, String>, compat: Compat) -> Labels {
    if !compat.has(CompatPoint::ReservedLabels) {
        return Labels::new();
    }
    let (taken, kept) =
        std::mem::take(wire).into_iter().partition(|(key, _)| labels::is_reserved(key));
    *wire = kept;
    let taken: BTreeMap<String, String> = taken;
    taken.into_iter().map(|(key, value)| (key.to_smolstr(), value.to_smolstr())).collect()
}

/// States the types of a policy that gives none, by the presence of its lists.
fn state_types(spec: &mut PolicySpec, compat: Compat) {
    let given = spec.types.as_ref().is_some_and(|types| !types.is_empty());
    if given || !compat.has(CompatPoint::TypesByPresence) {
        return;
    }
    let types: &[&str] = match (&spec.ingress, &spec.egress) {
        (Some(_), Some(_)) => &["Ingress", "Egress"],
        (None, Some(_)) => &["Egress"],
        (_, None) => &["Ingress"],
    };
    spec.types = Some(types.iter().map(ToString::to_string).collect());
}

fn kubernetes(spec: &mut KubernetesNetworkPolicySpec, compat: Compat) {
    let ingress = spec.ingress.iter_mut().flatten().map(|r| (&mut r.from, &mut r.ports));
    let egress = spec.egress.iter_mut().flatten().map(|r| (&mut r.to, &mut r.ports));
    for (peers, ports) in ingress.chain(egress) {
        if compat.has(CompatPoint::KubernetesBadCidr) {
            skip_bad_cidrs(peers);
        }
        let dropped = ports.iter().flatten().any(is_range_from_name);
        if dropped && compat.has(CompatPoint::KubernetesBadPort) {
            *peers = Some(vec![nobody()]);
            *ports = None;
        }
    }
}

/// A block that cannot be read is no criterion, so the rule is about anybody; a hole that cannot
/// be read is none.
fn skip_bad_cidrs(peers: &mut Option<Vec<KubernetesPeer>>) {
    let blocks = || peers.iter().flatten().filter_map(|peer| peer.ip_block.as_ref());
    if blocks().any(|block| !is_net(&block.cidr)) {
        *peers = None;
    }
    for block in peers.iter_mut().flatten().filter_map(|peer| peer.ip_block.as_mut()) {
        block.except.iter_mut().for_each(|holes| holes.retain(|hole| is_net(hole)));
    }
}

fn is_net(text: &str) -> bool {
    text.parse::<ipnet::IpNet>().is_ok()
}

fn is_range_from_name(port: &KubernetesPort) -> bool {
    let named = |port: &IntOrString| matches!(PortMatch::from_wire(port), Ok(PortMatch::Named(_)));
    port.end_port.is_some() && port.port.as_ref().is_some_and(named)
}

/// A peer that no pod is: it has a label and has not.
fn nobody() -> KubernetesPeer {
    let requirement = |operator: &str| LabelRequirement {
        key: "nobody".into(),
        operator: operator.into(),
        ..LabelRequirement::default()
    };
    let expressions = vec![requirement("Exists"), requirement("DoesNotExist")];
    let selector =
        LabelSelector { match_expressions: Some(expressions), ..LabelSelector::default() };
    KubernetesPeer { pod_selector: Some(selector), ..KubernetesPeer::default() }
}

/// The policy that was read from an object, where that is chosen with services in no namespace if
/// none is given: there are none of them.
pub(crate) fn services(object: &Object, mut policy: Policy, compat: Compat) -> Policy {
    let spec = match object {
        Object::NetworkPolicy(p) => &p.spec,
        Object::StagedNetworkPolicy(p) => &p.spec,
        _ => return policy,
    };
    if compat.has(CompatPoint::ServiceNamespace) {
        unplaced_services(spec.ingress.as_deref(), &mut policy.ingress);
        unplaced_services(spec.egress.as_deref(), &mut policy.egress);
    }
    policy
}

fn unplaced_services(wire: Option<&[WireRule]>, rules: &mut [Rule]) {
    for rule in rules {
        let Some(wire) = wire.and_then(|wire| wire.get(rule.origin)) else { continue };
        let sides = [(&wire.source, &mut rule.source), (&wire.destination, &mut rule.destination)];
        for (wire, side) in sides {
            let service = wire.as_ref().and_then(|side| side.services.as_ref());
            let placed = service.and_then(|s| s.namespace.as_ref()).is_some_and(|n| !n.is_empty());
            if let Some(service) = side.service.as_mut().filter(|_| !placed) {
                service.namespace = SmolStr::default();
            }
        }
    }
}
