//! Rules with their sets looked up, and whether traffic meets them.
//!
//! This is what decides; the index only says which rules need not be asked.

use std::sync::Arc;

use tortie_policy::{
    Action, Criterion, Direction, EntityMatch, Policy, PortMatch, Rule, Side, Tri,
};

use super::seen::Seen;
use super::sets::{Sets, Slot};
use crate::{ActivePolicy, ActiveProfile, RuleSets, SetId, SideSets};

/// Where rules come from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Policy(Arc<ActivePolicy>),
    Profile(Arc<ActiveProfile>),
}

/// A policy or profile with the slots of its sets.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) origin: Origin,
    ingress: Box<[RuleSlots]>,
    egress: Box<[RuleSlots]>,
}

/// The sets of a rule, by slot.
#[derive(Debug, Default)]
pub(super) struct RuleSlots {
    source: SideSlots,
    destination: SideSlots,
}

/// The sets of one side.
#[derive(Debug, Default)]
pub(super) struct SideSlots {
    /// Sets that stand for identity: each must have the address.
    pub(super) included: Box<[Slot]>,
    /// Sets that stand for identity: none may have the address.
    pub(super) excluded: Box<[Slot]>,
    pub(super) named_ports: Box<[Slot]>,
    pub(super) not_named_ports: Box<[Slot]>,
    /// Sets of services, with ports.
    pub(super) services: Box<[Slot]>,
    /// The set of a service's addresses.
    pub(super) service_addresses: Option<Slot>,
}

impl Compiled {
    pub(super) fn new(origin: Origin, sets: &mut Sets) -> Compiled {
        let mut slots = |direction| {
            let (rules, ids) = (origin.rules(direction), origin.sets(direction));
            let none = RuleSets::default();
            let ids = ids.iter().chain(std::iter::repeat(&none));
            rules.iter().zip(ids).map(|(rule, ids)| RuleSlots::new(rule, ids, sets)).collect()
        };
        let (ingress, egress) = (slots(Direction::Ingress), slots(Direction::Egress));
        Compiled { origin, ingress, egress }
    }

    /// The policy; none if it is a profile.
    pub(super) fn policy(&self) -> Option<&Policy> {
        match &self.origin {
            Origin::Policy(policy) => Some(&policy.policy),
            Origin::Profile(_) => None,
        }
    }

    /// Whether it is not to be enforced.
    pub(super) fn is_staged(&self) -> bool {
        self.policy().is_some_and(|policy| policy.staged.is_some())
    }

    /// How many rules a direction has.
    pub(super) fn len(&self, direction: Direction) -> u32 {
        u32::try_from(self.origin.rules(direction).len()).unwrap_or(u32::MAX)
    }

    /// A rule with its sets.
    pub(super) fn rule(&self, direction: Direction, index: usize) -> Option<CompiledRule<'_>> {
        let slots = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        let rule = self.origin.rules(direction).get(index)?;
        Some(CompiledRule { rule, slots: slots.get(index)? })
    }

    /// All rules of a direction.
    pub(super) fn rules(&self, direction: Direction) -> impl Iterator<Item = CompiledRule<'_>> {
        (0..self.origin.rules(direction).len()).filter_map(move |index| self.rule(direction, index))
    }
}

impl Origin {
    pub(super) fn rules(&self, direction: Direction) -> &[Rule] {
        match self {
            Origin::Policy(policy) => policy.policy.rules(direction),
            Origin::Profile(profile) => profile.profile.rules(direction),
        }
    }

    fn sets(&self, direction: Direction) -> &[RuleSets] {
        match self {
            Origin::Policy(policy) => policy.sets(direction),
            Origin::Profile(profile) => profile.sets(direction),
        }
    }
}

impl RuleSlots {
    fn new(rule: &Rule, ids: &RuleSets, sets: &mut Sets) -> RuleSlots {
        let mut side = |side| SideSlots::new(rule.side(side), ids.side(side), sets);
        RuleSlots { source: side(Side::Source), destination: side(Side::Destination) }
    }

    pub(super) fn side(&self, side: Side) -> &SideSlots {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}

impl SideSlots {
    fn new(entity: &EntityMatch, ids: &SideSets, sets: &mut Sets) -> SideSlots {
        // The addresses of a service are no matter of identity.
        let service = entity.service.as_ref().map(SetId::of_service_addresses);
        let is_service = |id: &&SetId| Some(*id) == service.as_ref();
        let service_addresses = ids.included.iter().find(is_service).map(|id| sets.slot(id));
        let mut slots = |ids: &[SetId]| ids.iter().map(|id| sets.slot(id)).collect();
        SideSlots {
            excluded: slots(&ids.excluded),
            named_ports: slots(&ids.named_ports),
            not_named_ports: slots(&ids.not_named_ports),
            services: slots(&ids.services),
            service_addresses,
            included: {
                let identity = ids.included.iter().filter(|id| !is_service(id));
                identity.map(|id| sets.slot(id)).collect()
            },
        }
    }

    fn has_identity(&self) -> bool {
        !self.included.is_empty() || !self.excluded.is_empty()
    }
}

/// A rule with its sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompiledRule<'s> {
    pub(super) rule: &'s Rule,
    pub(super) slots: &'s RuleSlots,
}

impl CompiledRule<'_> {
    /// Whether all criteria hold.
    pub(super) fn matches(&self, seen: &Seen<'_>) -> Tri {
        let mut result = Tri::True;
        for criterion in Criterion::ALL {
            result = result & self.holds(criterion, seen);
            if result == Tri::False {
                break;
            }
        }
        result
    }

    /// Whether it would allow if its path criterion could be answered.
    pub(super) fn lacks_only_path(&self, seen: &Seen<'_>) -> bool {
        self.rule.action == Action::Allow
            && Criterion::ALL.into_iter().all(|criterion| {
                let wanted = if criterion == Criterion::Path { Tri::Unknown } else { Tri::True };
                self.holds(criterion, seen) == wanted
            })
    }

    /// Whether one group of criteria holds; a group without criteria does.
    pub(super) fn holds(&self, criterion: Criterion, seen: &Seen<'_>) -> Tri {
        let rule = self.rule;
        match criterion {
            Criterion::IpVersion => rule.ip_version.map_or(Tri::True, |v| seen.ip_version(v)),
            Criterion::Protocol => {
                let is = rule.protocol.map_or(Tri::True, |p| seen.protocol(p));
                let is_not = rule.not_protocol.map_or(Tri::False, |p| seen.protocol(p));
                is & !is_not
            }
            Criterion::Icmp => {
                let is = rule.icmp.map_or(Tri::True, |icmp| seen.icmp(&icmp));
                let is_not = rule.not_icmp.map_or(Tri::False, |icmp| seen.icmp(&icmp));
                is & !is_not
            }
            Criterion::Service(side) => self.service(side, seen),
            Criterion::Ports(side) => self.ports(side, seen),
            Criterion::Nets(side) => nets(rule.side(side), side, seen),
            Criterion::Peers(side) => self.peers(side, seen),
            Criterion::Http => rule.http.as_ref().map_or(Tri::True, |_| seen.http()),
            Criterion::Method => rule
                .http
                .as_ref()
                .map_or(Tri::True, |http| any_or_all(&http.methods, |method| seen.method(method))),
            Criterion::Path => rule
                .http
                .as_ref()
                .map_or(Tri::True, |http| any_or_all(&http.paths, |path| seen.path(path))),
        }
    }

    fn service(&self, side: Side, seen: &Seen<'_>) -> Tri {
        let slots = self.slots.side(side);
        let address = slots.service_addresses.map(|slot| seen.service_address(side, slot));
        let served = slots.services.iter().map(|slot| seen.service(side, *slot));
        served.fold(address.unwrap_or(Tri::True), |all, one| all & one)
    }

    fn ports(&self, side: Side, seen: &Seen<'_>) -> Tri {
        let (entity, slots) = (self.rule.side(side), self.slots.side(side));
        let any = |ports: &[PortMatch], named: &[Slot]| {
            let ranges = ports.iter().filter_map(|port| match port {
                PortMatch::Range(first, last) => Some(seen.port(side, *first, *last)),
                PortMatch::Named(_) => None,
            });
            Tri::any(ranges.chain(named.iter().map(|slot| seen.named_port(side, *slot))))
        };
        let is = match entity.ports.is_empty() && slots.named_ports.is_empty() {
            true => Tri::True,
            false => any(&entity.ports, &slots.named_ports),
        };
        is & !any(&entity.not_ports, &slots.not_named_ports)
    }

    fn peers(&self, side: Side, seen: &Seen<'_>) -> Tri {
        let (entity, slots) = (self.rule.side(side), self.slots.side(side));
        if entity.peers.is_none() && !slots.has_identity() {
            return Tri::True;
        }
        seen.peers(side, entity.peers.as_ref(), slots)
    }
}

fn nets(entity: &EntityMatch, side: Side, seen: &Seen<'_>) -> Tri {
    let is = |net: &ipnet::IpNet| seen.net(side, net);
    any_or_all(&entity.nets, is) & !Tri::any(entity.not_nets.iter().map(is))
}

/// Any of the list; an empty list is no criterion.
fn any_or_all<T>(list: &[T], is: impl Fn(&T) -> Tri) -> Tri {
    if list.is_empty() { Tri::True } else { Tri::any(list.iter().map(is)) }
}
