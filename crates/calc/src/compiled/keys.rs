//! Under which of its criteria a rule stands in the index.

use std::collections::HashMap;

use ipnet::IpNet;
use tortie_policy::{Direction, PathMatch, PortMatch, Side};

use super::nested::blocks;
use super::rule::CompiledRule;
use super::sets::{Sets, Slot};

/// One thing that may be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key<'r> {
    Set(Side, Slot),
    PortSet(Side, Slot),
    Net(Side, IpNet),
    Ports(Side, u16, u16),
    /// A path, and whether it is the whole.
    Path(bool, &'r [u8]),
    Protocol(u8),
}

/// The criteria a rule could stand under: of the keys of each, one must be found if it matches.
pub(super) fn choices<'r>(rule: &CompiledRule<'r>) -> Vec<Vec<Key<'r>>> {
    let mut choices = Vec::new();
    for side in Side::BOTH {
        let (entity, slots) = (rule.rule.side(side), rule.slots.side(side));
        let sets = slots.included.iter().chain(&slots.service_addresses);
        choices.extend(sets.map(|slot| vec![Key::Set(side, *slot)]));
        choices.extend(slots.services.iter().map(|slot| vec![Key::PortSet(side, *slot)]));
        choices.push(entity.nets.iter().map(|net| Key::Net(side, net.trunc())).collect());
        let ranges = entity.ports.iter().filter_map(|port| match port {
            PortMatch::Range(first, last) => Some(blocks(*first, *last)),
            PortMatch::Named(_) => None,
        });
        let ports = ranges.flatten().map(|(first, last)| Key::Ports(side, first, last));
        let named = slots.named_ports.iter().map(|slot| Key::PortSet(side, *slot));
        choices.push(ports.chain(named).collect());
    }
    let paths = rule.rule.http.iter().flat_map(|http| &http.paths);
    choices.push(paths.map(Key::of_path).collect());
    choices.push(rule.rule.protocol.iter().map(|p| Key::Protocol(p.number())).collect());
    choices.retain(|keys| !keys.is_empty());
    choices
}

impl<'r> Key<'r> {
    fn of_path(path: &'r PathMatch) -> Key<'r> {
        match path {
            PathMatch::Exact(path) => Key::Path(true, path.as_bytes()),
            PathMatch::Prefix(path) => Key::Path(false, path.as_bytes()),
        }
    }
}

/// Chooses the criterion a rule stands under.
pub(super) struct Chooser<'k> {
    /// How many rules have a key.
    counts: HashMap<&'k Key<'k>, u64>,
    direction: Direction,
    sets: &'k Sets,
}

impl<'k> Chooser<'k> {
    /// Counts the keys of all rules.
    pub(super) fn new(
        keys: impl Iterator<Item = &'k Key<'k>>,
        direction: Direction,
        sets: &'k Sets,
    ) -> Chooser<'k> {
        let mut counts = HashMap::new();
        for key in keys {
            *counts.entry(key).or_default() += 1;
        }
        Chooser { counts, direction, sets }
    }

    /// The keys of the criterion that costs least; none if there is none.
    pub(super) fn choose<'c, 'r>(&self, choices: &'c [Vec<Key<'r>>]) -> &'c [Key<'r>] {
        let cheapest = choices.iter().min_by_key(|keys| self.cost(keys));
        cheapest.map(Vec::as_slice).unwrap_or_default()
    }

    /// How many rules are looked at because of a criterion, weighted by how often it is met.
    fn cost(&self, keys: &[Key<'_>]) -> u64 {
        keys.iter().map(|key| self.counts.get(key).unwrap_or(&1) * self.frequency(key)).sum()
    }

    /// How often traffic meets a key, as a guess.
    fn frequency(&self, key: &Key<'_>) -> u64 {
        let guess = match key {
            Key::Set(_, slot) | Key::PortSet(_, slot) => {
                let members = self.sets.get(*slot).map_or(0, |set| set.members.len());
                1 + members.min(65_536) as u64 / 64
            }
            Key::Net(_, net) => {
                let free = u32::from(net.max_prefix_len() - net.prefix_len());
                1 + (u64::from(free.min(32)).pow(2)) / 4
            }
            Key::Ports(_, first, last) => 1 + u64::from(last - first) / 4,
            Key::Path(_, path) => {
                if *path == b"/" {
                    256
                } else {
                    1
                }
            }
            Key::Protocol(_) => 1024,
        };
        guess * if self.is_local(key) { 16 } else { 1 }
    }

    /// Whether a key is about the address of the endpoint itself, which is the same in all traffic.
    fn is_local(&self, key: &Key<'_>) -> bool {
        let own = match self.direction {
            Direction::Ingress => Side::Destination,
            Direction::Egress => Side::Source,
        };
        match key {
            Key::Set(side, _) | Key::PortSet(side, _) | Key::Net(side, _) => *side == own,
            Key::Ports(..) | Key::Path(..) | Key::Protocol(_) => false,
        }
    }
}
