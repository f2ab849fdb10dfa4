//! What a host does with traffic before policy is asked, or whatever policy says.
//!
//! As in Calico: a host reaches its own pods, pods may ask their host for addresses of neighbours,
//! tunnels are for hosts alone, and failsafe ports stay open.

use std::fmt;

use crate::{
    Cluster, Direction, Endpoint, Failsafe, Flow, HostEndpoint, HostSettings, Protocol, Side, Tri,
};

/// ICMPv6 types a workload's host needs to be a router: multicast listeners, solicitation of routers
/// and neighbours, and advertisement of neighbours. Advertisement of routers (134) is not among them.
pub const NEIGHBOUR_TYPES: [u8; 6] = [130, 131, 132, 133, 135, 136];

/// Something that decides before policy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforePolicy {
    /// To a workload from its own host: allowed, so that health checks work.
    HostToOwnPod,
    /// From a workload to its own host: ICMPv6 of [`NEIGHBOUR_TYPES`] is allowed.
    Neighbours,
    /// From a workload: VXLAN to this UDP port is dropped.
    Vxlan(u16),
    /// From a workload: IP in IP is dropped.
    IpInIp,
    /// Between hosts: the packets of tunnels that the cluster is known to use are allowed.
    Tunnel(Tunnel),
    /// At a host endpoint: a port that stays open.
    Failsafe(Failsafe),
}

/// A tunnel between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// IP in IP.
    IpInIp,
    /// VXLAN to a UDP port.
    Vxlan(u16),
    /// WireGuard to a UDP port.
    WireGuard(u16),
}

impl BeforePolicy {
    /// A short name, for a verdict's reason.
    pub fn name(self) -> &'static str {
        match self {
            BeforePolicy::HostToOwnPod => "host to its own pod",
            BeforePolicy::Neighbours => "ICMPv6 neighbour discovery",
            BeforePolicy::Vxlan(_) => "allowVXLANPacketsFromWorkloads",
            BeforePolicy::IpInIp => "allowIPIPPacketsFromWorkloads",
            BeforePolicy::Tunnel(_) => "tunnels between nodes",
            BeforePolicy::Failsafe(_) => "failsafe",
        }
    }

    /// Whether it lets traffic pass or drops it.
    pub fn allows(self) -> bool {
        !matches!(self, BeforePolicy::Vxlan(_) | BeforePolicy::IpInIp)
    }

    /// Whether it decides about a flow that passes where it holds. It must be sure: a question that
    /// leaves the port open is not one about a tunnel.
    pub fn decides(self, direction: Direction, flow: &Flow<'_>) -> bool {
        self.fits(direction, flow) == Tri::True
    }

    fn fits(self, direction: Direction, flow: &Flow<'_>) -> Tri {
        match self {
            BeforePolicy::HostToOwnPod => Tri::True,
            BeforePolicy::Neighbours if flow.protocol == Protocol::ICMPV6 => {
                flow.icmp.map(|(kind, _)| NEIGHBOUR_TYPES.contains(&kind)).into()
            }
            BeforePolicy::Neighbours => Tri::False,
            BeforePolicy::Vxlan(port) => to_port(Protocol::UDP, port, flow),
            BeforePolicy::IpInIp => (flow.protocol == Protocol::IP_IN_IP).into(),
            BeforePolicy::Tunnel(tunnel) => tunnel.fits(flow) & between_nodes(flow),
            BeforePolicy::Failsafe(failsafe) => {
                let other = match direction {
                    Direction::Ingress => Side::Source,
                    Direction::Egress => Side::Destination,
                };
                let net =
                    failsafe.net.map_or(Tri::True, |net| crate::Facts::net(flow, other, &net));
                to_port(failsafe.protocol, failsafe.port, flow) & net
            }
        }
    }
}

impl Tunnel {
    fn fits(self, flow: &Flow<'_>) -> Tri {
        match self {
            Tunnel::IpInIp => (flow.protocol == Protocol::IP_IN_IP).into(),
            Tunnel::Vxlan(port) | Tunnel::WireGuard(port) => to_port(Protocol::UDP, port, flow),
        }
    }
}

fn to_port(protocol: Protocol, port: u16, flow: &Flow<'_>) -> Tri {
    Tri::from(flow.protocol == protocol) & flow.destination.port.map(|p| p == port).into()
}

fn between_nodes(flow: &Flow<'_>) -> Tri {
    let is_node = |ip: Option<std::net::IpAddr>| {
        Tri::from(ip.map(|ip| flow.cluster.node_at(ip.to_canonical()).is_some()))
    };
    is_node(flow.source.ip) & is_node(flow.destination.ip)
}

/// In words, as in a list of what is allowed before policy.
impl fmt::Display for BeforePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BeforePolicy::HostToOwnPod => f.write_str("a host reaches its own pods"),
            BeforePolicy::Neighbours => {
                f.write_str("ICMPv6 types 130 to 133, 135 and 136 from a pod to its own host")
            }
            BeforePolicy::Vxlan(port) => write!(f, "no VXLAN (UDP port {port}) from pods"),
            BeforePolicy::IpInIp => f.write_str("no IP in IP from pods"),
            BeforePolicy::Tunnel(Tunnel::IpInIp) => f.write_str("IP in IP between nodes"),
            BeforePolicy::Tunnel(Tunnel::Vxlan(port)) => {
                write!(f, "VXLAN (UDP port {port}) between nodes")
            }
            BeforePolicy::Tunnel(Tunnel::WireGuard(port)) => {
                write!(f, "WireGuard (UDP port {port}) between nodes")
            }
            BeforePolicy::Failsafe(failsafe) => write!(f, "failsafe {failsafe}"),
        }
    }
}

impl fmt::Display for Failsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.protocol, self.port)?;
        self.net.map_or(Ok(()), |net| write!(f, " of {net}"))
    }
}

impl Cluster {
    /// What decides about traffic from or to a workload before its policy is asked. `own_host` says
    /// whether the other end is the workload's own host. In the order in which it is asked.
    pub fn before_workload_policy(
        &self,
        endpoint: &Endpoint,
        direction: Direction,
        own_host: bool,
    ) -> Vec<BeforePolicy> {
        match direction {
            Direction::Ingress if own_host => vec![BeforePolicy::HostToOwnPod],
            Direction::Ingress => Vec::new(),
            Direction::Egress => {
                let node = endpoint.node.as_ref();
                let settings = node.map_or_else(|| self.common_settings(), |n| self.settings(n));
                let mut list = settings.no_tunnels_from_workloads();
                list.extend(own_host.then_some(BeforePolicy::Neighbours));
                list
            }
        }
    }

    /// What decides about traffic from or to a host before its policy is asked: tunnels and failsafe
    /// ports. It does not hold for traffic the host forwards.
    pub fn before_host_policy(
        &self,
        host: &HostEndpoint,
        direction: Direction,
    ) -> Vec<BeforePolicy> {
        let settings = self.settings(&host.node);
        let failsafes = match direction {
            Direction::Ingress => &settings.failsafe_inbound,
            Direction::Egress => &settings.failsafe_outbound,
        };
        let tunnels = settings.tunnels.iter().copied().map(BeforePolicy::Tunnel);
        tunnels.chain(failsafes.iter().copied().map(BeforePolicy::Failsafe)).collect()
    }
}

impl HostSettings {
    fn no_tunnels_from_workloads(&self) -> Vec<BeforePolicy> {
        let vxlan = (!self.vxlan_from_workloads).then_some(BeforePolicy::Vxlan(self.vxlan_port));
        let ip_in_ip = (!self.ip_in_ip_from_workloads).then_some(BeforePolicy::IpInIp);
        vxlan.into_iter().chain(ip_in_ip).collect()
    }
}
