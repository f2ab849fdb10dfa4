//! Endpoints with their tiers.

use std::net::IpAddr;
use std::sync::Arc;

use prost::{DecodeError, Message};
use smol_str::SmolStr;
use tortie_calc::{EndpointTier, LocalEndpoint, Update};
use tortie_policy::{
    Compat, CompatPoint, DefaultAction, EndpointId, NamedPort, PolicyId, Protocol,
};
use tortie_proto::felix;

use super::{WireError, labels, policy, set};

/// What made the endpoints; the name Calico has for Kubernetes.
const ORCHESTRATOR: &str = "k8s";
/// The interface in the pod, part of an endpoint's identity.
const INTERFACE: &str = "eth0";

pub(super) fn update(endpoint: &LocalEndpoint) -> felix::WorkloadEndpointUpdate {
    let nets = |v4: bool| {
        let addresses = endpoint.addresses.iter().filter(move |a| a.is_ipv4() == v4);
        addresses.map(|a| ipnet::IpNet::from(*a).to_string()).collect()
    };
    let spoofed = endpoint.spoofed_sources.iter().map(ToString::to_string);
    let wire = felix::WorkloadEndpoint {
        state: "active".to_owned(),
        name: endpoint.interface.to_string(),
        profile_ids: endpoint.profiles.iter().map(SmolStr::to_string).collect(),
        ipv4_nets: nets(true),
        ipv6_nets: nets(false),
        tiers: endpoint.tiers.iter().map(tier).collect(),
        allow_spoofed_source_prefixes: spoofed.collect(),
        service_account: endpoint.account.as_ref().map(labels::account_id),
        application_enforced: endpoint.application_enforced,
        ports: endpoint.ports.iter().map(port).collect(),
        ..Default::default()
    };
    felix::WorkloadEndpointUpdate { id: Some(id(&endpoint.id)), endpoint: Some(wire) }
}

pub(super) fn remove(endpoint: &EndpointId) -> felix::WorkloadEndpointRemove {
    felix::WorkloadEndpointRemove { id: Some(id(endpoint)) }
}

fn id(id: &EndpointId) -> felix::WorkloadEndpointId {
    felix::WorkloadEndpointId {
        orchestrator_id: ORCHESTRATOR.to_owned(),
        workload_id: id.to_string(),
        endpoint_id: INTERFACE.to_owned(),
    }
}

fn tier(tier: &EndpointTier) -> felix::TierInfo {
    felix::TierInfo {
        name: tier.name.to_string(),
        ingress_policies: tier.ingress.iter().map(policy::id).collect(),
        egress_policies: tier.egress.iter().map(policy::id).collect(),
        default_action: match tier.default_action {
            DefaultAction::Deny => "Deny".to_owned(),
            DefaultAction::Pass => "Pass".to_owned(),
        },
    }
}

fn port(port: &NamedPort) -> felix::NamedPort {
    let (protocol, number) = (port.protocol.number().into(), port.port.into());
    felix::NamedPort { name: port.name.to_string(), protocol, port: number }
}

const MESSAGE: &str = "WorkloadEndpointUpdate";

pub(super) fn read(
    wire: felix::WorkloadEndpointUpdate,
    compat: Compat,
) -> Result<Update, WireError> {
    let id = read_id(MESSAGE, wire.id)?;
    let wire = wire.endpoint.ok_or(WireError::missing(MESSAGE, "endpoint"))?;
    let tiers: Result<Vec<_>, _> =
        wire.tiers.into_iter().map(|tier| read_tier(tier, compat)).collect();
    let addresses = wire.ipv4_nets.iter().chain(&wire.ipv6_nets).map(|text| address(text));
    let spoofed = wire.allow_spoofed_source_prefixes.iter().map(|text| {
        set::net(text)
            .ok_or_else(|| invalid("allow_spoofed_source_prefixes", text, "which is no net"))
    });
    Ok(Update::Endpoint(Arc::new(LocalEndpoint {
        id,
        interface: wire.name.into(),
        addresses: addresses.collect::<Result<_, _>>()?,
        account: wire.service_account.map(labels::account),
        tiers: tiers?.into(),
        profiles: wire.profile_ids.into_iter().map(SmolStr::from).collect(),
        ports: wire.ports.iter().map(read_port).collect::<Result<_, _>>()?,
        application_enforced: wire.application_enforced,
        spoofed_sources: spoofed.collect::<Result<_, _>>()?,
    })))
}

pub(super) fn read_remove(wire: felix::WorkloadEndpointRemove) -> Result<Update, WireError> {
    Ok(Update::EndpointRemove(read_id("WorkloadEndpointRemove", wire.id)?))
}

/// Only the workload of an endpoint's identity is kept: a socket is about one endpoint.
fn read_id(
    message: &'static str,
    wire: Option<felix::WorkloadEndpointId>,
) -> Result<EndpointId, WireError> {
    let workload = wire.map(|id| id.workload_id).ok_or(WireError::missing(message, "id"))?;
    match workload.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(EndpointId { namespace: namespace.into(), name: name.into() })
        }
        _ => {
            let reason = "which is not of the form `namespace/pod`";
            Err(WireError::invalid(message, "id.workload_id", &workload, reason))
        }
    }
}

fn invalid(field: &'static str, value: &str, reason: &'static str) -> WireError {
    WireError::invalid(MESSAGE, field, value, reason)
}

fn address(text: &str) -> Result<IpAddr, WireError> {
    let net = set::net(text).filter(|net| net.prefix_len() == net.max_prefix_len());
    let reason = "which is no single address";
    net.map(|net| net.addr()).ok_or_else(|| invalid("ipv4_nets or ipv6_nets", text, reason))
}

fn read_port(wire: &felix::NamedPort) -> Result<NamedPort, WireError> {
    let protocol = Protocol::parse(&wire.protocol.to_string());
    match (protocol, u16::try_from(wire.port)) {
        (Some(protocol), Ok(port)) => {
            Ok(NamedPort { name: wire.name.as_str().into(), protocol, port })
        }
        _ => Err(invalid("ports", &wire.name, "with a protocol or number that is none")),
    }
}

/// The default action denies unless it is `Pass`, in any case of letters; Calico knows `Pass` alone.
fn read_tier(wire: felix::TierInfo, compat: Compat) -> Result<EndpointTier, WireError> {
    let pass = if compat.has(CompatPoint::TierDefaultAction) {
        wire.default_action == "Pass"
    } else {
        wire.default_action.eq_ignore_ascii_case("pass")
    };
    Ok(EndpointTier {
        name: wire.name.into(),
        default_action: if pass { DefaultAction::Pass } else { DefaultAction::Deny },
        ingress: read_policies(wire.ingress_policies)?,
        egress: read_policies(wire.egress_policies)?,
    })
}

/// Calico up to 3.31 has names here, which are read as policies without kind, if at all.
fn read_policies(wire: Vec<felix::PolicyId>) -> Result<Vec<PolicyId>, WireError> {
    wire.into_iter().map(read_policy).collect()
}

fn read_policy(wire: felix::PolicyId) -> Result<PolicyId, WireError> {
    if wire.kind.is_empty() {
        return Err(OLD_TIER);
    }
    policy::read_id(MESSAGE, Some(wire))
}

const OLD_TIER: WireError = WireError::OldShape("a tier lists its policies by name alone");

/// The error for bytes that are no message; if that is so because a tier lists its policies as Calico
/// did up to 3.31, it says so.
pub(super) fn garbage(bytes: &[u8], error: &DecodeError) -> WireError {
    if lists_names(bytes) { OLD_TIER } else { WireError::Garbage(error.to_string()) }
}

/// An endpoint's tiers with the lists of policies as bytes, which any message and any text are.
mod probe {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ToDataplane {
        #[prost(message, optional, tag = "11")]
        pub(super) endpoint_update: Option<Update>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Update {
        #[prost(message, optional, tag = "5")]
        pub(super) endpoint: Option<Endpoint>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Endpoint {
        #[prost(message, repeated, tag = "7")]
        pub(super) tiers: Vec<Tier>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Tier {
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub(super) ingress: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub(super) egress: Vec<Vec<u8>>,
    }
}

fn lists_names(bytes: &[u8]) -> bool {
    let Ok(message) = probe::ToDataplane::decode(bytes) else { return false };
    let tiers = message.endpoint_update.and_then(|u| u.endpoint).map(|e| e.tiers);
    let printable = |text: &Vec<u8>| !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    tiers.iter().flatten().flat_map(|t| t.ingress.iter().chain(&t.egress)).any(printable)
}
