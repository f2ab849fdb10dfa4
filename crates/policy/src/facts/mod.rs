//! What is known of a piece of traffic. Criteria ask [`Facts`] and get true, false or unknown.
//!
//! Two kinds of facts live here: [`Flow`], of which everything is known, as the kernel sees it, and
//! [`Request`], a sidecar's view, in which the peer may hold a certificate.

mod request;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tortie_selector::Selector;

use crate::{
    Cluster, Compat, CompatPoint, Endpoint, HostEndpoint, IcmpMatch, IpVersion, NamedPort,
    NetworkSet, PathMatch, Peers, Protocol, ServiceRef, Side, Tri,
};

pub use request::{HttpRequest, Principal, Request, Trust};

/// Answers to the criteria of a rule.
pub trait Facts {
    /// Whether the traffic is of an address family.
    fn ip_version(&self, version: IpVersion) -> Tri;
    /// Whether the traffic uses a protocol.
    fn protocol(&self, protocol: Protocol) -> Tri;
    /// Whether the address of a side lies in a net.
    fn net(&self, side: Side, net: &IpNet) -> Tri;
    /// Whether the port of a side lies between two numbers, both included.
    fn port(&self, side: Side, first: u16, last: u16) -> Tri;
    /// Whether the endpoint of a side declares a port of that name, and the traffic uses it.
    fn named_port(&self, side: Side, name: &str) -> Tri;
    /// Whether the traffic is ICMP of that type and code.
    fn icmp(&self, icmp: &IcmpMatch) -> Tri;
    /// Whether a side is behind a Service: by address for the source, and by protocol and port,
    /// too, for the destination.
    fn service(&self, side: Side, service: &ServiceRef) -> Tri;
    /// Whether the identity of a side meets the criteria.
    fn peers(&self, side: Side, peers: &Peers) -> Tri;
    /// Whether the traffic is an HTTP request whose contents are known.
    fn http(&self) -> Tri;
    /// Whether the request uses a method.
    fn method(&self, method: &str) -> Tri;
    /// Whether the request's path meets a criterion.
    fn path(&self, path: &PathMatch) -> Tri;
    /// A side in words, for messages; what makes its identity doubtful included.
    fn describe(&self, side: Side) -> String;
    /// Port, method or path of the traffic in words, for messages.
    fn describe_traffic(&self) -> String;
    /// The points in which Calico's behaviour is chosen: what the answers above heed.
    fn compat(&self) -> Compat {
        Compat::STRICT
    }
}

/// What is known of one end besides its identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Address {
    /// Address; absent or unreadable ones are unknown to every criterion.
    pub ip: Option<IpAddr>,
    /// Port; an absent one is unknown.
    pub port: Option<u16>,
}

impl Address {
    /// An address with a port.
    pub fn new(ip: IpAddr, port: u16) -> Address {
        Address { ip: Some(ip), port: Some(port) }
    }

    /// The address; an IPv4 address in IPv6 clothes as the IPv4 address it is.
    fn ip(&self) -> Option<IpAddr> {
        self.ip.map(|ip| ip.to_canonical())
    }

    fn net(&self, cluster: &Cluster, net: &IpNet) -> Tri {
        of_peer(cluster, self.ip().map(|ip| net.contains(&ip)).into())
    }

    /// The port; where that is chosen, an absent one is 0.
    fn number(&self, cluster: &Cluster) -> Option<u16> {
        let zero = cluster.compat().has(CompatPoint::UnknownPortAndIcmp).then_some(0);
        self.port.or(zero)
    }

    fn port(&self, cluster: &Cluster, first: u16, last: u16) -> Tri {
        self.number(cluster).map(|port| (first..=last).contains(&port)).into()
    }

    fn endpoints<'c>(&self, cluster: &'c Cluster) -> &'c [Arc<Endpoint>] {
        self.ip.map(|ip| cluster.at(ip)).unwrap_or_default()
    }

    fn named_port(&self, cluster: &Cluster, name: &str, protocol: Protocol) -> Tri {
        let Some(number) = self.number(cluster) else { return Tri::Unknown };
        let declares = |ports: &[NamedPort]| {
            ports.iter().any(|p| p.name == name && p.protocol == protocol && p.port == number)
        };
        self.holders(cluster, |e| declares(&e.ports), |h| declares(&h.ports), |_| false)
    }

    /// Whether anything that holds the address answers yes: a workload, or a host endpoint or network
    /// set besides it. Where several workloads claim the address nobody can tell which it is, so a
    /// yes is doubtful; and so is a no where a set has addresses that nobody can read.
    fn holders(
        &self,
        cluster: &Cluster,
        endpoint: impl Fn(&Endpoint) -> bool,
        host: impl Fn(&HostEndpoint) -> bool,
        set: impl Fn(&NetworkSet) -> bool,
    ) -> Tri {
        let Some(ip) = self.ip else { return of_peer(cluster, Tri::Unknown) };
        let workloads = cluster.at(ip);
        let yes = workloads.iter().any(|e| endpoint(e))
            || cluster.hosts_at(ip).iter().any(|h| host(h))
            || cluster.sets_with(ip).any(|s| set(s));
        let doubtful = match yes {
            true => workloads.len() > 1,
            false => cluster.unreadable_sets().any(|s| set(s)),
        };
        match doubtful {
            false => yes.into(),
            // Calico's sets hold what one of the workloads brings in.
            true if cluster.compat().has(CompatPoint::UnknownIdentity) => yes.into(),
            true => Tri::Unknown,
        }
    }

    fn source_of(&self, cluster: &Cluster, service: &ServiceRef) -> Tri {
        let backends = cluster.backends(service);
        of_peer(cluster, self.ip().map(|ip| backends.iter().any(|b| b.address == ip)).into())
    }

    fn destination_of(&self, cluster: &Cluster, service: &ServiceRef, protocol: Protocol) -> Tri {
        let port = self.number(cluster);
        let Some(ip) = self.ip() else { return of_peer(cluster, Tri::Unknown) };
        let at_address = cluster.backends(service).iter().filter(|b| b.address == ip);
        let served = at_address.filter_map(|b| b.port).filter(|(p, _)| *p == protocol);
        Tri::any(served.map(|(_, wanted)| port.map(|port| wanted == port).into()))
    }

    /// The identity criteria as the address alone answers them: it belongs to an endpoint or a
    /// network set whose labels match. An address of nobody known is included nowhere and excluded
    /// nowhere.
    fn peers(&self, cluster: &Cluster, peers: &Peers) -> Tri {
        let matches = |selector: &Selector| {
            self.holders(
                cluster,
                |e| selector.matches(&e.labels),
                |h| selector.matches(&h.labels),
                |s| selector.matches(&s.labels),
            )
        };
        let included = peers.included.as_ref().map_or(Tri::True, matches);
        let excluded = peers.excluded.as_ref().map_or(Tri::False, matches);
        included & !excluded
    }

    fn describe(&self, cluster: &Cluster) -> String {
        let Some(ip) = self.ip() else { return "an unknown address".to_owned() };
        match self.endpoints(cluster) {
            [] => match (cluster.hosts_at(ip), cluster.sets_with(ip).next()) {
                ([host, ..], _) => format!("host endpoint {} ({ip})", host.name),
                ([], Some(set)) => format!("{ip}, an address of network set {}", set.name),
                ([], None) => format!("{ip}, the address of no known workload"),
            },
            [e] => format!("{} (service account `{}`, {ip})", e.id, e.account.name),
            _ => format!("{ip}, which several workloads claim"),
        }
    }
}

/// An answer about a peer; where that is chosen, what is not known counts as no match.
fn of_peer(cluster: &Cluster, answer: Tri) -> Tri {
    match answer {
        Tri::Unknown if cluster.compat().has(CompatPoint::UnknownIdentity) => Tri::False,
        answer => answer,
    }
}

/// Whether traffic is of a family: both ends are of the same, so one known address tells.
fn family(source: &Address, destination: &Address, version: IpVersion) -> Tri {
    let ends = [source.ip(), destination.ip()].into_iter().flatten();
    Tri::unanimous(ends.map(|ip| IpVersion::of(ip) == version))
}

/// The HTTP part of a flow as the network layer sees it: it cannot see the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpAtNetwork {
    /// A sidecar of the destination decides later: HTTP criteria count as met so far.
    Deferred,
    /// Nobody would check HTTP criteria: they are not met.
    Unenforced,
}

/// A flow of which everything is known: both addresses, the protocol, the destination port.
///
/// The source port is often not known in advance; it may be absent.
#[derive(Debug, Clone)]
pub struct Flow<'a> {
    /// Who is who.
    pub cluster: &'a Cluster,
    /// Sender.
    pub source: Address,
    /// Receiver.
    pub destination: Address,
    /// Protocol.
    pub protocol: Protocol,
    /// ICMP type and code, if it is ICMP and they are known.
    pub icmp: Option<(u8, Option<u8>)>,
    /// What becomes of HTTP criteria.
    pub http: HttpAtNetwork,
}

impl Flow<'_> {
    fn side(&self, side: Side) -> &Address {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}

impl Facts for Flow<'_> {
    fn ip_version(&self, version: IpVersion) -> Tri {
        family(&self.source, &self.destination, version)
    }

    fn protocol(&self, protocol: Protocol) -> Tri {
        (self.protocol == protocol).into()
    }

    fn net(&self, side: Side, net: &IpNet) -> Tri {
        self.side(side).net(self.cluster, net)
    }

    fn port(&self, side: Side, first: u16, last: u16) -> Tri {
        self.side(side).port(self.cluster, first, last)
    }

    fn named_port(&self, side: Side, name: &str) -> Tri {
        self.side(side).named_port(self.cluster, name, self.protocol)
    }

    fn icmp(&self, icmp: &IcmpMatch) -> Tri {
        if ![Protocol::ICMP, Protocol::ICMPV6].contains(&self.protocol) {
            return Tri::False;
        }
        let zero = self.compat().has(CompatPoint::UnknownPortAndIcmp).then_some(0);
        let Some((kind, code)) = self.icmp.or(zero.map(|n| (n, zero))) else {
            return Tri::Unknown;
        };
        let code = code.or(zero);
        let code = icmp.code.map_or(Tri::True, |wanted| code.map(|code| code == wanted).into());
        Tri::from(kind == icmp.kind) & code
    }

    fn service(&self, side: Side, service: &ServiceRef) -> Tri {
        match side {
            Side::Source => self.source.source_of(self.cluster, service),
            Side::Destination => {
                self.destination.destination_of(self.cluster, service, self.protocol)
            }
        }
    }

    fn peers(&self, side: Side, peers: &Peers) -> Tri {
        self.side(side).peers(self.cluster, peers)
    }

    fn http(&self) -> Tri {
        // Without a connection there is no HTTP, and no sidecar in the way of anything but TCP.
        let deferred = self.http == HttpAtNetwork::Deferred && self.protocol == Protocol::TCP;
        (deferred || self.compat().has(CompatPoint::HttpWithoutEnforcer)).into()
    }

    fn method(&self, _: &str) -> Tri {
        self.http()
    }

    fn path(&self, _: &PathMatch) -> Tri {
        self.http()
    }

    fn describe(&self, side: Side) -> String {
        self.side(side).describe(self.cluster)
    }

    fn describe_traffic(&self) -> String {
        traffic(self.protocol, self.destination.port)
    }

    fn compat(&self) -> Compat {
        self.cluster.compat()
    }
}

fn traffic(protocol: Protocol, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("{protocol} to port {port}"),
        None => protocol.to_string(),
    }
}
