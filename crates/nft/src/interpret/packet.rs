//! A packet, and whether it meets a criterion.

use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_policy::Side;

use super::address;
use crate::{ConnectionState, Element, Family, InterfaceMatch, Match, Set, SetKind, Way};

/// A packet on its way through a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The interface it came from; none if the host itself sends it.
    pub from: Option<SmolStr>,
    /// The interface it goes to; none if it is for the host itself.
    pub to: Option<SmolStr>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol by number.
    pub protocol: u8,
    /// Source and destination port; none of a protocol without.
    pub ports: Option<(u16, u16)>,
    /// Type and code, if it is ICMP or ICMPv6.
    pub icmp: Option<(u8, u8)>,
    /// What connection tracking says of it, unless it is exempt.
    pub state: ConnectionState,
    /// The mark it comes with.
    pub mark: u32,
    /// Whether the route back to its source leads over the interface it came from.
    pub routed_back: bool,
}

/// What has been made of a packet on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoFar {
    /// What tracking says, where it has been asked.
    pub(super) state: Option<ConnectionState>,
    /// Its mark.
    pub(super) mark: u32,
    /// Whether it is exempt from tracking.
    pub(super) untracked: bool,
}

/// What a criterion needs to be known before.
pub(super) enum Needs {
    /// A protocol with ports.
    Ports,
    /// ICMP.
    Icmp,
    /// An address family.
    Family(Family),
    /// What connection tracking says.
    Tracking,
    /// Nothing; the protocol and the family that are known after it.
    Nothing(Option<u8>, Option<Family>),
}

/// What a criterion needs.
pub(super) fn needs(matched: &Match) -> Needs {
    match matched {
        Match::Family(family) => Needs::Nothing(None, Some(*family)),
        Match::Protocol { not: false, number } => Needs::Nothing(Some(*number), None),
        Match::Ports { .. } => Needs::Ports,
        Match::Icmp { .. } => Needs::Icmp,
        Match::Nets { nets, .. } => {
            let family = nets.first().map_or(Family::V4, |net| Family::of(net.addr()));
            Needs::Family(family)
        }
        Match::AddressSet { family, .. }
        | Match::AddressPortSet { family, .. }
        | Match::InterfaceSourceSet { family, .. } => Needs::Family(*family),
        Match::Connection(_) => Needs::Tracking,
        Match::Protocol { not: true, .. }
        | Match::Interface { .. }
        | Match::Mark(_)
        | Match::ReversePath { .. }
        | Match::Limit(_) => Needs::Nothing(None, None),
    }
}

/// The named set a criterion asks.
pub(super) fn set_of(matched: &Match) -> Option<&SmolStr> {
    match matched {
        Match::AddressSet { set, .. }
        | Match::AddressPortSet { set, .. }
        | Match::InterfaceSourceSet { set, .. } => Some(set),
        _ => None,
    }
}

impl Packet {
    /// Whether it meets a criterion. What the kernel cannot read of a packet, as a port where there
    /// is none, meets neither the criterion nor its opposite.
    pub(super) fn meets(&self, matched: &Match, set: Option<&Set>, so_far: SoFar) -> bool {
        match matched {
            Match::Family(family) => Family::of(self.source) == *family,
            Match::Interface { way, not, name } => self.interface(*way, name) != *not,
            Match::Protocol { not, number } => (self.protocol == *number) != *not,
            Match::Nets { side, not, nets } => {
                nets.iter().any(|net| net.contains(&address(self, *side))) != *not
            }
            Match::AddressSet { side, not, .. } => {
                set.is_some_and(|set| holds(set, address(self, *side))) != *not
            }
            Match::AddressPortSet { side, not, .. } => {
                self.port(*side).is_some_and(|port| self.has_port(set, *side, port) != *not)
            }
            Match::InterfaceSourceSet { not, .. } => self.is_source(set) != *not,
            Match::Ports { side, not, ranges } => self.port(*side).is_some_and(|port| {
                ranges.iter().any(|(first, last)| (first..=last).contains(&&port)) != *not
            }),
            Match::Icmp { not, kind, code } => self.icmp.is_some_and(|(own_kind, own_code)| {
                (own_kind == *kind && code.is_none_or(|code| code == own_code)) != *not
            }),
            Match::Connection(states) => so_far.state.is_some_and(|state| states.contains(&state)),
            Match::Mark(bits) => so_far.mark & bits == *bits,
            Match::ReversePath { not } => self.routed_back != *not,
            Match::Limit(_) => true,
        }
    }

    fn interface(&self, way: Way, name: &InterfaceMatch) -> bool {
        let interface = match way {
            Way::In => &self.from,
            Way::Out => &self.to,
        };
        interface.as_ref().is_some_and(|interface| match name {
            InterfaceMatch::Exact(name) => interface == name,
            InterfaceMatch::Prefix(prefix) => interface.starts_with(prefix.as_str()),
        })
    }

    fn port(&self, side: Side) -> Option<u16> {
        let (source, destination) = self.ports?;
        Some(match side {
            Side::Source => source,
            Side::Destination => destination,
        })
    }

    fn has_port(&self, set: Option<&Set>, side: Side, port: u16) -> bool {
        let element = Element::AddressPort(address(self, side), self.protocol, port);
        set.is_some_and(|set| set.elements.contains(&element))
    }

    fn is_source(&self, set: Option<&Set>) -> bool {
        let Some((set, interface)) = set.zip(self.from.as_ref()) else { return false };
        let element = |net| Element::InterfaceNet(interface.clone(), net);
        around(set.kind, self.source).any(|net| set.elements.contains(&element(net)))
    }
}

/// Whether a set of addresses or nets holds an address.
fn holds(set: &Set, address: IpAddr) -> bool {
    around(set.kind, address).any(|net| set.elements.contains(&Element::Net(net)))
}

/// The nets that an address is in, as elements of a set may have them: it alone, or all.
fn around(kind: SetKind, address: IpAddr) -> impl Iterator<Item = IpNet> {
    let own = IpNet::from(address);
    let least = match kind {
        SetKind::Net(_) | SetKind::InterfaceNet(_) => 0,
        _ => own.max_prefix_len(),
    };
    let lengths = (least..=own.max_prefix_len()).rev();
    lengths.filter_map(move |length| Some(IpNet::new(address, length).ok()?.trunc()))
}
