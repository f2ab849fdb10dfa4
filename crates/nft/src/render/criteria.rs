//! The criteria of a rule as conditions, for one address family.
//!
//! Of a packet everything is known, but not of everybody who sends one: an address may be claimed by
//! several workloads, and a set may have members that could not be read. So a rule has two conditions,
//! one under which it surely matches and one under which it may; which of them counts depends on what
//! the rule does (`policy::effect`).

use ipnet::IpNet;
use tortie_calc::{RuleSets, SetId, SideSets};
use tortie_policy::{
    Compat, CompatPoint, EntityMatch, IcmpMatch, IpVersion, PortMatch, Protocol, Rule, Side,
};

use super::alternatives::Condition;
use super::sets::{IpSet, IpSets};
use crate::{Family, Match};

/// Protocols whose packets have ports where TCP's have them: TCP, UDP, DCCP, SCTP and UDPLite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// Protocols that a named port or a service can have.
const DECLARED: [u8; 3] = [6, 17, 132];

/// What is known besides a rule itself.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) sets: &'a IpSets,
    pub(super) compat: Compat,
    /// Whether there are addresses that several workloads claim, IPv4 and IPv6.
    pub(super) disputed: [bool; 2],
}

/// How sure it has to be that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It does.
    Sure,
    /// Nobody can tell that it does not.
    Possible,
}

/// The name of the set of addresses that several workloads claim.
pub(super) fn disputed(family: Family) -> &'static str {
    match family {
        Family::V4 => "disputed.4",
        Family::V6 => "disputed.6",
    }
}

/// A rule, asked about packets of one family with some certainty.
struct Asked<'a> {
    known: Known<'a>,
    rule: &'a Rule,
    sets: &'a RuleSets,
    /// Whether a sidecar checks HTTP criteria later.
    http: bool,
    family: Family,
    certainty: Certainty,
}

/// When a rule matches packets of a family.
pub(super) fn condition(
    known: Known<'_>,
    (rule, sets): (&Rule, &RuleSets),
    http: bool,
    family: Family,
    certainty: Certainty,
) -> Condition {
    Asked { known, rule, sets, http, family, certainty }.condition()
}

impl Asked<'_> {
    fn condition(&self) -> Condition {
        let layer_4 = [
            self.ip_version(),
            self.protocol(),
            self.http(),
            self.icmp(),
            self.ports(Side::Destination),
            self.ports(Side::Source),
        ];
        let nets = Side::BOTH.map(|side| nets(self.rule.side(side), side, self.family));
        let sets = Side::BOTH.map(|side| self.address_sets(side));
        Condition::all(layer_4.into_iter().chain(nets).chain(sets))
    }

    fn ip_version(&self) -> Condition {
        let family = self.rule.ip_version.map(|version| match version {
            IpVersion::V4 => Family::V4,
            IpVersion::V6 => Family::V6,
        });
        Condition::constant(family.is_none_or(|family| family == self.family))
    }

    fn protocol(&self) -> Condition {
        let is = self.rule.protocol.map(|p| Condition::protocol(p.number()));
        let is_not = self.rule.not_protocol.map(|p| Condition::no_protocol(&[p.number()]));
        Condition::all(is.into_iter().chain(is_not))
    }

    /// HTTP criteria hold so far where a sidecar checks them later, which it does for TCP alone.
    fn http(&self) -> Condition {
        match &self.rule.http {
            None => Condition::always(),
            Some(_) if self.known.compat.has(CompatPoint::HttpWithoutEnforcer) => {
                Condition::always()
            }
            Some(_) if self.http => Condition::protocol(Protocol::TCP.number()),
            Some(_) => Condition::never(),
        }
    }

    fn icmp(&self) -> Condition {
        let protocols = [Protocol::ICMP.number(), Protocol::ICMPV6.number()];
        let of = |icmp: &IcmpMatch, not: bool| {
            let matched = Match::Icmp { not, kind: icmp.kind, code: icmp.code };
            let each = protocols.into_iter().map(Condition::protocol);
            Condition::any(each.map(|protocol| protocol.and(Condition::one(matched.clone()))))
        };
        let is = self.rule.icmp.as_ref().map(|icmp| of(icmp, false));
        let is_not = self.rule.not_icmp.as_ref();
        let is_not = is_not.map(|icmp| Condition::no_protocol(&protocols).or(of(icmp, true)));
        Condition::all(is.into_iter().chain(is_not))
    }

    // === ports ===

    fn ports(&self, side: Side) -> Condition {
        let (entity, sets) = (self.rule.side(side), self.sets.side(side));
        let is = match entity.ports.is_empty() && sets.named_ports.is_empty() {
            true => Condition::always(),
            false => {
                let named = sets.named_ports.iter().map(|id| self.within(id, side, true));
                numbered(&entity.ports, side).or(Condition::any(named))
            }
        };
        let is_not = sets.not_named_ports.iter().map(|id| self.outside(id, side, true));
        is.and(not_numbered(&entity.not_ports, side)).and(Condition::all(is_not))
    }

    // === sets ===

    fn address_sets(&self, side: Side) -> Condition {
        let SideSets { included, excluded, services, .. } = self.sets.side(side);
        // The addresses of a service are no matter of identity.
        let service = self.rule.side(side).service.as_ref().map(SetId::of_service_addresses);
        let within = included.iter().map(|id| self.within(id, side, Some(id) != service.as_ref()));
        let served = services.iter().map(|id| self.within(id, side, false));
        let outside = excluded.iter().map(|id| self.outside(id, side, true));
        Condition::all(served.chain(within).chain(outside))
    }

    /// The side is in a set. Of an address that several workloads claim nobody can tell whether it is
    /// meant, if the set is about who they are.
    fn within(&self, id: &SetId, side: Side, of_whom: bool) -> Condition {
        let set = self.known.sets.get(id);
        if self.certainty == Certainty::Possible && self.is_open(set) {
            return Condition::always();
        }
        let found = set.into_iter().flat_map(|set| self.matches(set, side, false));
        let found = Condition::any(found.map(Condition::one));
        match self.certainty == Certainty::Sure && of_whom && self.has_disputes() {
            true => found.and(Condition::one(self.disputed(side, true))),
            false => found,
        }
    }

    /// The side is not in a set.
    fn outside(&self, id: &SetId, side: Side, of_whom: bool) -> Condition {
        let set = self.known.sets.get(id);
        if self.certainty == Certainty::Sure && self.is_open(set) {
            return Condition::never();
        }
        let absent = set.into_iter().flat_map(|set| self.matches(set, side, true));
        let mut outside = Condition::all(absent.map(Condition::one));
        if set.is_some_and(IpSet::has_ports) {
            // A packet without ports is in no such set, but the kernel finds no port to look up.
            outside = outside.or(Condition::no_protocol(&DECLARED));
        }
        match self.certainty == Certainty::Possible && of_whom && self.has_disputes() {
            true => outside.or(Condition::one(self.disputed(side, false))),
            false => outside,
        }
    }

    fn matches(&self, set: &IpSet, side: Side, not: bool) -> Vec<Match> {
        let family = self.family;
        let names = set.names(family);
        let found = names.map(|name| match set.has_ports() {
            true => Match::AddressPortSet { side, not, set: name, family },
            false => Match::AddressSet { side, not, set: name, family },
        });
        found.collect()
    }

    /// Whether an address that is not in a set may be in it all the same: the set is not there, or
    /// some of its members could not be read.
    fn is_open(&self, set: Option<&IpSet>) -> bool {
        !self.is_lax() && set.is_none_or(IpSet::is_incomplete)
    }

    /// Whether what is not known of a peer counts as no match.
    fn is_lax(&self) -> bool {
        self.known.compat.has(CompatPoint::UnknownIdentity)
    }

    fn has_disputes(&self) -> bool {
        let [four, six] = self.known.disputed;
        !self.is_lax() && if self.family == Family::V4 { four } else { six }
    }

    fn disputed(&self, side: Side, not: bool) -> Match {
        let set = disputed(self.family).into();
        Match::AddressSet { side, not, set, family: self.family }
    }
}

/// The port is one of some numbers; packets of other protocols have none.
fn numbered(ports: &[PortMatch], side: Side) -> Condition {
    let ranges = ranges(ports);
    if ranges.is_empty() {
        return Condition::never();
    }
    let matched = Condition::one(Match::Ports { side, not: false, ranges });
    let each = WITH_PORTS.into_iter().map(Condition::protocol);
    Condition::any(each.map(|protocol| protocol.and(matched.clone())))
}

/// The port is none of some numbers.
fn not_numbered(ports: &[PortMatch], side: Side) -> Condition {
    let ranges = ranges(ports);
    if ranges.is_empty() {
        return Condition::always();
    }
    let matched = Condition::one(Match::Ports { side, not: true, ranges });
    let each = WITH_PORTS.into_iter().map(Condition::protocol);
    let with_ports = Condition::any(each.map(|protocol| protocol.and(matched.clone())));
    with_ports.or(Condition::no_protocol(&WITH_PORTS))
}

/// The numeric ones, in order and apart from each other.
fn ranges(ports: &[PortMatch]) -> Vec<(u16, u16)> {
    let numeric = ports.iter().filter_map(|port| match port {
        PortMatch::Range(first, last) => Some((*first, *last)),
        PortMatch::Named(_) => None,
    });
    let mut numeric: Vec<(u16, u16)> = numeric.collect();
    numeric.sort_unstable();
    let mut apart: Vec<(u16, u16)> = Vec::new();
    for (first, last) in numeric {
        match apart.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart
}

fn nets(entity: &EntityMatch, side: Side, family: Family) -> Condition {
    let is = match entity.nets.is_empty() {
        true => Condition::always(),
        false => in_nets(&entity.nets, side, family),
    };
    is.and(not_in_nets(&entity.not_nets, side, family))
}

/// The address is in one of some nets.
pub(super) fn in_nets(nets: &[IpNet], side: Side, family: Family) -> Condition {
    match widest(nets, family) {
        nets if nets.is_empty() => Condition::never(),
        nets if nets.iter().any(|net| net.prefix_len() == 0) => Condition::always(),
        nets => Condition::one(Match::Nets { side, not: false, nets }),
    }
}

/// The address is in none of some nets.
fn not_in_nets(nets: &[IpNet], side: Side, family: Family) -> Condition {
    match widest(nets, family) {
        nets if nets.is_empty() => Condition::always(),
        nets if nets.iter().any(|net| net.prefix_len() == 0) => Condition::never(),
        nets => Condition::one(Match::Nets { side, not: true, nets }),
    }
}

/// The nets of a family that are within no other, in order.
pub(super) fn widest(nets: &[IpNet], family: Family) -> Vec<IpNet> {
    let of_family = nets.iter().filter(|net| Family::of(net.addr()) == family);
    let mut nets: Vec<IpNet> = of_family.map(IpNet::trunc).collect();
    nets.sort_unstable();
    let mut widest: Vec<IpNet> = Vec::new();
    for net in nets {
        if !widest.last().is_some_and(|last| last.contains(&net)) {
            widest.push(net);
        }
    }
    widest
}
