//! IP sets in the kernel: each becomes a few sets, by family and by what finds members fastest.
//!
//! Single addresses are in a hash set, nets in an interval set, addresses with ports in a
//! concatenated hash set. Intervals must not overlap, so of nets within each other only the widest
//! are there. The sets of a kind that has no members need not be there: only the one for IPv4, where
//! most members come and go, always is.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use smol_str::{SmolStr, format_smolstr};
use tortie_calc::{Member, SetId, SetKind as Kind};

use super::names;
use super::output::Output;
use crate::{Element, Family, SetKind};

/// The IP sets that rules name.
#[derive(Debug, Default)]
pub(super) struct IpSets {
    sets: HashMap<SetId, IpSet>,
}

/// One IP set.
#[derive(Debug)]
pub(super) struct IpSet {
    kind: Kind,
    /// What the names of its sets begin with.
    stem: SmolStr,
    /// The name of the one that is always there, which rules share.
    main: SmolStr,
    /// All its nets that are no single address, those within others included.
    nets: BTreeSet<IpNet>,
    shape: Shape,
}

/// What rules that name a set depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shape {
    /// Whether there are members that could not be read.
    incomplete: bool,
    /// Which sets there are, of those that need not be.
    parts: [bool; 3],
}

impl IpSets {
    pub(super) fn get(&self, id: &SetId) -> Option<&IpSet> {
        self.sets.get(id)
    }

    /// Makes a set of some members, or gives it other ones. Says whether rules that name it have to
    /// be written anew.
    pub(super) fn replace(
        &mut self,
        id: &SetId,
        kind: Kind,
        members: &[Member],
        output: &mut Output,
    ) -> bool {
        let same_kind = self.sets.get(id).is_some_and(|set| set.kind == kind);
        let was = same_kind.then(|| self.sets.get(id).map(|set| set.shape)).flatten();
        if !same_kind {
            self.remove(id, output);
        }
        let set = self.sets.entry(id.clone()).or_insert_with(|| IpSet::new(id, kind));
        set.shape.incomplete = false;
        let wanted: BTreeSet<Member> = members.iter().copied().collect();
        let gone: Vec<Member> =
            set.members(output).into_iter().filter(|member| !wanted.contains(member)).collect();
        output.put_set(&set.name(Family::V4, false), set.set_kind(Family::V4, false));
        wanted.into_iter().for_each(|member| set.add(member, output));
        gone.into_iter().for_each(|member| set.leave(member, output));
        set.tidy(output);
        was != Some(set.shape)
    }

    /// Members join and leave. Says whether rules that name the set have to be written anew.
    pub(super) fn change(
        &mut self,
        id: &SetId,
        added: &[Member],
        removed: &[Member],
        output: &mut Output,
    ) -> bool {
        let Some(set) = self.sets.get_mut(id) else { return false };
        let was = set.shape;
        added.iter().for_each(|member| set.add(*member, output));
        removed.iter().for_each(|member| set.leave(*member, output));
        set.tidy(output);
        was != set.shape
    }

    /// Notes whether there are members that could not be read. Says whether that is news.
    pub(super) fn mark(&mut self, id: &SetId, incomplete: bool) -> bool {
        let Some(set) = self.sets.get_mut(id) else { return false };
        std::mem::replace(&mut set.shape.incomplete, incomplete) != incomplete
    }

    /// Removes a set. Says whether it was there.
    pub(super) fn remove(&mut self, id: &SetId, output: &mut Output) -> bool {
        let Some(set) = self.sets.remove(id) else { return false };
        for family in Family::BOTH {
            for nets in [false, true] {
                output.drop_set(&set.name(family, nets));
            }
        }
        true
    }
}

impl IpSet {
    fn new(id: &SetId, kind: Kind) -> IpSet {
        let stem = names::name(&[&id.0.replacen(':', "/", 1)]);
        let main = format_smolstr!("{stem}.4");
        IpSet { kind, stem, main, nets: BTreeSet::new(), shape: Shape::default() }
    }

    /// Whether there are members that could not be read.
    pub(super) fn is_incomplete(&self) -> bool {
        self.shape.incomplete
    }

    /// Whether the members are addresses with ports.
    pub(super) fn has_ports(&self) -> bool {
        self.kind == Kind::AddressPort
    }

    /// The sets of a family that may have members.
    pub(super) fn names(&self, family: Family) -> impl Iterator<Item = SmolStr> + '_ {
        let nets = [false, true].into_iter().filter(move |nets| self.has_part(family, *nets));
        nets.map(move |nets| self.name(family, nets))
    }

    fn has_part(&self, family: Family, nets: bool) -> bool {
        let [nets_4, single_6, nets_6] = self.shape.parts;
        match (family, nets) {
            (Family::V4, false) => true,
            (Family::V4, true) => nets_4,
            (Family::V6, false) => single_6,
            (Family::V6, true) => nets_6,
        }
    }

    fn part_mut(&mut self, family: Family, nets: bool) -> Option<&mut bool> {
        let [nets_4, single_6, nets_6] = &mut self.shape.parts;
        match (family, nets) {
            (Family::V4, false) => None,
            (Family::V4, true) => Some(nets_4),
            (Family::V6, false) => Some(single_6),
            (Family::V6, true) => Some(nets_6),
        }
    }

    fn name(&self, family: Family, nets: bool) -> SmolStr {
        if (family, nets) == (Family::V4, false) {
            return self.main.clone();
        }
        let family = if family == Family::V4 { "4" } else { "6" };
        format_smolstr!("{}.{family}{}", self.stem, if nets { "n" } else { "" })
    }

    fn set_kind(&self, family: Family, nets: bool) -> SetKind {
        match (self.kind, nets) {
            (Kind::AddressPort, _) => SetKind::AddressPort(family),
            (Kind::Net, false) => SetKind::Address(family),
            (Kind::Net, true) => SetKind::Net(family),
        }
    }

    /// All members.
    fn members(&self, output: &Output) -> Vec<Member> {
        let mut members: Vec<Member> = self.nets.iter().copied().map(Member::Net).collect();
        for family in Family::BOTH {
            let single = output.ruleset().sets.get(&self.name(family, false));
            members.extend(single.iter().flat_map(|set| set.elements.iter()).filter_map(
                |e| match e {
                    Element::Net(net) => Some(Member::Net(net)),
                    Element::AddressPort(address, protocol, port) => {
                        let protocol = tortie_policy::Protocol::parse(&protocol.to_string())?;
                        Some(Member::AddressPort(address, protocol, port))
                    }
                    Element::InterfaceNet(..) | Element::Dispatch(..) => None,
                },
            ));
        }
        members
    }

    fn add(&mut self, member: Member, output: &mut Output) {
        match single(member) {
            Some((family, element)) => self.put(family, false, element, output),
            None => {
                let Member::Net(net) = member else { return };
                if self.nets.insert(net) && !self.is_covered(&net) {
                    for inner in self.widest_within(&net) {
                        self.each_half(&inner, output, IpSet::take);
                    }
                    self.each_half(&net, output, IpSet::put);
                }
            }
        }
    }

    fn leave(&mut self, member: Member, output: &mut Output) {
        match single(member) {
            Some((family, element)) => self.take(family, false, element, output),
            None => {
                let Member::Net(net) = member else { return };
                if self.nets.remove(&net) && !self.is_covered(&net) {
                    self.each_half(&net, output, IpSet::take);
                    for inner in self.widest_within(&net) {
                        self.each_half(&inner, output, IpSet::put);
                    }
                }
            }
        }
    }

    fn put(&mut self, family: Family, nets: bool, element: Element, output: &mut Output) {
        let name = self.name(family, nets);
        output.put_set(&name, self.set_kind(family, nets));
        output.add(&name, element);
        if let Some(part) = self.part_mut(family, nets) {
            *part = true;
        }
    }

    fn take(&mut self, family: Family, nets: bool, element: Element, output: &mut Output) {
        output.remove(&self.name(family, nets), element);
    }

    /// Does something with a net as an interval set takes it: one of everything does not go.
    fn each_half(
        &mut self,
        net: &IpNet,
        output: &mut Output,
        each: fn(&mut IpSet, Family, bool, Element, &mut Output),
    ) {
        for half in halves(net) {
            each(self, Family::of(net.addr()), true, Element::Net(half), output);
        }
    }

    /// Removes sets that have no members any more.
    fn tidy(&mut self, output: &mut Output) {
        for (family, nets) in [(Family::V4, true), (Family::V6, false), (Family::V6, true)] {
            let name = self.name(family, nets);
            let Some(part) = self.part_mut(family, nets).filter(|part| **part) else { continue };
            if output.len(&name) == 0 {
                *part = false;
                output.drop_set(&name);
            }
        }
    }

    /// Whether a net is within a wider one.
    fn is_covered(&self, net: &IpNet) -> bool {
        let mut around = std::iter::successors(net.supernet(), IpNet::supernet);
        around.any(|wider| self.nets.contains(&wider))
    }

    /// The nets within one that are in no other but that.
    fn widest_within(&self, net: &IpNet) -> Vec<IpNet> {
        let mut found: Vec<IpNet> = Vec::new();
        for inner in self.nets.range(*net..).skip_while(|inner| *inner == net) {
            if !net.contains(inner) {
                break;
            }
            if !found.last().is_some_and(|last| last.contains(inner)) {
                found.push(*inner);
            }
        }
        found
    }
}

/// The family and element of a member that is a single address.
fn single(member: Member) -> Option<(Family, Element)> {
    match member {
        Member::Net(net) if net.prefix_len() == net.max_prefix_len() => {
            Some((Family::of(net.addr()), Element::Net(net)))
        }
        Member::Net(_) => None,
        Member::AddressPort(address, protocol, port) => {
            Some((Family::of(address), Element::AddressPort(address, protocol.number(), port)))
        }
    }
}

/// A net; one of everything as its two halves.
fn halves(net: &IpNet) -> Vec<IpNet> {
    match (net.prefix_len(), net.subnets(1)) {
        (0, Ok(halves)) => halves.collect(),
        _ => vec![*net],
    }
}
