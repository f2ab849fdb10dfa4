//! The IP sets that active rules name, and their members.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use slab::Slab;
use smol_str::SmolStr;
use tortie_policy::Backend;

use crate::definition::Definition;
use crate::index::{IdSet, Matcher, Store};
use crate::intern::Atom;
use crate::members::Members;
use crate::services::Services;
use crate::what::What;
use crate::world::{Change, Family, World, bits};
use crate::{Member, SetId, Update};

/// The sets that active rules name.
#[derive(Default)]
pub(crate) struct Sets {
    sets: Slab<Set>,
    by_id: HashMap<SetId, u32>,
    matcher: Matcher,
    /// The sets of each selector: several if it is written in several ways.
    by_selector: HashMap<u32, Vec<u32>>,
    by_port: HashMap<SmolStr, u32>,
    /// Who declares a port of a name.
    declaring: HashMap<SmolStr, IdSet>,
    /// The selectors that match each holder, in order.
    matched: Vec<Box<[u32]>>,
    pub(crate) services: Services,
    /// Sets whose members, or whose being needed, may have changed.
    touched: BTreeSet<u32>,
}

struct Set {
    id: SetId,
    definition: Definition,
    /// How many rules name it.
    references: usize,
    members: Members,
    /// How many it holds of which something could not be read.
    incomplete: usize,
    selector: Option<u32>,
    /// Whether it was told, and whether as incomplete.
    told: Option<bool>,
}

type Holders = Store<What, Family>;

impl Sets {
    // === who is in ===

    /// Takes in that somebody with labels has changed.
    pub(crate) fn change(&mut self, change: &Change, store: &Holders) {
        let (id, was) = match change {
            Change::New(id) => (*id, None),
            Change::Inherited(id, _) => (*id, store.get(*id).map(|holder| &holder.what)),
            Change::Changed(id, was, _) | Change::Gone(id, was) => (*id, Some(was)),
            Change::Family(..) => return,
        };
        let holder = match change {
            Change::Gone(..) => None,
            _ => store.get(id),
        };
        let old = std::mem::take(self.matched_mut(id));
        let new = match holder {
            Some(holder) => self.matcher.selectors(holder, store, &old, bits(change)),
            None => Vec::new(),
        };
        let is = holder.map(|holder| &holder.what);
        self.move_members(&old, &new, was, is);
        if !matches!(change, Change::Inherited(..)) {
            self.move_ports(id, was, is);
        }
        for what in was.iter().chain(&is) {
            if let What::Workload(workload) = what {
                self.services.workload_changed(&workload.id.namespace);
            }
        }
        *self.matched_mut(id) = new.into();
    }

    fn matched_mut(&mut self, id: u32) -> &mut Box<[u32]> {
        let index = id as usize;
        if self.matched.len() <= index {
            self.matched.resize(index + 1, Box::default());
        }
        #[expect(clippy::indexing_slicing, reason = "there are more entries than that")]
        &mut self.matched[index]
    }

    /// Somebody leaves the sets of some selectors and joins those of others.
    fn move_members(&mut self, old: &[u32], new: &[u32], was: Option<&What>, is: Option<&What>) {
        let same = match (was, is) {
            (Some(was), Some(is)) => {
                was.is_incomplete() == is.is_incomplete() && was.members().eq(is.members())
            }
            _ => false,
        };
        for selector in old.iter().filter(|s| !same || new.binary_search(s).is_err()) {
            was.into_iter().for_each(|was| self.each_set(*selector, |set| set.leave(was)));
        }
        for selector in new.iter().filter(|s| !same || old.binary_search(s).is_err()) {
            is.into_iter().for_each(|is| self.each_set(*selector, |set| set.join(is)));
        }
    }

    fn each_set(&mut self, selector: u32, change: impl Fn(&mut Set)) {
        for id in self.by_selector.get(&selector).into_iter().flatten() {
            self.touched.insert(*id);
            self.sets.get_mut(*id as usize).into_iter().for_each(&change);
        }
    }

    fn move_ports(&mut self, id: u32, was: Option<&What>, is: Option<&What>) {
        let ports = |what: Option<&What>| what.map(|w| w.ports()).unwrap_or_default().1.to_vec();
        let (old, new) = (ports(was), ports(is));
        let names: BTreeSet<&SmolStr> = old.iter().chain(&new).map(|port| &port.name).collect();
        for name in names {
            let declares = new.iter().any(|port| port.name == *name);
            let declaring = self.declaring.entry(name.clone()).or_default();
            let _ = if declares { declaring.insert(id) } else { declaring.remove(id) };
            if declaring.is_empty() {
                self.declaring.remove(name);
            }
            let Some(set) = self.by_port.get(name) else { continue };
            self.touched.insert(*set);
            let Some(set) = self.sets.get_mut(*set as usize) else { continue };
            for member in is.into_iter().flat_map(|what| what.members_with_port(name)) {
                set.members.add(member);
            }
            for member in was.into_iter().flat_map(|what| what.members_with_port(name)) {
                set.members.remove(member);
            }
        }
    }

    /// Works out anew what is behind services that may have changed.
    pub(crate) fn settle_services(
        &mut self,
        world: &World,
        node: impl Fn(&str) -> Vec<std::net::IpAddr>,
    ) {
        for service in self.services.take_touched() {
            let backends = self.services.backends(&service, world, &node);
            let addresses = Definition::ServiceAddresses(service.clone()).id();
            self.replace(&addresses, backends.iter().map(|b| Member::address(b.address)));
            self.replace(&Definition::Service(service).id(), backends.iter().filter_map(served));
        }
    }

    fn replace(&mut self, id: &SetId, members: impl Iterator<Item = Member>) {
        let Some(id) = self.by_id.get(id) else { return };
        self.touched.insert(*id);
        if let Some(set) = self.sets.get_mut(*id as usize) {
            set.members.replace(members);
        }
    }

    // === which sets ===

    /// One more rule names a set. Returns its number.
    pub(crate) fn acquire(&mut self, definition: Definition, store: &mut Holders) -> u32 {
        let id = definition.id();
        if let Some(number) = self.by_id.get(&id).copied() {
            self.touched.insert(number);
            if let Some(set) = self.sets.get_mut(number as usize) {
                set.references += 1;
            }
            return number;
        }
        let number = u32::try_from(self.sets.vacant_key()).unwrap_or(u32::MAX);
        let set = self.fill(number, definition, store);
        self.by_id.insert(id, number);
        self.sets.insert(set);
        self.touched.insert(number);
        number
    }

    fn fill(&mut self, number: u32, definition: Definition, store: &mut Holders) -> Set {
        let mut set = Set {
            id: definition.id(),
            definition,
            references: 1,
            members: Members::default(),
            incomplete: 0,
            selector: None,
            told: None,
        };
        match &set.definition {
            Definition::Selector(selector) => {
                let (selector, _) = self.matcher.watch(selector, store);
                set.selector = Some(selector);
                self.by_selector.entry(selector).or_default().push(number);
                for id in self.matcher.holders(selector, store, None) {
                    self.note_match(id, selector);
                    if let Some(holder) = store.get(id) {
                        set.join(&holder.what);
                    }
                }
            }
            Definition::Port(name) => {
                self.by_port.insert(name.clone(), number);
                let declaring = self.declaring.get(name).into_iter().flat_map(IdSet::iter);
                for holder in declaring.filter_map(|id| store.get(id)) {
                    holder.what.members_with_port(name).for_each(|member| set.members.add(member));
                }
            }
            Definition::ServiceAddresses(service) | Definition::Service(service) => {
                self.services.employ(service);
            }
        }
        set
    }

    fn note_match(&mut self, id: u32, selector: u32) {
        let matched = self.matched_mut(id);
        let mut list = std::mem::take(matched).into_vec();
        if let Err(place) = list.binary_search(&selector) {
            list.insert(place, selector);
        }
        *self.matched_mut(id) = list.into();
    }

    /// One rule less names a set.
    pub(crate) fn release(&mut self, number: u32) {
        if let Some(set) = self.sets.get_mut(number as usize) {
            set.references -= 1;
            self.touched.insert(number);
        }
    }

    fn forget(&mut self, number: u32, store: &Holders) -> Option<SetId> {
        let set = self.sets.try_remove(number as usize)?;
        self.by_id.remove(&set.id);
        match &set.definition {
            Definition::Selector(_) => self.forget_selector(number, set.selector?, store),
            Definition::Port(name) => drop(self.by_port.remove(name)),
            Definition::ServiceAddresses(service) | Definition::Service(service) => {
                self.services.dismiss(service);
            }
        }
        set.told.map(|_| set.id)
    }

    fn forget_selector(&mut self, number: u32, selector: u32, store: &Holders) {
        let sets = self.by_selector.entry(selector).or_default();
        sets.retain(|other| *other != number);
        if !sets.is_empty() {
            return;
        }
        self.by_selector.remove(&selector);
        for id in self.matcher.holders(selector, store, None) {
            let matched = self.matched_mut(id);
            *matched = matched.iter().copied().filter(|other| *other != selector).collect();
        }
        self.matcher.unwatch(selector);
    }

    // === what to tell ===

    /// Tells of sets that are new, and then of members that came and went.
    pub(crate) fn tell(&mut self, out: &mut Vec<Update>) {
        let mut touched: Vec<(SetId, u32)> = self
            .touched
            .iter()
            .filter_map(|number| Some((self.sets.get(*number as usize)?.id.clone(), *number)))
            .collect();
        touched.sort_unstable();
        let mut deltas = Vec::new();
        for (_, number) in &touched {
            let Some(set) = self.sets.get_mut(*number as usize) else { continue };
            if set.references > 0 {
                set.tell(out, &mut deltas);
            }
        }
        out.append(&mut deltas);
    }

    /// Tells of sets that no rule names any more.
    pub(crate) fn tell_removals(&mut self, store: &Holders, out: &mut Vec<Update>) {
        let mut gone = Vec::new();
        for number in std::mem::take(&mut self.touched) {
            let unused = self.sets.get(number as usize).is_some_and(|set| set.references == 0);
            if unused {
                gone.extend(self.forget(number, store));
            }
        }
        gone.sort_unstable();
        out.extend(gone.into_iter().map(Update::IpSetRemove));
    }

    /// Files selectors anew: the numbers of who has a label have changed much.
    pub(crate) fn refile(&mut self, store: &Holders) {
        self.matcher.refile(store);
    }

    /// Calls `visit` with each text that is in use here.
    pub(crate) fn for_each_atom(&self, visit: &mut dyn FnMut(Atom)) {
        self.matcher.for_each_atom(visit);
    }
}

impl Set {
    fn join(&mut self, what: &What) {
        what.members().for_each(|member| self.members.add(member));
        self.incomplete += usize::from(what.is_incomplete());
    }

    fn leave(&mut self, what: &What) {
        what.members().for_each(|member| self.members.remove(member));
        self.incomplete -= usize::from(what.is_incomplete());
    }

    fn tell(&mut self, new: &mut Vec<Update>, deltas: &mut Vec<Update>) {
        let incomplete = self.incomplete > 0;
        match self.told {
            None => {
                let (kind, members) = (self.definition.kind(), self.members.tell());
                new.push(Update::IpSet { id: self.id.clone(), kind, members });
                if incomplete {
                    new.push(Update::IpSetIncomplete(self.id.clone(), true));
                }
            }
            Some(was) => {
                let (added, removed) = self.members.changes();
                if !added.is_empty() || !removed.is_empty() {
                    deltas.push(Update::IpSetDelta { id: self.id.clone(), added, removed });
                }
                if was != incomplete {
                    deltas.push(Update::IpSetIncomplete(self.id.clone(), incomplete));
                }
            }
        }
        self.told = Some(incomplete);
    }
}

fn served(backend: &Backend) -> Option<Member> {
    let (protocol, port) = backend.port?;
    Some(Member::AddressPort(backend.address, protocol, port))
}
