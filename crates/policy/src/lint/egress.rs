//! Workloads that egress policy cuts off from what they cannot do without: name resolution, and the
//! mesh's control plane.
//!
//! Policies that apply to a workload are asked together, as the evaluator asks them. Where the
//! servers are not among what is given, the destination is taken as unknown, and there is a warning
//! only if no destination at all could be reached at the port.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tortie_model::FieldError;

use super::{Code, Surroundings, Warning, and_more};
use crate::{
    Action, Address, Applicable, CompatPoint, DefaultAction, Direction, Endpoint, Facts, Flow,
    HttpAtNetwork, Policy, PolicyId, PortMatch, Protocol, Rule, Tri, matches,
};

/// Something that workloads need to reach.
struct Need {
    code: Code,
    what: &'static str,
    /// Label by which its servers are known, with the values it may have.
    label: &'static str,
    values: &'static [&'static str],
    protocol: Protocol,
    port: u16,
    /// Whether only workloads with a sidecar need it.
    sidecar: bool,
    hint: &'static str,
}

static NEEDS: [Need; 2] = [
    Need {
        code: Code::EgressCutsDns,
        what: "name resolution (UDP port 53)",
        label: "k8s-app",
        values: &["kube-dns", "coredns"],
        protocol: Protocol::UDP,
        port: 53,
        sidecar: false,
        hint: "add an egress rule that allows UDP and TCP port 53 to the cluster's DNS servers",
    },
    Need {
        code: Code::EgressCutsControlPlane,
        what: "the mesh's control plane (TCP port 15012)",
        label: "app",
        values: &["istiod"],
        protocol: Protocol::TCP,
        port: 15012,
        sidecar: true,
        hint: "add an egress rule that allows TCP port 15012 to istiod",
    },
];

/// Workloads that one place in a policy cuts off.
struct Cut<'a> {
    need: &'static Need,
    endpoints: Vec<&'a Arc<Endpoint>>,
}

pub(super) fn check(
    surroundings: &Surroundings<'_>,
    positions: &BTreeMap<&PolicyId, usize>,
    warnings: &mut Vec<Warning>,
) {
    let mut cut: BTreeMap<(usize, Code, String), Cut<'_>> = BTreeMap::new();
    let servers: Vec<Vec<IpAddr>> = NEEDS.iter().map(|need| need.servers(surroundings)).collect();
    for workloads in surroundings.workloads.values() {
        let Some(first) = workloads.first() else { continue };
        let applicable = surroundings.cluster.applicable(first, Direction::Egress);
        let ways = workloads.iter().flat_map(|e| NEEDS.iter().zip(&servers).map(move |n| (e, n)));
        for (endpoint, (need, servers)) in ways {
            let cut_by = need.cut_by(surroundings, endpoint, &applicable, servers);
            let Some((policy, field)) = cut_by else { continue };
            let Some(position) = positions.get(&policy.id) else { continue };
            let entry = cut.entry((*position, need.code, field));
            let cut = entry.or_insert_with(|| Cut { need, endpoints: Vec::new() });
            cut.endpoints.push(endpoint);
        }
    }
    warnings.extend(cut.into_iter().map(
        |((resource, code, field), Cut { need, mut endpoints })| {
            endpoints.sort_by_key(|endpoint| &endpoint.id);
            let reason =
                format!("no egress policy lets {} reach {}", and_more(&endpoints), need.what);
            Warning { resource, code, text: FieldError::new(field, reason).hint(need.hint) }
        },
    ));
}

impl Need {
    /// The policy that keeps a workload from what it needs, and the field of it that does; none if
    /// it is not certain that any does, or if it is plain that it is meant.
    fn cut_by<'a>(
        &self,
        surroundings: &Surroundings<'_>,
        endpoint: &Endpoint,
        applicable: &'a Applicable,
        servers: &[IpAddr],
    ) -> Option<(&'a Policy, String)> {
        let rules =
            || applicable.tiers.iter().flat_map(|tier| &tier.policies).flat_map(|p| &p.egress);
        let closed = !rules().any(|rule| rule.action == Action::Allow);
        let meant = closed && (servers.is_empty() || !self.sidecar);
        if meant || self.serves(endpoint) || (self.sidecar && !endpoint.application_enforced) {
            return None;
        }
        let unknown = servers.is_empty();
        // Where what is not known counts as no match, nothing can be said of unknown servers.
        let lax = unknown && surroundings.cluster.compat().has(CompatPoint::UnknownIdentity);
        if lax || (!unknown && rules().any(|rule| self.allowed_by(rule))) {
            return None; // to other servers than those known
        }
        let flows = endpoint.addresses.iter().flat_map(|from| {
            let same = servers.iter().filter(|to| to.is_ipv4() == from.is_ipv4());
            let to = same.map(|to| Some(*to)).chain(unknown.then_some(None));
            to.map(|to| self.flow(surroundings, *from, to))
        });
        let ways = flows.map(|flow| denied(applicable, &flow)).collect::<Option<Vec<_>>>()?;
        ways.into_iter().next()
    }

    fn serves(&self, endpoint: &Endpoint) -> bool {
        endpoint.labels.get(self.label).is_some_and(|value| self.values.contains(&value.as_str()))
    }

    fn servers(&self, surroundings: &Surroundings<'_>) -> Vec<IpAddr> {
        let servers = surroundings.cluster.endpoints().filter(|endpoint| self.serves(endpoint));
        servers.flat_map(|endpoint| endpoint.addresses.iter().copied()).collect()
    }

    /// Whether a rule names the port to allow it.
    fn allowed_by(&self, rule: &Rule) -> bool {
        let named = |port: &PortMatch| match port {
            PortMatch::Range(first, last) => (*first..=*last).contains(&self.port),
            PortMatch::Named(_) => true,
        };
        rule.action == Action::Allow
            && rule.protocol.is_none_or(|protocol| protocol == self.protocol)
            && rule.destination.ports.iter().any(named)
    }

    fn flow<'a>(
        &self,
        surroundings: &Surroundings<'a>,
        from: IpAddr,
        to: Option<IpAddr>,
    ) -> Flow<'a> {
        Flow {
            cluster: surroundings.cluster,
            source: Address { ip: Some(from), port: None },
            destination: Address { ip: to, port: Some(self.port) },
            protocol: self.protocol,
            icmp: None,
            http: HttpAtNetwork::Unenforced,
        }
    }
}

/// The policy, and the field of it, that denies traffic whatever is not known of it.
fn denied<'a>(applicable: &'a Applicable, facts: &dyn Facts) -> Option<(&'a Policy, String)> {
    for tier in &applicable.tiers {
        let rules = tier.policies.iter().flat_map(|p| p.egress.iter().map(move |rule| (p, rule)));
        let mut passed = false;
        for (policy, rule) in rules {
            match (rule.action, matches(rule, facts)) {
                (_, Tri::False) | (Action::Log, _) | (Action::Deny, Tri::Unknown) => {}
                (Action::Allow, _) | (Action::Pass, Tri::Unknown) => return None,
                (Action::Deny, Tri::True) => {
                    return Some((policy, format!("spec.egress[{}]", rule.origin)));
                }
                (Action::Pass, Tri::True) => {
                    passed = true;
                    break;
                }
            }
        }
        if !passed && tier.default_action == DefaultAction::Deny {
            return tier.policies.first().map(|policy| (&**policy, "spec.egress".to_owned()));
        }
    }
    None
}
