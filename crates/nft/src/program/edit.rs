//! What becomes of the rules of one chain.

use std::collections::{BTreeMap, HashMap};

use smol_str::SmolStr;

use crate::{Counter, Origin, Place, Ruleset};

use super::align::align;
use super::pending::Pending;
use super::table::{Key, KnownChain, KnownRule, Table, key};

/// The rules that a chain shall have.
#[derive(Debug, Default)]
pub(super) struct Edit {
    /// Their marks.
    pub(super) keys: Vec<Key>,
    /// Where they stand already, if they do: ascending.
    pub(super) kept: Vec<Option<usize>>,
}

/// What becomes of the chains that are pending. Chains that shall be no more lose all rules.
pub(super) fn edits(
    table: &Table,
    ruleset: &Ruleset,
    pending: &Pending,
) -> BTreeMap<SmolStr, Edit> {
    let edit = |name: &SmolStr| {
        let rules = ruleset.chains.get(name).map(|chain| chain.rules.as_slice());
        let keys: Vec<_> = rules.unwrap_or_default().iter().map(|rule| key(rule.key())).collect();
        let there = table.chains.get(name).map(|chain| chain.rules.as_slice());
        (name.clone(), Edit::new(there.unwrap_or_default(), keys))
    };
    pending.chains.iter().map(edit).collect()
}

impl Edit {
    fn new(there: &[KnownRule], keys: Vec<Key>) -> Edit {
        // Rules without a mark are nobody's; each has a number that no mark has.
        let marks: HashMap<Key, u64> = (0..).zip(&keys).map(|(n, key)| (*key, n)).collect();
        let foreign = u64::MAX;
        let number = |key: Option<Key>| key.and_then(|key| marks.get(&key)).copied();
        let old: Vec<_> = there.iter().map(|rule| number(rule.key).unwrap_or(foreign)).collect();
        let new: Vec<_> = keys.iter().filter_map(|key| number(Some(*key))).collect();
        Edit { kept: align(&old, &new), keys }
    }

    /// Nothing stays.
    pub(super) fn anew(self) -> Edit {
        Edit { kept: vec![None; self.keys.len()], keys: self.keys }
    }

    /// The rules that do not stay.
    pub(super) fn removed<'r>(&self, there: &'r KnownChain) -> impl Iterator<Item = &'r KnownRule> {
        let mut kept = self.kept.iter().flatten().copied().peekable();
        let leaves = move |place: usize| kept.next_if_eq(&place).is_none();
        let mut leaves = leaves;
        there.rules.iter().enumerate().filter(move |(place, _)| leaves(*place)).map(|(_, r)| r)
    }

    /// Whether a rule leaves that counts.
    pub(super) fn loses_counts(&self, there: &KnownChain) -> bool {
        self.removed(there).any(|rule| rule.origin.is_some())
    }

    /// For each rule the place where it would be added: before the next one that stays.
    pub(super) fn places(&self, there: &KnownChain) -> Vec<Place> {
        let mut place = Place::Last;
        let backwards = self.kept.iter().rev().map(|kept| {
            if let Some(rule) = kept.and_then(|kept| there.rules.get(kept)) {
                place = Place::Before(rule.handle);
            }
            place
        });
        let mut places: Vec<_> = backwards.collect();
        places.reverse();
        places
    }
}

/// Rules that leave, and what they have counted: rules that come in their place count on from there,
/// so that whoever looks at the kernel's table sees it, too, and a restart loses nothing.
#[derive(Debug)]
pub(super) struct Heirs<'r> {
    left: Vec<Option<&'r KnownRule>>,
    by_origin: HashMap<&'r Origin, Vec<usize>>,
    /// Those of which only the mark is known: they are from before a restart.
    by_key: HashMap<Key, Vec<usize>>,
}

impl<'r> Heirs<'r> {
    pub(super) fn new(removed: impl Iterator<Item = &'r KnownRule>) -> Heirs<'r> {
        let mut heirs =
            Heirs { left: Vec::new(), by_origin: HashMap::new(), by_key: HashMap::new() };
        for (number, rule) in removed.enumerate() {
            match (rule.origin.as_deref(), rule.key) {
                (Some(origin), _) => heirs.by_origin.entry(origin).or_default().push(number),
                (None, Some(key)) => heirs.by_key.entry(key).or_default().push(number),
                (None, None) => {}
            }
            heirs.left.push(Some(rule));
        }
        heirs
    }

    /// What a new rule begins with.
    pub(super) fn take(&mut self, origin: &Origin, key: Key) -> Counter {
        let numbers = self.by_origin.remove(origin).or_else(|| self.by_key.remove(&key));
        let mut sum = Counter::default();
        for number in numbers.unwrap_or_default() {
            if let Some(rule) = self.left.get_mut(number).and_then(Option::take) {
                sum += rule.seen;
            }
        }
        sum
    }

    /// Rules that nobody has come for.
    pub(super) fn left(self) -> impl Iterator<Item = &'r KnownRule> {
        self.left.into_iter().flatten()
    }
}
