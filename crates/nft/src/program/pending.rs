//! What has yet to be done, by name. The ruleset says what the named things shall be, the table what
//! they are; so changes can be put together, however many there are, before they come into force.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::{Delta, Elements, Found, Members, Ruleset};

use super::table::Table;

/// Names of what may not be what it shall be.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Chains whose rules, or whose being there, may be different.
    pub(super) chains: BTreeSet<SmolStr>,
    /// Sets, and how to go from what they are to what they shall be.
    pub(super) sets: BTreeMap<SmolStr, SetChange>,
}

/// What is to be done with a set that is there and shall be. One that is only one of both is made
/// or removed, whatever stands here.
#[derive(Debug)]
pub(super) enum SetChange {
    /// Some elements join and leave.
    Elements(Elements),
    /// Whatever is in it leaves, and all elements join.
    Refill,
    /// It is removed and made again.
    Remake,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty()
    }

    /// Adds changes that came later.
    pub(super) fn add(&mut self, delta: Delta) {
        let Delta { new_sets, elements, gone_sets, chains, gone_chains } = delta;
        self.chains.extend(chains.into_iter().chain(gone_chains));
        let gone = gone_sets.into_iter();
        self.sets.extend(gone.map(|name| (name, SetChange::Elements(Elements::default()))));
        self.sets.extend(new_sets.into_iter().map(|name| (name, SetChange::Refill)));
        for (name, later) in elements {
            match self.sets.get_mut(&name) {
                None => drop(self.sets.insert(name, SetChange::Elements(later))),
                Some(SetChange::Elements(earlier)) => merge(earlier, later),
                Some(SetChange::Refill | SetChange::Remake) => {}
            }
        }
    }

    /// What is different between what was found and what shall be. All chains are named: the rules
    /// that stay have origins, which reading does not tell.
    pub(super) fn differences(found: Option<&Found>, ruleset: &Ruleset) -> Pending {
        let mut pending = Pending::default();
        pending.chains.extend(ruleset.chains.keys().cloned());
        for (name, set) in &ruleset.sets {
            match found.and_then(|found| found.sets.get(name)) {
                Some(there)
                    if !there.strange
                        && there.kind == Some(set.kind)
                        && there.elements == set.elements => {}
                Some(there) if !there.strange => {
                    let elements = difference(&there.elements, &set.elements);
                    pending.sets.insert(name.clone(), SetChange::Elements(elements));
                }
                _ => drop(pending.sets.insert(name.clone(), SetChange::Refill)),
            }
        }
        if let Some(found) = found {
            pending.chains.extend(found.chains.keys().cloned());
            let foreign = found.sets.keys().filter(|name| !ruleset.sets.contains_key(*name));
            pending.sets.extend(foreign.map(|name| (name.clone(), SetChange::Refill)));
        }
        pending
    }

    /// Everything there is and shall be, made anew.
    pub(super) fn everything(table: &Table, ruleset: &Ruleset) -> Pending {
        let sets = table.sets.keys().chain(ruleset.sets.keys());
        Pending {
            chains: table.chains.keys().chain(ruleset.chains.keys()).cloned().collect(),
            sets: sets.map(|name| (name.clone(), SetChange::Remake)).collect(),
        }
    }

    /// Whether what is there is of the kind that it shall be: a set that is not cannot be replaced
    /// while rules refer to it, nor a base chain moved.
    pub(super) fn fits(&self, table: &Table, ruleset: &Ruleset) -> bool {
        let set = |name| match (table.sets.get(name), ruleset.sets.get(name)) {
            (Some(kind), Some(set)) => *kind == Some(set.kind),
            _ => true,
        };
        let chain = |name: &SmolStr| match (table.chains.get(name), ruleset.chains.get(name)) {
            (Some(there), Some(chain)) => there.can_be(chain),
            _ => true,
        };
        self.sets.keys().all(set) && self.chains.iter().all(chain)
    }
}

fn merge(earlier: &mut Elements, later: Elements) {
    for element in later.removed {
        if !earlier.added.remove(&element) {
            earlier.removed.insert(element);
        }
    }
    for element in later.added {
        if !earlier.removed.remove(&element) {
            earlier.added.insert(element);
        }
    }
}

fn difference(there: &Members, shall: &Members) -> Elements {
    Elements {
        added: shall.difference(there).collect(),
        removed: there.difference(shall).collect(),
    }
}
