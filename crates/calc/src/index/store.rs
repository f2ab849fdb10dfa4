//! Who has which labels: holders with labels of their own, and parents whose labels they inherit
//! without a copy.

use hashbrown::HashMap;
use slab::Slab;

use super::ids::IdSet;
use crate::intern::{Atom, Interner};

/// A label with its value.
pub(crate) type Pair = (Atom, Atom);

/// Everything that has labels, and who has a given one.
pub(crate) struct Store<T, P> {
    /// The texts of labels and values.
    pub(crate) texts: Interner,
    holders: Slab<Holder<T>>,
    parents: Slab<Parent<P>>,
    keys: HashMap<Atom, Key>,
    /// Labels added since the last [`Store::take_growth`].
    growth: usize,
}

/// Something with labels.
pub(crate) struct Holder<T> {
    /// Its own labels, by key.
    own: Box<[Pair]>,
    /// Whose labels it inherits; the first wins, and its own win over all.
    parents: Box<[u32]>,
    /// What it is.
    pub(crate) what: T,
}

/// Something whose labels others inherit.
pub(crate) struct Parent<P> {
    labels: Box<[Pair]>,
    children: IdSet,
    /// What it is.
    pub(crate) what: P,
}

/// Who has a label.
#[derive(Default)]
struct Key {
    /// By value, as a label of their own.
    holders: HashMap<Atom, IdSet>,
    /// How many these are.
    held: usize,
    /// By value, for their children.
    parents: HashMap<Atom, IdSet>,
}

impl<T, P> Default for Store<T, P> {
    fn default() -> Self {
        Store {
            texts: Interner::default(),
            holders: Slab::new(),
            parents: Slab::new(),
            keys: HashMap::new(),
            growth: 0,
        }
    }
}

impl<T> Holder<T> {
    pub(crate) fn own(&self) -> &[Pair] {
        &self.own
    }

    pub(crate) fn parents(&self) -> &[u32] {
        &self.parents
    }
}

/// The value of a label in a list by key.
fn find(labels: &[Pair], key: Atom) -> Option<Atom> {
    labels.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
}

impl<T, P> Store<T, P> {
    /// Adds a holder, and returns its id.
    pub(crate) fn insert(&mut self, own: Box<[Pair]>, parents: Box<[u32]>, what: T) -> u32 {
        let id = u32::try_from(self.holders.vacant_key()).unwrap_or(u32::MAX);
        self.post(id, &own, &parents);
        self.holders.insert(Holder { own, parents, what });
        id
    }

    /// Gives a holder other labels and parents. Returns the bits of the labels that are other than
    /// before.
    pub(crate) fn relabel(&mut self, id: u32, own: Box<[Pair]>, parents: Box<[u32]>) -> u64 {
        let Some(holder) = self.holders.get_mut(id as usize) else { return 0 };
        let mut changed = difference(&holder.own, &own);
        let own = std::mem::replace(&mut holder.own, own);
        let parents = std::mem::replace(&mut holder.parents, parents);
        if holder.parents != parents {
            let both = parents.iter().chain(&holder.parents);
            let both = both.filter_map(|parent| self.parents.get(*parent as usize));
            let labels = both.flat_map(|parent| parent.labels.iter());
            changed |= labels.fold(0, |bits, (key, _)| bits | key.bit());
        } else if changed == 0 {
            return 0;
        }
        let (new, new_parents) = (holder.own.clone(), holder.parents.clone());
        self.unpost(id, &own, &parents);
        self.post(id, &new, &new_parents);
        changed
    }

    /// Removes a holder.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Holder<T>> {
        let holder = self.holders.try_remove(id as usize)?;
        self.unpost(id, &holder.own, &holder.parents);
        Some(holder)
    }

    /// Adds a parent without labels, and returns its id.
    pub(crate) fn insert_parent(&mut self, what: P) -> u32 {
        let parent = Parent { labels: Box::default(), children: IdSet::None, what };
        u32::try_from(self.parents.insert(parent)).unwrap_or(u32::MAX)
    }

    /// Gives a parent other labels. Returns the bits of those that are other than before.
    pub(crate) fn relabel_parent(&mut self, id: u32, labels: Box<[Pair]>) -> u64 {
        let Some(parent) = self.parents.get_mut(id as usize) else { return 0 };
        let changed = difference(&parent.labels, &labels);
        for (key, value) in std::mem::replace(&mut parent.labels, labels.clone()) {
            if let Some(entry) = self.keys.get_mut(&key) {
                drop_id(&mut entry.parents, value, id);
            }
        }
        for (key, value) in labels {
            self.keys.entry(key).or_default().parents.entry(value).or_default().insert(id);
        }
        self.growth += 1;
        changed
    }

    /// Removes a parent that nobody has any more.
    pub(crate) fn remove_parent(&mut self, id: u32) {
        self.relabel_parent(id, Box::default());
        self.parents.try_remove(id as usize);
    }

    pub(crate) fn parent(&self, id: u32) -> Option<&Parent<P>> {
        self.parents.get(id as usize)
    }

    pub(crate) fn parent_mut(&mut self, id: u32) -> Option<&mut P> {
        self.parents.get_mut(id as usize).map(|parent| &mut parent.what)
    }

    pub(crate) fn parent_labels(&self, id: u32) -> &[Pair] {
        self.parents.get(id as usize).map(|p| &*p.labels).unwrap_or_default()
    }

    /// Who has a parent, in order.
    pub(crate) fn children(&self, id: u32) -> impl Iterator<Item = u32> + '_ {
        self.parents.get(id as usize).into_iter().flat_map(|p| p.children.iter())
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Holder<T>> {
        self.holders.get(id as usize)
    }

    /// Puts another thing in a holder's place, with the same labels. Returns what was there.
    pub(crate) fn replace(&mut self, id: u32, what: T) -> Option<T> {
        self.holders.get_mut(id as usize).map(|holder| std::mem::replace(&mut holder.what, what))
    }

    /// All holders, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Holder<T>)> {
        self.holders.iter().map(|(id, holder)| (u32::try_from(id).unwrap_or(u32::MAX), holder))
    }

    /// The value of a label of a holder, inherited ones included.
    pub(crate) fn value(&self, holder: &Holder<T>, key: Atom) -> Option<Atom> {
        let inherited = || holder.parents.iter().find_map(|p| find(self.parent_labels(*p), key));
        find(&holder.own, key).or_else(inherited)
    }

    /// All labels a holder has by itself or by a parent; some may be hidden by others of their key.
    pub(crate) fn pairs<'s>(&'s self, holder: &'s Holder<T>) -> impl Iterator<Item = Pair> + 's {
        let inherited = holder.parents.iter().flat_map(|p| self.parent_labels(*p));
        holder.own.iter().chain(inherited).copied()
    }

    /// How many holders may have one of the values of a label, or any where none is given; not
    /// counted further than `most`.
    pub(crate) fn count(&self, key: Atom, values: Option<&[Atom]>, most: usize) -> usize {
        let Some(entry) = self.keys.get(&key) else { return 0 };
        let mut count = match values {
            None => entry.held,
            Some(values) => {
                values.iter().filter_map(|v| entry.holders.get(v)).map(IdSet::len).sum()
            }
        };
        let mut inherited = |parents: &IdSet| {
            for parent in parents.iter() {
                if count >= most {
                    break;
                }
                // A parent without children costs a step, too.
                count += 1 + self.parents.get(parent as usize).map_or(0, |p| p.children.len());
            }
        };
        match values {
            None => entry.parents.values().for_each(&mut inherited),
            Some(values) => {
                values.iter().filter_map(|v| entry.parents.get(v)).for_each(&mut inherited);
            }
        }
        count
    }

    /// Calls `visit` with the holders that may have one of the values of a label, or any where none
    /// is given; with some more than once.
    pub(crate) fn having(&self, key: Atom, values: Option<&[Atom]>, visit: &mut dyn FnMut(u32)) {
        let Some(entry) = self.keys.get(&key) else { return };
        let mut all = |holders: &IdSet, parents: &IdSet| {
            holders.iter().for_each(&mut *visit);
            parents.iter().flat_map(|p| self.children(p)).for_each(&mut *visit);
        };
        let none = IdSet::None;
        match values {
            Some(values) => values.iter().for_each(|v| {
                all(entry.holders.get(v).unwrap_or(&none), entry.parents.get(v).unwrap_or(&none));
            }),
            None => {
                entry.holders.values().for_each(|holders| all(holders, &none));
                entry.parents.values().for_each(|parents| all(&none, parents));
            }
        }
    }

    /// How many labels were added since the last call, if these are so many that what was chosen by
    /// their number should be chosen anew.
    pub(crate) fn take_growth(&mut self) -> bool {
        let much = self.growth > 1024.max(self.holders.len());
        if much {
            self.growth = 0;
        }
        much
    }

    /// Forgets texts that are in use neither in labels nor, as `of` says, in what has them, nor, as
    /// `mark` says, elsewhere.
    pub(crate) fn sweep(
        &mut self,
        of: impl Fn(&T, &mut dyn FnMut(Atom)),
        mark: impl FnOnce(&mut dyn FnMut(Atom)),
    ) {
        let (holders, parents) = (&self.holders, &self.parents);
        self.texts.sweep(|used| {
            let own = holders.iter().flat_map(|(_, holder)| holder.own.iter());
            let inherited = parents.iter().flat_map(|(_, parent)| parent.labels.iter());
            for (key, value) in own.chain(inherited) {
                used(*key);
                used(*value);
            }
            holders.iter().for_each(|(_, holder)| of(&holder.what, used));
            mark(used);
        });
    }

    fn post(&mut self, id: u32, own: &[Pair], parents: &[u32]) {
        for (key, value) in own {
            let entry = self.keys.entry(*key).or_default();
            if entry.holders.entry(*value).or_default().insert(id) {
                entry.held += 1;
            }
        }
        for parent in parents {
            if let Some(parent) = self.parents.get_mut(*parent as usize) {
                parent.children.insert(id);
            }
        }
        self.growth += 1;
    }

    fn unpost(&mut self, id: u32, own: &[Pair], parents: &[u32]) {
        for (key, value) in own {
            let Some(entry) = self.keys.get_mut(key) else { continue };
            if drop_id(&mut entry.holders, *value, id) {
                entry.held = entry.held.saturating_sub(1);
            }
            if entry.holders.is_empty() && entry.parents.is_empty() {
                self.keys.remove(key);
            }
        }
        for parent in parents {
            if let Some(parent) = self.parents.get_mut(*parent as usize) {
                parent.children.remove(id);
            }
        }
    }
}

fn drop_id(lists: &mut HashMap<Atom, IdSet>, value: Atom, id: u32) -> bool {
    let Some(ids) = lists.get_mut(&value) else { return false };
    let was = ids.remove(id);
    if ids.is_empty() {
        lists.remove(&value);
    }
    was
}

/// The bits of labels that are in one list only, or have another value in the other.
fn difference(old: &[Pair], new: &[Pair]) -> u64 {
    let only = |list: &[Pair], other: &[Pair]| {
        let found = list.iter().filter(|pair| !other.contains(pair));
        found.fold(0, |bits, (key, _)| bits | key.bit())
    };
    only(old, new) | only(new, old)
}
