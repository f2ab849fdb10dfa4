//! What policies and rules speak of and is not there: endpoints, Services, tiers, sidecars.

use std::sync::Arc;

use tortie_model::nearest;
use tortie_selector::Selector;

use super::{Code, Found, Surroundings, and_more, is_calico};
use crate::{CompatPoint, Direction, Endpoint, Policy, Rule, Side};

pub(super) fn check(surroundings: &Surroundings<'_>, found: &mut Found<'_>) {
    tier(surroundings, found);
    subject(surroundings, found);
    http(surroundings, found);
    let policy = found.policy;
    for direction in found.governed() {
        for rule in first_of_each(policy.rules(direction)) {
            peers(surroundings, policy, direction, rule, found);
            service(surroundings, direction, rule, found);
        }
    }
}

/// The first rule of each that its author wrote.
fn first_of_each(rules: &[Rule]) -> impl Iterator<Item = &Rule> {
    let new = |(index, rule): &(usize, &Rule)| {
        index.checked_sub(1).and_then(|i| rules.get(i)).is_none_or(|r| r.origin != rule.origin)
    };
    rules.iter().enumerate().filter(new).map(|(_, rule)| rule)
}

fn tier(surroundings: &Surroundings<'_>, found: &mut Found<'_>) {
    let tier = found.policy.tier.as_str();
    if surroundings.cluster.has_tier(tier) {
        return;
    }
    let known: Vec<&str> = surroundings.cluster.tiers.keys().map(|name| name.as_str()).collect();
    let hint = match nearest(tier, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "add a Tier of that name".to_owned(),
    };
    let reason = format!(
        "tier `{tier}` is not defined here; without it the policy is asked after all tiers that are"
    );
    found.warn(Code::TierUndefined, "spec.tier", reason, &hint);
}

/// The field that says which endpoints a policy applies to.
fn subject_field(policy: &Policy) -> &'static str {
    match policy.id.kind {
        _ if is_calico(policy.id.kind) => "spec.selector",
        crate::PolicyKind::KubernetesClusterNetworkPolicy => "spec.subject",
        _ => "spec.podSelector",
    }
}

fn subject(surroundings: &Surroundings<'_>, found: &mut Found<'_>) {
    let cluster = surroundings.cluster;
    let given = cluster.endpoints.len() + cluster.hosts.len();
    let selector = &found.policy.subject;
    let deletion = found.policy.staged == Some(crate::StagedAction::Delete);
    let selected = surroundings.workloads.keys().any(|labels| selector.matches(*labels))
        || cluster.hosts().any(|host| selector.matches(&host.labels));
    if given == 0 || selected || deletion {
        return;
    }
    let reason = format!("selects none of the {given} endpoints given");
    let hint = "compare the labels, and the namespace, with those of the endpoints that are meant";
    found.warn(Code::SelectsNothing, subject_field(found.policy), reason, hint);
}

/// Whether anything given matches a selector of peers.
fn matches_any(surroundings: &Surroundings<'_>, selector: &Selector) -> bool {
    surroundings.workloads.keys().any(|labels| selector.matches(*labels))
        || surroundings.cluster.hosts().any(|host| selector.matches(&host.labels))
        || surroundings.cluster.sets.iter().any(|set| selector.matches(&set.labels))
}

/// The sides on which a rule speaks of peers that are nowhere. A rule that became several is left
/// alone if one of them finds somebody.
fn peers(
    surroundings: &Surroundings<'_>,
    policy: &Policy,
    direction: Direction,
    rule: &Rule,
    found: &mut Found<'_>,
) {
    let cluster = surroundings.cluster;
    let given = cluster.endpoints.len() + cluster.hosts.len() + cluster.sets.len();
    let same: Vec<&Rule> =
        policy.rules(direction).iter().filter(|r| r.origin == rule.origin).collect();
    for side in Side::BOTH {
        let nobody = |rule: &&Rule| {
            let included = rule.side(side).peers.as_ref().and_then(|p| p.included.as_ref());
            included.is_some_and(|selector| {
                !surroundings.logic.impossible(selector) && !matches_any(surroundings, selector)
            })
        };
        if given == 0 || !same.iter().all(nobody) {
            continue;
        }
        let text = rule.side(side).peers.as_ref().map_or("", |peers| peers.text.as_str());
        let field = found.rule_field(direction, rule.origin, &side.to_string());
        let reason = format!("none of the {given} endpoints and network sets given has {text}");
        let hint = "compare the criteria with the labels of the endpoints that are meant";
        found.warn(Code::SelectsNothing, field, reason, hint);
    }
}

fn service(
    surroundings: &Surroundings<'_>,
    direction: Direction,
    rule: &Rule,
    found: &mut Found<'_>,
) {
    if !surroundings.services {
        return;
    }
    for side in Side::BOTH {
        let Some(service) = &rule.side(side).service else { continue };
        if surroundings.cluster.backends(service).is_empty() {
            let field = found.rule_field(direction, rule.origin, &format!("{side}.services"));
            let reason = format!("Service `{service}` has no endpoints among what is given");
            let hint = "check the name and namespace, and the selector of the Service";
            found.warn(Code::ServiceWithoutEndpoints, field, reason, hint);
        }
    }
}

/// Rules with HTTP criteria that apply to workloads where nobody can check them.
fn http(surroundings: &Surroundings<'_>, found: &mut Found<'_>) {
    if !found.policy.governs_ingress || found.policy.ingress.iter().all(|r| r.http.is_none()) {
        return;
    }
    let bare: Vec<&Arc<Endpoint>> = surroundings
        .subjects(found.policy)
        .into_iter()
        .filter(|e| !e.application_enforced)
        .collect();
    if bare.is_empty() {
        return;
    }
    let lax = surroundings.cluster.compat().has(CompatPoint::HttpWithoutEnforcer);
    let reason = format!(
        "{}, which the policy selects, has no sidecar to check HTTP criteria, so the rule allows \
         {} there",
        and_more(&bare),
        if lax { "every connection" } else { "nothing" }
    );
    let hint = "label the namespace `istio-injection: enabled`, or narrow the policy's selector";
    let rules = found.policy.ingress.iter().filter(|rule| rule.http.is_some());
    for rule in rules {
        let field = found.rule_field(Direction::Ingress, rule.origin, "http");
        found.warn(Code::HttpWithoutEnforcer, field, reason.clone(), hint);
    }
}
