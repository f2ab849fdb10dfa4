//! The ruleset as it grows, and what changed of it.

use std::collections::{HashMap, HashSet};

use smol_str::SmolStr;

use super::pool::Pool;
use crate::{Chain, Delta, Element, Hook, Members, Rule, Ruleset, Set, SetKind};

/// A ruleset that notes its changes in a [`Delta`].
#[derive(Debug, Default)]
pub(super) struct Output {
    ruleset: Ruleset,
    rules: Pool<Rule>,
    delta: Delta,
    /// Chains that were not there before the delta.
    born: HashSet<SmolStr>,
    /// Sets that are gone with the delta, as they were before it.
    buried: HashMap<SmolStr, Set>,
}

impl Output {
    pub(super) fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// Goes on with a delta: the one that came last, or an empty one.
    pub(super) fn begin(&mut self, delta: &mut Delta) {
        self.delta = std::mem::take(delta);
        if self.delta.is_empty() {
            self.born = HashSet::new();
            self.buried = HashMap::new();
        }
    }

    /// The changes, with those of the delta that was gone on with.
    pub(super) fn end(&mut self) -> Delta {
        std::mem::take(&mut self.delta)
    }

    /// Makes a chain, or gives it other rules.
    pub(super) fn put_chain(&mut self, name: &SmolStr, hook: Option<Hook>, rules: Vec<Rule>) {
        let mut chain = Chain { hook, rules: Vec::with_capacity(rules.len()) };
        // Collecting would go on with the room of the rules themselves.
        chain.rules.extend(rules.into_iter().map(|rule| self.rules.share(rule)));
        match self.ruleset.chains.get(name) {
            Some(old) if *old == chain => return,
            Some(_) => {}
            None if self.delta.gone_chains.remove(name) => {}
            None => drop(self.born.insert(name.clone())),
        }
        self.delta.chains.insert(name.clone());
        self.ruleset.chains.insert(name.clone(), chain);
    }

    /// Removes a chain, if it is there.
    pub(super) fn drop_chain(&mut self, name: &SmolStr) {
        if self.ruleset.chains.remove(name).is_none() {
            return;
        }
        self.delta.chains.remove(name);
        if !self.born.remove(name) {
            self.delta.gone_chains.insert(name.clone());
        }
    }

    /// Makes a set, if it is not there.
    pub(super) fn put_set(&mut self, name: &SmolStr, kind: SetKind) {
        if self.ruleset.sets.contains_key(name) {
            return;
        }
        self.ruleset.sets.insert(name.clone(), Set { kind, elements: Members::default() });
        match self.buried.remove(name) {
            None => drop(self.delta.new_sets.insert(name.clone())),
            Some(old) => {
                self.delta.gone_sets.remove(name);
                let elements = self.delta.elements.entry(name.clone()).or_default();
                elements.removed = old.elements.iter().collect();
                self.settle(name);
            }
        }
    }

    /// Removes a set, if it is there.
    pub(super) fn drop_set(&mut self, name: &SmolStr) {
        let Some(mut set) = self.ruleset.sets.remove(name) else { return };
        if self.delta.new_sets.remove(name) {
            return;
        }
        if let Some(changes) = self.delta.elements.remove(name) {
            for element in &changes.added {
                set.elements.remove(element);
            }
            set.elements.extend(changes.removed);
        }
        self.buried.insert(name.clone(), set);
        self.delta.gone_sets.insert(name.clone());
    }

    /// How many elements a set has.
    pub(super) fn len(&self, set: &str) -> usize {
        self.ruleset.sets.get(set).map_or(0, |set| set.elements.len())
    }

    /// Puts an element into a set that is there.
    pub(super) fn add(&mut self, name: &SmolStr, element: Element) {
        let Some(set) = self.ruleset.sets.get_mut(name) else { return };
        if !set.elements.insert(element.clone()) || self.delta.new_sets.contains(name) {
            return;
        }
        let changes = self.delta.elements.entry(name.clone()).or_default();
        if !changes.removed.remove(&element) {
            changes.added.insert(element);
        }
        self.settle(name);
    }

    /// Takes an element out of a set that is there.
    pub(super) fn remove(&mut self, name: &SmolStr, element: Element) {
        let Some(set) = self.ruleset.sets.get_mut(name) else { return };
        if !set.elements.remove(&element) || self.delta.new_sets.contains(name) {
            return;
        }
        let changes = self.delta.elements.entry(name.clone()).or_default();
        if !changes.added.remove(&element) {
            changes.removed.insert(element);
        }
        self.settle(name);
    }

    /// Forgets the changes of a set if they come to nothing.
    fn settle(&mut self, name: &SmolStr) {
        let changes = self.delta.elements.get(name);
        if changes.is_some_and(|changes| changes.added.is_empty() && changes.removed.is_empty()) {
            self.delta.elements.remove(name);
        }
    }
}
