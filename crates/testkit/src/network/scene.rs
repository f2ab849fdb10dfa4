//! From resources and flows to a layout, probes, and what must become of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::ensure;
use smol_str::SmolStr;
use tortie_calc::{Calculation, Key, Kind, Update};
use tortie_model::Resource;
use tortie_policy::{
    Cluster, Compat, Explanation, HostEndpoint, Interface, Party, Plane, PortName, Query, Trust,
    Word, explain_by,
};

use super::{Exact, Layout, Packet, Place, Probe};

/// Source port of flows that leave theirs open: that of a client.
const CLIENT: u16 = 40_001;

/// Destination port of flows that leave theirs open.
const SERVER: u16 = 80;

/// Numbers of protocols.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Uplink of nodes whose host endpoints name no interface.
const UPLINK: &str = "eth0";

/// One node of a cluster, as the kernel is to enforce it, with what the reference evaluator knows.
pub struct Scene<'c> {
    cluster: &'c Cluster,
    node: Option<SmolStr>,
    /// Which addresses are where.
    pub layout: Layout,
    /// What the calculation tells for the node.
    pub updates: Vec<Update>,
    /// Addresses of all nodes.
    pub nodes: BTreeSet<IpAddr>,
}

/// A flow as a packet.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The flow; it leaves nothing open.
    pub query: Query,
    /// Port it comes from.
    pub source_port: u16,
    /// The packet.
    pub packet: Packet,
}

/// Why a flow cannot be sent through a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// The evaluator cannot answer: no such endpoint, no common family, an address of several.
    Unanswerable,
    /// A party without an address.
    NoAddress,
    /// An address that nothing can be routed to or from: unspecified, loopback, multicast, link-local.
    Unroutable,
    /// ICMP that connection tracking takes for an answer or an error.
    NeverFirst,
    /// It does not pass the node: both ends are on it, or both are not.
    Elsewhere,
    /// The node has several host endpoints; which one it passes is not said.
    SeveralHosts,
}

impl<'c> Scene<'c> {
    /// A node of a cluster that resources describe; without a name all workloads, wherever they
    /// are, as if they were on one node without host endpoints.
    ///
    /// # Errors
    /// If workloads share an interface.
    pub fn new(
        cluster: &'c Cluster,
        resources: &[Resource],
        compat: Compat,
        node: Option<&str>,
    ) -> anyhow::Result<Scene<'c>> {
        let node = node.map(SmolStr::from);
        let mut calculation =
            Calculation::new(node.clone()).assigning_addresses().with_compat(compat);
        for resource in resources {
            calculation.apply(&Key::of(resource), Some(resource));
        }
        calculation.in_sync();
        let mut updates = Vec::new();
        calculation.flush(&mut updates);
        if node.is_none() {
            updates.retain(|update| !matches!(update, Update::Host(_)));
        }
        let layout = layout(cluster, node.as_ref(), &updates)?;
        let nodes = resources.iter().filter(|resource| Kind::of(resource) == Kind::Node);
        let nodes = nodes.flat_map(|resource| cluster.node(&resource.metadata().name));
        let nodes = nodes.map(IpAddr::to_canonical).collect();
        Ok(Scene { cluster, node, layout, updates, nodes })
    }

    /// Whether the node's connections are all tracked, so that answers pass if what they answer did.
    pub fn tracks_all(&self) -> bool {
        !self.updates.iter().any(|update| match update {
            Update::Host(host) => host.planes.iter().any(|(plane, _)| *plane == Plane::Untracked),
            _ => false,
        })
    }

    /// The nodes whose policy a flow meets, as names for [`Scene::new`].
    pub fn nodes(cluster: &Cluster, asked: &Asked) -> BTreeSet<Option<SmolStr>> {
        let ends = [asked.packet.source, asked.packet.destination];
        let of = |address: IpAddr| {
            let workloads = cluster.at(address).iter().map(|endpoint| endpoint.node.clone());
            let hosts = cluster.hosts_at(address).iter().map(|host| Some(host.node.clone()));
            let node = cluster.node_at(address).map(|node| Some(node.clone()));
            workloads.chain(hosts).chain(node).collect::<Vec<_>>()
        };
        let mut nodes: BTreeSet<_> = ends.into_iter().flat_map(of).collect();
        // A workload of no known node is outside of all that are known.
        if nodes.len() > 1 {
            nodes.remove(&None);
        }
        nodes
    }

    /// The probe that tries a flow, and whether the node must let it pass.
    ///
    /// # Errors
    /// If the flow cannot be tried on this node.
    pub fn probe(&self, asked: &Asked) -> Result<(Probe, bool), Unfit> {
        let packet = asked.packet;
        let (from, to) = (self.place(packet.source), self.place(packet.destination));
        let uplink = Place::Beyond(self.layout.uplink.clone());
        let crosses = from != to && (from != uplink || to != uplink);
        if !crosses {
            return Err(Unfit::Elsewhere);
        }
        if self.hosts().count() > 1 && [&from, &to].contains(&&uplink) {
            return Err(Unfit::SeveralHosts);
        }
        let exact = Exact { cluster: self.cluster, source_port: asked.source_port };
        let explanation = explain_by(&exact, self.cluster, &Trust::default(), &asked.query);
        let explanation = explanation.map_err(|_| Unfit::Unanswerable)?;
        Ok((Probe { from, to, packet }, self.allows(&explanation)))
    }

    /// Whether what is enforced on this node lets a flow pass.
    fn allows(&self, explanation: &Explanation) -> bool {
        let network = explanation.legs().filter(|(leg, _)| *leg != "application");
        let mut here = network.filter(|(_, leg)| self.is_here(&leg.endpoint));
        here.all(|(_, leg)| leg.verdict == Word::Allow)
    }

    /// Whether a leg's endpoint is on this node.
    fn is_here(&self, endpoint: &str) -> bool {
        let Some(node) = &self.node else { return !endpoint.contains(':') };
        match endpoint.parse() {
            Ok(Party::HostEndpoint(name)) => {
                self.cluster.host(&name).is_some_and(|h| h.node == *node)
            }
            Ok(Party::Endpoint(id)) => {
                self.cluster.endpoint(&id).is_some_and(|e| e.node.as_ref() == Some(node))
            }
            _ => endpoint.strip_prefix("node:") == Some(node),
        }
    }

    fn hosts(&self) -> impl Iterator<Item = &HostEndpoint> {
        hosts(self.cluster, self.node.as_ref())
    }

    fn place(&self, address: IpAddr) -> Place {
        if self.layout.host.contains(&address) {
            return Place::Host;
        }
        let mut workloads = self.layout.workloads.iter();
        let found = workloads.find(|(_, addresses)| addresses.contains(&address));
        Place::Beyond(found.map_or(&self.layout.uplink, |(interface, _)| interface).clone())
    }
}

fn hosts<'c>(
    cluster: &'c Cluster,
    node: Option<&SmolStr>,
) -> impl Iterator<Item = &'c HostEndpoint> {
    cluster.hosts().filter(move |host| Some(&host.node) == node).map(|host| &**host)
}

fn layout(cluster: &Cluster, node: Option<&SmolStr>, updates: &[Update]) -> anyhow::Result<Layout> {
    let mut layout = Layout { uplink: UPLINK.into(), ..Layout::default() };
    let mut routed = BTreeSet::new();
    for update in updates {
        let Update::Endpoint(endpoint) = update else { continue };
        let addresses = endpoint.addresses.iter().map(IpAddr::to_canonical);
        // An address that several claim leads to one of them.
        let addresses = addresses.filter(|address| routed.insert(*address)).collect();
        let before = layout.workloads.insert(endpoint.interface.clone(), addresses);
        ensure!(before.is_none(), "several workloads share `{}`", endpoint.interface);
    }
    let named = hosts(cluster, node).find_map(|host| match &host.interface {
        Interface::Named(name) => Some(name.clone()),
        _ => None,
    });
    layout.uplink = named.unwrap_or(layout.uplink);
    let own = node.map(|node| cluster.node(node)).unwrap_or_default().iter();
    let expected = hosts(cluster, node).flat_map(|host| &host.addresses);
    let own: BTreeSet<_> = own.chain(expected).map(IpAddr::to_canonical).collect();
    layout.host = own.into_iter().collect();
    Ok(layout)
}

impl Asked {
    /// A flow as a packet. What it leaves open is chosen: a client's port, that of HTTP, a ping.
    ///
    /// # Errors
    /// If it cannot be one.
    pub fn new(cluster: &Cluster, query: &Query, source_port: Option<u16>) -> Result<Asked, Unfit> {
        let (source, destination) = ends(cluster, query)?;
        let protocol = query.protocol.number();
        let port = match &query.port {
            Some(port) => number(cluster, query, port).ok_or(Unfit::Unanswerable)?,
            None if Packet::has_ports(protocol) => SERVER,
            None => 0,
        };
        let icmp = match (protocol, query.icmp) {
            (ICMP, None) => (8, 0),
            (ICMPV6, None) => (128, 0),
            (_, given) => given.map_or((0, 0), |(kind, code)| (kind, code.unwrap_or_default())),
        };
        let source_port = match Packet::has_ports(protocol) {
            true => source_port.unwrap_or(CLIENT),
            false => 0,
        };
        let packet = Packet { source, destination, protocol, ports: (source_port, port), icmp };
        if !packet.may_be_first() {
            return Err(Unfit::NeverFirst);
        }
        let icmp = [ICMP, ICMPV6].contains(&protocol).then_some((icmp.0, Some(icmp.1)));
        // A protocol without ports has none of any number.
        let query = Query { port: Some(PortName::Number(port)), icmp, ..query.clone() };
        Ok(Asked { query, source_port, packet })
    }
}

/// The first pair of addresses of one family, as the evaluator chooses it.
fn ends(cluster: &Cluster, query: &Query) -> Result<(IpAddr, IpAddr), Unfit> {
    let (from, to) = (addresses(cluster, &query.from), addresses(cluster, &query.to));
    let pair = from.iter().find_map(|a| {
        let same = to.iter().find(|b| a.is_ipv4() == b.is_ipv4());
        same.map(|b| (*a, *b))
    });
    let (source, destination) = pair.ok_or(Unfit::NoAddress)?;
    let routable = [source, destination].into_iter().all(is_routable);
    if routable { Ok((source, destination)) } else { Err(Unfit::Unroutable) }
}

fn addresses(cluster: &Cluster, party: &Party) -> Vec<IpAddr> {
    let known: &[IpAddr] = match party {
        Party::Address(address) => &[*address],
        Party::Endpoint(id) => cluster.endpoint(id).map(|e| &*e.addresses).unwrap_or_default(),
        Party::HostEndpoint(name) => match cluster.host(name) {
            Some(host) if host.addresses.is_empty() => cluster.node(&host.node),
            Some(host) => &host.addresses,
            None => &[],
        },
    };
    known.iter().map(IpAddr::to_canonical).collect()
}

fn is_routable(address: IpAddr) -> bool {
    let never = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let local = match address {
        IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !never && !local
}

/// The number of a port.
fn number(cluster: &Cluster, query: &Query, port: &PortName) -> Option<u16> {
    let name = match port {
        PortName::Number(number) => return Some(*number),
        PortName::Name(name) => name,
    };
    let ports = match &query.to {
        Party::Endpoint(id) => &cluster.endpoint(id)?.ports,
        Party::HostEndpoint(host) => &cluster.host(host)?.ports,
        Party::Address(_) => return None,
    };
    let named = ports.iter().find(|p| p.name == *name && p.protocol == query.protocol);
    named.map(|port| port.port)
}
