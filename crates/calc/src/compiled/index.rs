//! Which rules of a list can match a piece of traffic.
//!
//! Each rule stands under one of its criteria, the one that is rarest among the rules and in
//! traffic: under the sets, nets, ports or paths it asks for, in a structure that finds these from
//! the traffic's own address, port and path. A rule is found if that one criterion may hold; what
//! else it asks for is looked at then. So the index never misses a rule, and a decision costs what
//! the rules found cost, however many there are.
//!
//! A criterion about something that is not known of the traffic may hold, too. It can make no Allow
//! match, so there the other rules are found, from lists of their own.

use std::collections::HashMap;

use ipnet::IpNet;
use tortie_policy::{Action, Direction, Side, Tri};

use super::keys::{Chooser, Key, choices};
use super::nested::Nested;
use super::rule::CompiledRule;
use super::seen::Seen;
use super::sets::{Sets, Slot};

/// The rules of a list, by position, under one criterion each.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Rules without a criterion that could be looked up.
    always: Box<[u32]>,
    protocols: Keyed<u8>,
    source: SideIndex,
    destination: SideIndex,
    paths: Paths,
}

/// Rules that stand under a criterion on one side.
#[derive(Debug, Default)]
struct SideIndex {
    /// Under a set that must have the address.
    sets: Keyed<Slot>,
    /// Under sets one of which must have address and port.
    port_sets: Keyed<Slot>,
    v4: Nested<u32>,
    v6: Nested<u128>,
    ports: Nested<u16>,
    /// Those that do not allow and stand under the address.
    if_address_unknown: Box<[u32]>,
    /// Those that do not allow and stand under the port.
    if_port_unknown: Box<[u32]>,
}

/// Rules that stand under HTTP paths.
#[derive(Debug, Default)]
struct Paths {
    by_path: HashMap<Box<[u8]>, AtPath>,
    all: Box<[u32]>,
}

/// Rules that ask for one path.
#[derive(Debug, Default)]
struct AtPath {
    exact: Vec<u32>,
    prefix: Vec<u32>,
}

/// Lists under keys.
#[derive(Debug, Default)]
struct Keyed<K> {
    keys: Box<[K]>,
    /// Where each key's list ends.
    ends: Box<[u32]>,
    positions: Box<[u32]>,
}

impl<K: Ord + Copy> Keyed<K> {
    fn new(mut entries: Vec<(K, u32)>) -> Keyed<K> {
        entries.sort_unstable();
        let (mut keys, mut ends, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        for (key, position) in entries {
            if keys.last() != Some(&key) {
                keys.push(key);
                ends.push(0);
            }
            positions.push(position);
            if let Some(end) = ends.last_mut() {
                *end = u32::try_from(positions.len()).unwrap_or(u32::MAX);
            }
        }
        Keyed { keys: keys.into(), ends: ends.into(), positions: positions.into() }
    }

    fn get(&self, key: K) -> &[u32] {
        self.keys.binary_search(&key).map_or(&[], |at| self.list(at))
    }

    fn list(&self, at: usize) -> &[u32] {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end);
        self.positions.get(start..end(at)).unwrap_or_default()
    }

    /// The lists of those of some ascending keys that are there.
    fn lists(&self, keys: &[K], visit: &mut impl FnMut(&[u32])) {
        // Whichever side is shorter is looked up in the other.
        if keys.len() <= self.keys.len() {
            keys.iter().for_each(|key| visit(self.get(*key)));
        } else {
            let ours = self.keys.iter().enumerate();
            ours.filter(|(_, key)| keys.binary_search(key).is_ok())
                .for_each(|(at, _)| visit(self.list(at)));
        }
    }
}

impl Index {
    /// Indexes rules that are given with their positions, in ascending order.
    pub(super) fn new<'r>(
        rules: impl Iterator<Item = (u32, CompiledRule<'r>)>,
        always: Vec<u32>,
        direction: Direction,
        sets: &Sets,
    ) -> Index {
        let rules: Vec<_> =
            rules.map(|(at, rule)| (at, rule.rule.action, choices(&rule))).collect();
        let keys = rules.iter().flat_map(|(_, _, choices)| choices.iter().flatten());
        let chooser = Chooser::new(keys, direction, sets);
        let mut builder = Builder { always, ..Builder::default() };
        for (position, action, choices) in &rules {
            builder.add(*position, *action, chooser.choose(choices));
        }
        builder.finish()
    }

    /// The first rule before a position that a judge accepts, of those that may match.
    pub(super) fn first(
        &self,
        seen: &Seen<'_>,
        before: u32,
        judge: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut best = before;
        self.visit(seen, &mut |list| {
            let found = list.iter().take_while(|at| **at < best).find(|at| judge(**at));
            best = found.copied().unwrap_or(best);
        });
        (best < before).then_some(best)
    }

    /// Shows lists of positions, ascending each, which together hold every rule that may match.
    fn visit(&self, seen: &Seen<'_>, visit: &mut impl FnMut(&[u32])) {
        visit(&self.always);
        visit(self.protocols.get(seen.traffic.protocol.number()));
        // Few rules ask for a path and are not meant: what is found by it ends the others' search.
        self.paths.visit(seen, visit);
        self.source.visit(Side::Source, seen, visit);
        self.destination.visit(Side::Destination, seen, visit);
    }
}

impl SideIndex {
    fn visit(&self, side: Side, seen: &Seen<'_>, visit: &mut impl FnMut(&[u32])) {
        let end = seen.end(side);
        if end.ip.is_none() || end.binding.is_doubtful() {
            visit(&self.if_address_unknown);
        }
        for slots in end.found.lists() {
            self.sets.lists(slots, visit);
        }
        self.sets.lists(seen.world.sets.open(), visit);
        self.port_sets.lists(seen.world.sets.open(), visit);
        match end.ip {
            Some(std::net::IpAddr::V4(ip)) => self.v4.lists(ip.to_bits()).for_each(&mut *visit),
            Some(std::net::IpAddr::V6(ip)) => self.v6.lists(ip.to_bits()).for_each(&mut *visit),
            None => {}
        }
        let Some(port) = end.port else { return visit(&self.if_port_unknown) };
        self.ports.lists(port).for_each(&mut *visit);
        if !self.port_sets.keys.is_empty() {
            let ports = end.found.ports.iter().filter(|p| p.port == port);
            ports.for_each(|p| visit(self.port_sets.get(p.slot)));
        }
    }
}

impl Paths {
    fn visit(&self, seen: &Seen<'_>, visit: &mut impl FnMut(&[u32])) {
        if self.all.is_empty() || seen.http() == Tri::False {
            return;
        }
        let Some(path) = seen.request().and_then(|http| http.path()) else {
            return visit(&self.all);
        };
        let path = path.as_bytes();
        let mut at = |path: &[u8], whole: bool| {
            let Some(rules) = self.by_path.get(path) else { return };
            visit(&rules.prefix);
            if whole {
                visit(&rules.exact);
            }
        };
        let slashes = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > 0);
        for (end, _) in slashes {
            at(path.get(..end).unwrap_or_default(), false);
        }
        if path != b"/" {
            at(b"/", false);
        }
        at(path, true);
    }
}

/// Gathers rules under their keys.
#[derive(Default)]
struct Builder {
    always: Vec<u32>,
    protocols: Vec<(u8, u32)>,
    source: SideBuilder,
    destination: SideBuilder,
    by_path: HashMap<Box<[u8]>, AtPath>,
    with_path: Vec<u32>,
}

#[derive(Default)]
struct SideBuilder {
    sets: Vec<(Slot, u32)>,
    port_sets: Vec<(Slot, u32)>,
    v4: Vec<(u32, u32, u32)>,
    v6: Vec<(u128, u128, u32)>,
    ports: Vec<(u16, u16, u32)>,
    if_address_unknown: Vec<u32>,
    if_port_unknown: Vec<u32>,
}

impl Builder {
    fn add(&mut self, position: u32, action: Action, keys: &[Key<'_>]) {
        if keys.is_empty() {
            self.always.push(position);
        }
        for key in keys {
            match *key {
                Key::Protocol(number) => self.protocols.push((number, position)),
                Key::Path(whole, path) => self.path(whole, path, position),
                Key::Set(side, _)
                | Key::PortSet(side, _)
                | Key::Net(side, _)
                | Key::Ports(side, ..) => self.side(side).add(position, action, key),
            }
        }
    }

    fn path(&mut self, whole: bool, path: &[u8], position: u32) {
        let rules = self.by_path.entry(path.into()).or_default();
        if whole { &mut rules.exact } else { &mut rules.prefix }.push(position);
        push_once(&mut self.with_path, position);
    }

    fn side(&mut self, side: Side) -> &mut SideBuilder {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }

    fn finish(mut self) -> Index {
        self.always.sort_unstable();
        Index {
            always: self.always.into(),
            protocols: Keyed::new(self.protocols),
            source: self.source.finish(),
            destination: self.destination.finish(),
            paths: Paths { by_path: self.by_path, all: self.with_path.into() },
        }
    }
}

impl SideBuilder {
    fn add(&mut self, position: u32, action: Action, key: &Key<'_>) {
        match *key {
            Key::Set(_, slot) => self.sets.push((slot, position)),
            Key::PortSet(_, slot) => self.port_sets.push((slot, position)),
            Key::Net(_, IpNet::V4(net)) => {
                self.v4.push((net.network().to_bits(), net.broadcast().to_bits(), position));
            }
            Key::Net(_, IpNet::V6(net)) => {
                self.v6.push((net.network().to_bits(), net.broadcast().to_bits(), position));
            }
            Key::Ports(_, first, last) => self.ports.push((first, last, position)),
            Key::Path(..) | Key::Protocol(_) => {}
        }
        if action == Action::Allow {
            return;
        }
        if !matches!(key, Key::Ports(..)) {
            push_once(&mut self.if_address_unknown, position);
        }
        if matches!(key, Key::Ports(..) | Key::PortSet(..)) {
            push_once(&mut self.if_port_unknown, position);
        }
    }

    fn finish(self) -> SideIndex {
        SideIndex {
            sets: Keyed::new(self.sets),
            port_sets: Keyed::new(self.port_sets),
            v4: Nested::new(self.v4),
            v6: Nested::new(self.v6),
            ports: Nested::new(self.ports),
            if_address_unknown: self.if_address_unknown.into(),
            if_port_unknown: self.if_port_unknown.into(),
        }
    }
}

fn push_once(list: &mut Vec<u32>, position: u32) {
    if list.last() != Some(&position) {
        list.push(position);
    }
}
