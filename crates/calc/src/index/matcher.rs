//! Which selectors match a holder, and which holders a selector matches, without asking every pair.
//!
//! Each selector is filed under labels of which a holder must have one if the selector is to match:
//! of all conjuncts that would do, the one with the fewest holders. When a holder changes, only the
//! selectors filed under one of its labels are evaluated; when a selector is new, only the holders
//! of the labels it is filed under.

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use slab::Slab;
use std::hash::BuildHasher;

use tortie_selector::Selector;

use super::expression::Expression;
use super::store::{Holder, Pair, Store};
use crate::intern::Atom;

/// The bits of all labels.
pub(crate) const ALL_LABELS: u64 = u64::MAX;

/// Selectors that are watched.
#[derive(Default)]
pub(crate) struct Matcher {
    watched: Slab<Watched>,
    by_expression: HashTable<u32>,
    hasher: DefaultHashBuilder,
    by_pair: HashMap<Pair, Vec<u32>>,
    by_key: HashMap<Atom, Vec<u32>>,
    /// Those that no label is necessary for.
    rest: Vec<u32>,
}

struct Watched {
    expression: Expression,
    /// The bits of the labels it looks at.
    mentions: u64,
    /// Where it is filed; nowhere in particular if absent.
    anchors: Option<Vec<Anchor>>,
}

/// A label, one of whose values is necessary; any value if none is given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Anchor {
    key: Atom,
    values: Option<Box<[Atom]>>,
}

impl Matcher {
    /// Watches a selector. Returns its id, and whether it was not watched before.
    pub(crate) fn watch<T, P>(
        &mut self,
        selector: &Selector,
        store: &mut Store<T, P>,
    ) -> (u32, bool) {
        let expression = Expression::new(selector, &mut store.texts);
        let hash = self.hasher.hash_one(&expression);
        let watched = &self.watched;
        let same = |id: &u32| watched.get(*id as usize).is_some_and(|w| w.expression == expression);
        if let Some(id) = self.by_expression.find(hash, same) {
            return (*id, false);
        }
        let mentions = expression.mentions();
        let anchors = anchors(&expression, store);
        let id = self.watched.insert(Watched { expression, mentions, anchors });
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        let (watched, hasher) = (&self.watched, &self.hasher);
        self.by_expression.insert_unique(hash, id, |other| {
            watched.get(*other as usize).map_or(0, |w| hasher.hash_one(&w.expression))
        });
        self.file(id);
        (id, true)
    }

    /// Stops watching a selector.
    pub(crate) fn unwatch(&mut self, id: u32) {
        self.unfile(id);
        let Some(watched) = self.watched.try_remove(id as usize) else { return };
        let hash = self.hasher.hash_one(&watched.expression);
        if let Ok(entry) = self.by_expression.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
    }

    /// Whether a selector matches a holder.
    fn matches<T, P>(&self, id: u32, holder: &Holder<T>, store: &Store<T, P>) -> bool {
        let value = |key| store.value(holder, key);
        self.watched
            .get(id as usize)
            .is_some_and(|watched| watched.expression.matches(&value, &store.texts))
    }

    /// The holders a selector matches, in order. `among` bounds the search: these, if they are
    /// fewer than the holders of a necessary label.
    pub(crate) fn holders<T, P>(
        &self,
        id: u32,
        store: &Store<T, P>,
        among: Option<&[u32]>,
    ) -> Vec<u32> {
        let Some(watched) = self.watched.get(id as usize) else { return Vec::new() };
        let mut found = Vec::new();
        let mut ask = |id: u32| {
            let Some(holder) = store.get(id) else { return };
            let value = |key| store.value(holder, key);
            if watched.expression.matches(&value, &store.texts) {
                found.push(id);
            }
        };
        match (&watched.anchors, among) {
            (_, Some(among)) => among.iter().for_each(|id| ask(*id)),
            (None, None) => store.iter().for_each(|(id, _)| ask(id)),
            (Some(anchors), None) => {
                for anchor in anchors {
                    store.having(anchor.key, anchor.values.as_deref(), &mut ask);
                }
                found.sort_unstable();
                found.dedup();
            }
        }
        found
    }

    /// The selectors that match a holder, in order, if those in `old` did before labels with the
    /// bits of `changed` changed; [`ALL_LABELS`] for a new holder.
    pub(crate) fn selectors<T, P>(
        &self,
        holder: &Holder<T>,
        store: &Store<T, P>,
        old: &[u32],
        changed: u64,
    ) -> Vec<u32> {
        let concerned = |id: u32| {
            let mentions = self.watched.get(id as usize).map_or(0, |watched| watched.mentions);
            mentions & changed != 0 || changed == ALL_LABELS
        };
        let mut found: Vec<u32> = old.iter().copied().filter(|id| !concerned(*id)).collect();
        let mut ask = |ids: &[u32]| {
            let asked = ids.iter().copied().filter(|id| concerned(*id));
            found.extend(asked.filter(|id| self.matches(*id, holder, store)));
        };
        for (key, value) in store.pairs(holder) {
            self.by_pair.get(&(key, value)).into_iter().for_each(|ids| ask(ids));
            self.by_key.get(&key).into_iter().for_each(|ids| ask(ids));
        }
        ask(&self.rest);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Files every selector anew, by the numbers of holders as they are now.
    pub(crate) fn refile<T, P>(&mut self, store: &Store<T, P>) {
        self.by_pair.clear();
        self.by_key.clear();
        self.rest.clear();
        let ids: Vec<u32> =
            self.watched.iter().map(|(id, _)| u32::try_from(id).unwrap_or(u32::MAX)).collect();
        for id in ids {
            if let Some(watched) = self.watched.get_mut(id as usize) {
                watched.anchors = anchors(&watched.expression, store);
            }
            self.file(id);
        }
    }

    /// Calls `visit` with each text that is in use here.
    pub(crate) fn for_each_atom(&self, visit: &mut dyn FnMut(Atom)) {
        self.watched.iter().for_each(|(_, watched)| watched.expression.for_each_atom(visit));
    }

    fn file(&mut self, id: u32) {
        let Some(watched) = self.watched.get(id as usize) else { return };
        let Some(anchors) = &watched.anchors else { return self.rest.push(id) };
        for Anchor { key, values } in anchors {
            match values {
                None => self.by_key.entry(*key).or_default().push(id),
                Some(values) => values.iter().for_each(|value| {
                    self.by_pair.entry((*key, *value)).or_default().push(id);
                }),
            }
        }
    }

    fn unfile(&mut self, id: u32) {
        let Some(watched) = self.watched.get(id as usize) else { return };
        let Some(anchors) = &watched.anchors else { return take(&mut self.rest, id) };
        for Anchor { key, values } in anchors {
            match values {
                None => take_from(&mut self.by_key, key, id),
                Some(values) => {
                    values.iter().for_each(|v| take_from(&mut self.by_pair, &(*key, *v), id));
                }
            }
        }
    }
}

fn take(list: &mut Vec<u32>, id: u32) {
    if let Some(place) = list.iter().position(|other| *other == id) {
        list.swap_remove(place);
    }
}

fn take_from<K: Eq + std::hash::Hash>(lists: &mut HashMap<K, Vec<u32>>, key: &K, id: u32) {
    if let Some(list) = lists.get_mut(key) {
        take(list, id);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

/// Labels of which a holder must have one: the choice that the fewest holders have.
fn anchors<T, P>(expression: &Expression, store: &Store<T, P>) -> Option<Vec<Anchor>> {
    let choice = |expression| counted(expression, store, usize::MAX);
    choice(expression).map(|(_, anchors)| anchors)
}

/// The best choice, and how many have it. A choice of `most` or more need not be counted to its end.
fn counted<T, P>(e: &Expression, store: &Store<T, P>, most: usize) -> Option<(usize, Vec<Anchor>)> {
    match e {
        Expression::Has(key) | Expression::Like(key, ..) => {
            let count = store.count(*key, None, most);
            Some((count, vec![Anchor { key: *key, values: None }]))
        }
        Expression::In(key, values) => {
            let count = store.count(*key, Some(values), most);
            Some((count, vec![Anchor { key: *key, values: Some(values.clone()) }]))
        }
        Expression::And(operands) => {
            let mut best: Option<(usize, Vec<Anchor>)> = None;
            for operand in operands {
                let least = best.as_ref().map_or(most, |(count, _)| *count);
                let found = counted(operand, store, least);
                best = match (best, found) {
                    (Some(best), Some(found)) if found.0 < best.0 => Some(found),
                    (None, found) => found,
                    (best, _) => best,
                };
            }
            best
        }
        Expression::Or(operands) => {
            let mut all = (0, Vec::new());
            for operand in operands {
                let (count, anchors) = counted(operand, store, most)?;
                all.0 = count.saturating_add(all.0);
                all.1.extend(anchors);
            }
            Some(all)
        }
        Expression::All | Expression::Not(_) => None,
    }
}
