//! What is allowed to be written but is hardly meant: rules that can never match, policies that
//! select nothing, criteria that nobody checks.
//!
//! A warning changes nothing: what is warned of has the meaning it has. Each one has a [`Code`] that
//! stays the same from version to version. Where it cannot be told from the resources given whether
//! a warning is due, there is none.

mod contradiction;
mod cover;
mod egress;
mod logic;
mod rules;
mod selection;
mod sidecar;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tortie_model::{FieldError, Object, ObjectMeta, Resource};

use self::logic::Logic;
use self::sidecar::Bypasses;
use crate::{Cluster, Direction, Endpoint, Labels, Policy, PolicyId, PolicyKind, kubernetes};

/// Which warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Criteria of a rule contradict each other.
    RuleNeverMatches,
    /// An earlier rule of the policy decides about everything the rule matches.
    RuleShadowed,
    /// A policy has rules for a direction it does not govern.
    DirectionNotGoverned,
    /// A selector matches nothing that was given.
    SelectsNothing,
    /// A rule names a Service that has no endpoints among what was given.
    ServiceWithoutEndpoints,
    /// A rule with HTTP criteria applies to a workload without a sidecar.
    HttpWithoutEnforcer,
    /// A rule relies on the sidecar at a port that is excluded from it.
    SidecarBypassPort,
    /// A rule relies on certificates for a protocol the sidecar does not see.
    SidecarBypassProtocol,
    /// A rule relies on the sidecar for addresses that are not redirected to it.
    SidecarBypassIpv6,
    /// A policy names a tier that nobody defined.
    TierUndefined,
    /// Egress policy allows something, but not name resolution.
    EgressCutsDns,
    /// Egress policy does not let a sidecar reach the mesh's control plane.
    EgressCutsControlPlane,
}

impl Code {
    /// All codes.
    pub const ALL: [Code; 12] = [
        Code::RuleNeverMatches,
        Code::RuleShadowed,
        Code::DirectionNotGoverned,
        Code::SelectsNothing,
        Code::ServiceWithoutEndpoints,
        Code::HttpWithoutEnforcer,
        Code::SidecarBypassPort,
        Code::SidecarBypassProtocol,
        Code::SidecarBypassIpv6,
        Code::TierUndefined,
        Code::EgressCutsDns,
        Code::EgressCutsControlPlane,
    ];

    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::RuleNeverMatches => "rule-never-matches",
            Code::RuleShadowed => "rule-shadowed",
            Code::DirectionNotGoverned => "direction-not-governed",
            Code::SelectsNothing => "selects-nothing",
            Code::ServiceWithoutEndpoints => "service-without-endpoints",
            Code::HttpWithoutEnforcer => "http-without-enforcer",
            Code::SidecarBypassPort => "sidecar-bypass-port",
            Code::SidecarBypassProtocol => "sidecar-bypass-protocol",
            Code::SidecarBypassIpv6 => "sidecar-bypass-ipv6",
            Code::TierUndefined => "tier-undefined",
            Code::EgressCutsDns => "egress-cuts-dns",
            Code::EgressCutsControlPlane => "egress-cuts-control-plane",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A warning about one field of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Position of the resource among those given.
    pub resource: usize,
    /// Which warning.
    pub code: Code,
    /// Where, what, and what to do about it; it always has a hint.
    pub text: FieldError,
}

/// Everything worth a warning in a cluster and the resources it was built from, in the order of the
/// resources and of their fields.
pub fn lint(resources: &[Resource], cluster: &Cluster) -> Vec<Warning> {
    let surroundings = Surroundings::new(resources, cluster);
    let mut warnings = Vec::new();
    let mut positions = BTreeMap::new();
    for (resource, given) in resources.iter().enumerate() {
        let Some(policy) = policy_id(&given.object).and_then(|id| cluster.policies.get(&id)) else {
            continue;
        };
        positions.insert(&policy.id, resource);
        let mut found = Found { resource, policy, warnings: &mut warnings };
        rules::check(&surroundings, &mut found);
        selection::check(&surroundings, &mut found);
        sidecar::check(&surroundings, &mut found);
    }
    egress::check(&surroundings, &positions, &mut warnings);
    warnings.sort_by(|a, b| (a.resource, &a.text.field).cmp(&(b.resource, &b.text.field)));
    warnings
}

/// The identity a resource has as a policy.
fn policy_id(object: &Object) -> Option<PolicyId> {
    let global = |kind, metadata: &ObjectMeta| (kind, None, metadata.name.as_str().into());
    let namespaced = |kind, metadata: &ObjectMeta| {
        (kind, Some(kubernetes::namespace_of(metadata)), metadata.name.as_str().into())
    };
    let (kind, namespace, name) = match object {
        Object::GlobalNetworkPolicy(p) => global(PolicyKind::GlobalNetworkPolicy, &p.metadata),
        Object::NetworkPolicy(p) => namespaced(PolicyKind::NetworkPolicy, &p.metadata),
        Object::StagedGlobalNetworkPolicy(p) => {
            global(PolicyKind::StagedGlobalNetworkPolicy, &p.metadata)
        }
        Object::StagedNetworkPolicy(p) => namespaced(PolicyKind::StagedNetworkPolicy, &p.metadata),
        Object::StagedKubernetesNetworkPolicy(p) => {
            namespaced(PolicyKind::StagedKubernetesNetworkPolicy, &p.metadata)
        }
        Object::KubernetesNetworkPolicy(p) => {
            namespaced(PolicyKind::KubernetesNetworkPolicy, &p.metadata)
        }
        Object::ClusterNetworkPolicy(p) => {
            global(PolicyKind::KubernetesClusterNetworkPolicy, &p.metadata)
        }
        _ => return None,
    };
    Some(PolicyId { kind, namespace, name })
}

/// What the checks look at besides the policy in question.
struct Surroundings<'a> {
    cluster: &'a Cluster,
    logic: Logic,
    /// Workloads by their labels: which of several with the same labels is asked makes no
    /// difference to selectors.
    workloads: BTreeMap<&'a Labels, Vec<&'a Arc<Endpoint>>>,
    /// Whether Services are described at all.
    services: bool,
    bypasses: Bypasses,
}

impl<'a> Surroundings<'a> {
    fn new(resources: &[Resource], cluster: &'a Cluster) -> Self {
        let mut workloads: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for endpoint in cluster.endpoints() {
            workloads.entry(&endpoint.labels).or_default().push(endpoint);
        }
        let is_service =
            |r: &Resource| matches!(r.object, Object::Service(_) | Object::EndpointSlice(_));
        Surroundings {
            cluster,
            logic: Logic::of(cluster),
            workloads,
            services: resources.iter().any(is_service),
            bypasses: Bypasses::of(resources),
        }
    }

    /// The workloads a policy applies to.
    fn subjects(&self, policy: &Policy) -> Vec<&'a Arc<Endpoint>> {
        let selected = self.workloads.iter().filter(|(labels, _)| policy.subject.matches(*labels));
        selected.flat_map(|(_, workloads)| workloads.iter().copied()).collect()
    }
}

/// The warnings about one policy.
struct Found<'a> {
    resource: usize,
    policy: &'a Policy,
    warnings: &'a mut Vec<Warning>,
}

impl Found<'_> {
    fn warn(&mut self, code: Code, field: impl Into<String>, reason: String, hint: &str) {
        let text = FieldError::new(field, reason).hint(hint);
        self.warnings.push(Warning { resource: self.resource, code, text });
    }

    /// The directions the policy governs.
    fn governed(&self) -> impl Iterator<Item = Direction> + use<> {
        let governed = [Direction::Ingress, Direction::Egress].map(|d| (d, self.policy.governs(d)));
        governed.into_iter().filter(|(_, governs)| *governs).map(|(direction, _)| direction)
    }

    /// The field of a rule, or of a part of it where the policy is written in Calico's words.
    fn rule_field(&self, direction: Direction, origin: usize, part: &str) -> String {
        let rule = format!("spec.{direction}[{origin}]");
        if part.is_empty() || !is_calico(self.policy.id.kind) {
            return rule;
        }
        format!("{rule}.{part}")
    }
}

/// Whether policies of the kind are written with Calico's rules.
fn is_calico(kind: PolicyKind) -> bool {
    matches!(kind.enforced(), PolicyKind::GlobalNetworkPolicy | PolicyKind::NetworkPolicy)
}

/// The first of some workloads by name, and how many more there are.
fn and_more(endpoints: &[&Arc<Endpoint>]) -> String {
    match endpoints {
        [] => "none".to_owned(),
        [one] => format!("`{}`", one.id),
        [one, rest @ ..] => format!("`{}` and {} more", one.id, rest.len()),
    }
}
