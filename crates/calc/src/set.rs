//! IP sets: addresses, nets, or addresses with ports, under an id.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::{SmolStr, format_smolstr};
use tortie_policy::{PortMatch, Protocol, Rule, ServiceRef, Side};
use tortie_selector::Selector;

use crate::{RuleSets, SideSets};

/// Name of an IP set; equal criteria have equal ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub SmolStr);

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SetId {
    /// The addresses of everything whose labels a selector matches: a set of nets.
    pub fn of_selector(selector: &Selector) -> SetId {
        SetId(selector.id().into())
    }

    /// Every workload's and host endpoint's ports of a name: a set of addresses with ports.
    pub fn of_port(name: &str) -> SetId {
        SetId(format_smolstr!("n:{name}"))
    }

    /// What is behind a service, as a receiver: a set of addresses with ports.
    pub fn of_service(service: &ServiceRef) -> SetId {
        SetId(format_smolstr!("svc:{service}"))
    }

    /// The addresses behind a service, as a sender: a set of nets.
    pub fn of_service_addresses(service: &ServiceRef) -> SetId {
        SetId(format_smolstr!("svcnoport:{service}"))
    }
}

impl RuleSets {
    /// The sets that stand for the selectors, named ports and services of a rule.
    pub fn of(rule: &Rule) -> RuleSets {
        let side = |side| SideSets::of(rule, side);
        RuleSets { source: side(Side::Source), destination: side(Side::Destination) }
    }
}

impl SideSets {
    fn of(rule: &Rule, side: Side) -> SideSets {
        let entity = rule.side(side);
        let named = |ports: &[PortMatch]| {
            let names = ports.iter().filter_map(|port| match port {
                PortMatch::Named(name) => Some(SetId::of_port(name)),
                PortMatch::Range(..) => None,
            });
            names.collect()
        };
        let peers = entity.peers.as_ref();
        let selected = |selector: Option<&Selector>| selector.map(SetId::of_selector);
        let mut sets = SideSets {
            included: selected(peers.and_then(|p| p.included.as_ref())).into_iter().collect(),
            excluded: selected(peers.and_then(|p| p.excluded.as_ref())).into_iter().collect(),
            named_ports: named(&entity.ports),
            not_named_ports: named(&entity.not_ports),
            services: Vec::new(),
        };
        match (&entity.service, side) {
            (Some(service), Side::Source) => {
                sets.included.push(SetId::of_service_addresses(service));
            }
            (Some(service), Side::Destination) => sets.services.push(SetId::of_service(service)),
            (None, _) => {}
        }
        sets
    }
}

/// What the members of an IP set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Nets; a single address is a net of full length.
    Net,
    /// Addresses with protocol and port: a named port, or what is behind a Service.
    AddressPort,
}

/// One member of an IP set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// A net, without host bits.
    Net(IpNet),
    /// An address with protocol and port.
    AddressPort(IpAddr, Protocol, u16),
}

impl Member {
    /// A single address.
    pub fn address(address: IpAddr) -> Member {
        Member::Net(address.to_canonical().into())
    }

    /// The kind of set it can be in.
    pub fn kind(&self) -> SetKind {
        match self {
            Member::Net(_) => SetKind::Net,
            Member::AddressPort(..) => SetKind::AddressPort,
        }
    }
}

/// As on the wire: `10.0.0.0/8`, or `10.0.0.1,tcp:80`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Net(net) => net.fmt(f),
            Member::AddressPort(address, protocol, port) => {
                write!(f, "{address},{}:{port}", wire_protocol(*protocol))
            }
        }
    }
}

/// A protocol in lower case, by number where it has no name.
fn wire_protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::TCP => "tcp".to_owned(),
        Protocol::UDP => "udp".to_owned(),
        Protocol::SCTP => "sctp".to_owned(),
        other => other.number().to_string(),
    }
}
