//! IP sets turned around: from an address to the sets that hold it.
//!
//! Sets have slots, small numbers by which compiled rules name them. A slot stays with its set's id
//! from one snapshot to the next, whether the set is there or not, so that compiled rules can be
//! kept.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tortie_policy::Protocol;

use super::nested::{Lists, Nested};
use crate::{ByAddress, IpSet, Member, SetId, State};

/// Number of a set.
pub(super) type Slot = u32;

/// All sets of a state.
#[derive(Debug, Clone, Default)]
pub(super) struct Sets {
    numbers: Arc<HashMap<SetId, Slot>>,
    table: Vec<Entry>,
    /// Sets of single addresses: nearly all members are.
    hosts: ByAddress<Few>,
    nets: Arc<Nets>,
    ports: ByAddress<Arc<[PortMember]>>,
    /// Slots of sets of which an address that is not a member may be one all the same: they are not
    /// there, or some of their members could not be read.
    open: Arc<[Slot]>,
}

/// One slot.
#[derive(Debug, Clone)]
struct Entry {
    set: Option<Arc<IpSet>>,
    /// Members that are nets.
    nets: Arc<[IpNet]>,
}

/// Nets of sets, by family.
#[derive(Debug, Default)]
struct Nets {
    v4: Nested<u32>,
    v6: Nested<u128>,
}

/// A port of an address, in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortMember {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) slot: Slot,
}

/// A short list of slots, ascending.
#[derive(Debug, Clone)]
enum Few {
    One(Slot),
    Many(Box<[Slot]>),
}

impl Default for Few {
    fn default() -> Self {
        Few::Many(Box::default())
    }
}

impl Few {
    fn as_slice(&self) -> &[Slot] {
        match self {
            Few::One(slot) => std::slice::from_ref(slot),
            Few::Many(slots) => slots,
        }
    }

    /// The list with a slot put in or taken out.
    fn with(&self, slot: Slot, member: bool) -> Few {
        let mut slots = self.as_slice().to_vec();
        match (slots.binary_search(&slot), member) {
            (Err(at), true) => slots.insert(at, slot),
            (Ok(at), false) => drop(slots.remove(at)),
            (Ok(_), true) | (Err(_), false) => {}
        }
        match slots.as_slice() {
            [one] => Few::One(*one),
            _ => Few::Many(slots.into()),
        }
    }
}

/// The sets that hold an address.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found<'s> {
    hosts: &'s [Slot],
    nets: Lists<'s>,
    /// Its ports in sets of addresses with ports.
    pub(super) ports: &'s [PortMember],
}

impl<'s> Found<'s> {
    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.lists().any(|slots| slots.binary_search(&slot).is_ok())
    }

    /// The slots, in lists that are ascending each.
    pub(super) fn lists(&self) -> impl Iterator<Item = &'s [Slot]> + use<'s> {
        std::iter::once(self.hosts).chain(self.nets)
    }
}

impl Sets {
    pub(super) fn find(&self, address: IpAddr) -> Found<'_> {
        Found {
            hosts: self.hosts.get(&address).map(Few::as_slice).unwrap_or_default(),
            nets: match address {
                IpAddr::V4(v4) => self.nets.v4.lists(v4.to_bits()),
                IpAddr::V6(v6) => self.nets.v6.lists(v6.to_bits()),
            },
            ports: self.ports.get(&address).map(|ports| &**ports).unwrap_or_default(),
        }
    }

    /// The set of a slot, if it is there.
    pub(super) fn get(&self, slot: Slot) -> Option<&IpSet> {
        self.table.get(slot as usize)?.set.as_deref()
    }

    /// Slots that may hold any address; see [`Sets::open`].
    pub(super) fn open(&self) -> &[Slot] {
        &self.open
    }

    /// The slot of a set, which need not be there.
    pub(super) fn slot(&mut self, id: &SetId) -> Slot {
        if let Some(slot) = self.numbers.get(id) {
            return *slot;
        }
        let slot = Slot::try_from(self.table.len()).unwrap_or(Slot::MAX);
        Arc::make_mut(&mut self.numbers).insert(id.clone(), slot);
        self.table.push(Entry { set: None, nets: Arc::default() });
        slot
    }

    /// Whether most slots are those of sets that are gone.
    pub(super) fn is_worn(&self, state: &State) -> bool {
        self.table.len() > 2 * state.sets.len() + 1024
    }

    /// Takes over the sets of a state; those that are the same as before cost next to nothing.
    pub(super) fn update(&mut self, state: &State) {
        let gone: Vec<Slot> = self
            .numbers
            .iter()
            .filter(|(id, _)| !state.sets.contains_key(*id))
            .map(|(_, slot)| *slot)
            .collect();
        let mut nets_changed = false;
        for slot in gone {
            nets_changed |= self.replace(slot, None);
        }
        for (id, set) in &state.sets {
            let slot = self.slot(id);
            nets_changed |= self.replace(slot, Some(set));
        }
        if nets_changed {
            self.nets = Arc::new(self.all_nets());
        }
    }

    /// Notes which sets are open, once all slots are given out.
    pub(super) fn close(&mut self) {
        let open = |entry: &Entry| entry.set.as_ref().is_none_or(|set| set.incomplete);
        let slots = self.table.iter().zip(0..).filter(|(entry, _)| open(entry));
        self.open = slots.map(|(_, slot)| slot).collect();
    }

    /// Puts another set into a slot, and says whether it has or had nets.
    fn replace(&mut self, slot: Slot, new: Option<&Arc<IpSet>>) -> bool {
        let Some(entry) = self.table.get_mut(slot as usize) else { return false };
        let old = entry.set.take();
        entry.set = new.cloned();
        match (&old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => return false,
            (None, None) => return false,
            _ => {}
        }
        let new_nets: Arc<[IpNet]> = new.map(|new| nets(new)).unwrap_or_default();
        let nets_changed = entry.nets != new_nets;
        entry.nets = new_nets;
        let is_in = |set: Option<&Arc<IpSet>>, member: &Member| {
            set.is_some_and(|set| set.members.contains(member))
        };
        for member in old.iter().flat_map(|old| &old.members).filter(|m| !is_in(new, m)) {
            self.change(slot, member, false);
        }
        for member in new.iter().flat_map(|new| &new.members).filter(|m| !is_in(old.as_ref(), m)) {
            self.change(slot, member, true);
        }
        nets_changed
    }

    fn change(&mut self, slot: Slot, member: &Member, is_member: bool) {
        match *member {
            Member::Net(net) if !is_host(&net) => {}
            Member::Net(net) => self.hosts.change(net.addr().to_canonical(), |few| {
                *few = few.with(slot, is_member);
                !few.as_slice().is_empty()
            }),
            Member::AddressPort(address, protocol, port) => {
                let member = PortMember { protocol, port, slot };
                self.ports.change(address.to_canonical(), |ports| {
                    let others = ports.iter().copied().filter(|other| *other != member);
                    *ports = others.chain(is_member.then_some(member)).collect();
                    !ports.is_empty()
                });
            }
        }
    }

    fn all_nets(&self) -> Nets {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (entry, slot) in self.table.iter().zip(0..) {
            for net in entry.nets.iter() {
                match net {
                    IpNet::V4(n) => v4.push((n.network().to_bits(), n.broadcast().to_bits(), slot)),
                    IpNet::V6(n) => v6.push((n.network().to_bits(), n.broadcast().to_bits(), slot)),
                }
            }
        }
        Nets { v4: Nested::new(v4), v6: Nested::new(v6) }
    }
}

fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// The members of a set that are nets, in order.
fn nets(set: &IpSet) -> Arc<[IpNet]> {
    let nets = set.members.iter().filter_map(|member| match member {
        Member::Net(net) if !is_host(net) => Some(*net),
        Member::Net(_) | Member::AddressPort(..) => None,
    });
    let mut nets: Vec<IpNet> = nets.collect();
    nets.sort_unstable();
    nets.into()
}
