//! Traffic that does not pass the sidecar on which a rule relies.
//!
//! Sidecars see TCP only; not what comes to ports that the pod's annotations exclude; and of a pod
//! whose first address is IPv4, IPv6 only where the mesh is set up for both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tortie_model::{Object, Pod, Resource};

use super::{Code, Found, Surroundings, and_more};
use crate::layer4::number;
use crate::{
    Action, Direction, Endpoint, EndpointId, IpVersion, PortMatch, Protocol, Rule, Side, kubernetes,
};

/// What starts the annotations on what is redirected to a sidecar.
const PREFIX: &str = "traffic.sidecar.istio.io/";
/// The annotation, and the setting in it, that has both families redirected.
const DUAL_STACK: (&str, &str) = ("proxy.istio.io/config", "ISTIO_DUAL_STACK");

pub(super) fn check(surroundings: &Surroundings<'_>, found: &mut Found<'_>) {
    let rules = found.policy.ingress.iter().filter(|rule| relies(rule).is_some());
    let rules: Vec<&Rule> = rules.collect();
    if rules.is_empty() || !found.policy.governs_ingress {
        return;
    }
    let guarded: Vec<&Arc<Endpoint>> = surroundings
        .subjects(found.policy)
        .into_iter()
        .filter(|e| e.application_enforced)
        .collect();
    if guarded.is_empty() {
        return;
    }
    for rule in rules {
        ports(rule, &guarded, &surroundings.bypasses, found);
        protocol(rule, &guarded, found);
        ipv6(rule, &guarded, &surroundings.bypasses, found);
    }
}

/// What of a rule the sidecar checks: nothing in rules that allow nothing.
fn relies(rule: &Rule) -> Option<&'static str> {
    let accounts = |side| rule.side(side).peers.as_ref().is_some_and(|p| p.accounts.is_some());
    match rule.action {
        Action::Allow if rule.http.is_some() => Some("HTTP criteria"),
        Action::Allow if accounts(Side::Source) => Some("certificates"),
        _ => None,
    }
}

/// What does not pass a pod's sidecar.
#[derive(Default)]
struct Bypass {
    excluded: BTreeSet<u16>,
    /// The only ports that pass; all if absent.
    included: Option<BTreeSet<u16>>,
    both_families: bool,
}

impl Bypass {
    fn of(pod: &Pod) -> Bypass {
        let annotation = |name: &str| pod.metadata.annotations.get(&format!("{PREFIX}{name}"));
        let ports =
            |text: &String| text.split(',').filter_map(|port| number(port.trim())).collect();
        let config = pod.metadata.annotations.get(DUAL_STACK.0);
        Bypass {
            excluded: annotation("excludeInboundPorts").map(ports).unwrap_or_default(),
            included: annotation("includeInboundPorts")
                .filter(|text| text.trim() != "*")
                .map(ports),
            both_families: config.is_some_and(|text| text.contains(DUAL_STACK.1)),
        }
    }

    fn excludes(&self, port: u16) -> bool {
        let included = self.included.as_ref().is_none_or(|ports| ports.contains(&port));
        self.excluded.contains(&port) || !included
    }

    fn is_none(&self) -> bool {
        self.excluded.is_empty() && self.included.is_none() && !self.both_families
    }
}

/// What does not pass the sidecars of the pods given, written out or of workloads; pods without
/// annotations about it are left out.
pub(super) struct Bypasses(BTreeMap<EndpointId, Bypass>);

impl Bypasses {
    pub(super) fn of(resources: &[Resource]) -> Bypasses {
        let mut noted = BTreeMap::new();
        let mut note =
            |pod: &Pod| drop(noted.insert(kubernetes::endpoint_id(pod), Bypass::of(pod)));
        for resource in resources {
            if let Object::Workload(workload) = &resource.object
                && !Bypass::of(&workload.spec.template).is_none()
            {
                let pods = kubernetes::expand_workload(&resource.kind, workload);
                pods.iter().flatten().for_each(&mut note);
            }
        }
        // A pod that is written out takes the place of a workload's.
        for resource in resources {
            if let Object::Pod(pod) = &resource.object {
                note(pod);
            }
        }
        noted.retain(|_, bypass| !bypass.is_none());
        Bypasses(noted)
    }

    fn get(&self, endpoint: &EndpointId) -> Option<&Bypass> {
        self.0.get(endpoint)
    }
}

/// Whether a rule may match TCP to a port of an endpoint.
fn admits(rule: &Rule, endpoint: &Endpoint, port: u16) -> bool {
    let is = |wanted: &PortMatch| match wanted {
        PortMatch::Range(first, last) => (*first..=*last).contains(&port),
        PortMatch::Named(name) => {
            let declared = endpoint.ports.iter().filter(|p| p.name == *name);
            declared.into_iter().any(|p| p.protocol == Protocol::TCP && p.port == port)
        }
    };
    let tcp = rule.protocol.is_none_or(|p| p == Protocol::TCP)
        && rule.not_protocol != Some(Protocol::TCP);
    let wanted = &rule.destination.ports;
    tcp && (wanted.is_empty() || wanted.iter().any(is))
        && !rule.destination.not_ports.iter().any(is)
}

fn ports(rule: &Rule, guarded: &[&Arc<Endpoint>], bypasses: &Bypasses, found: &mut Found<'_>) {
    let open = |endpoint: &&&Arc<Endpoint>| {
        let bypass = bypasses.get(&endpoint.id)?;
        (1..=u16::MAX).find(|port| bypass.excludes(*port) && admits(rule, endpoint, *port))
    };
    let Some((endpoint, port)) = guarded.iter().find_map(|e| open(&e).map(|port| (e, port))) else {
        return;
    };
    let what = relies(rule).unwrap_or_default();
    let reason = format!(
        "port {port} of `{}` is excluded from its sidecar, so nobody checks {what} there",
        endpoint.id
    );
    let hint = "name the other ports in the rule, or give that port a rule without such criteria";
    let field = found.rule_field(Direction::Ingress, rule.origin, "destination");
    found.warn(Code::SidecarBypassPort, field, reason, hint);
}

fn protocol(rule: &Rule, guarded: &[&Arc<Endpoint>], found: &mut Found<'_>) {
    let Some(protocol) = rule.protocol.filter(|protocol| *protocol != Protocol::TCP) else {
        return;
    };
    let reason = format!(
        "{protocol} does not pass the sidecar of {}: the sender is known by its address alone, not \
         by a certificate",
        and_more(guarded)
    );
    let hint = "rely on it only where addresses cannot be forged, or use TCP";
    let field = found.rule_field(Direction::Ingress, rule.origin, "protocol");
    found.warn(Code::SidecarBypassProtocol, field, reason, hint);
}

fn ipv6(rule: &Rule, guarded: &[&Arc<Endpoint>], bypasses: &Bypasses, found: &mut Found<'_>) {
    let six = rule.ip_version != Some(IpVersion::V4);
    let tcp = rule.protocol.is_none_or(|protocol| protocol == Protocol::TCP);
    let half = |endpoint: &&&Arc<Endpoint>| {
        let addresses = &endpoint.addresses;
        let both = bypasses.get(&endpoint.id).is_some_and(|bypass| bypass.both_families);
        !both
            && addresses.first().is_some_and(|first| first.is_ipv4())
            && addresses.iter().any(|address| address.is_ipv6())
    };
    let half: Vec<&Arc<Endpoint>> = guarded.iter().filter(half).copied().collect();
    if half.is_empty() || !six || !tcp {
        return;
    }
    let what = relies(rule).unwrap_or_default();
    let reason = format!(
        "{} has an IPv6 address besides IPv4; unless the mesh redirects both families, nobody checks \
         {what} over IPv6",
        and_more(&half)
    );
    let hint =
        "add `ipVersion: 4`, or set `ISTIO_DUAL_STACK` in the annotation `proxy.istio.io/config`";
    let field = found.rule_field(Direction::Ingress, rule.origin, "ipVersion");
    found.warn(Code::SidecarBypassIpv6, field, reason, hint);
}
