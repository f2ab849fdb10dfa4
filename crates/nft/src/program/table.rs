//! What is known to be in the kernel's table: everything but the members of sets.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::{Chain, Counter, Found, FoundChain, FoundRule, Hook, Origin, Rule, SetKind, Statement};

use super::tally::Tally;

/// The table as it was when we last had to do with it.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Whether there is one.
    pub(super) here: bool,
    pub(super) chains: HashMap<SmolStr, KnownChain>,
    /// Sets and maps; no kind for one that is none of ours.
    pub(super) sets: HashMap<SmolStr, Option<SetKind>>,
}

/// A chain in the table.
#[derive(Debug, Default)]
pub(super) struct KnownChain {
    pub(super) hook: Option<Hook>,
    /// Whether it is hooked in a way that is none of ours.
    pub(super) strange: bool,
    pub(super) rules: Vec<KnownRule>,
}

/// A rule in the table. There are many, so it is small.
#[derive(Debug, Clone)]
pub(super) struct KnownRule {
    /// Of its mark; none for a rule that is none of ours.
    pub(super) key: Option<Key>,
    /// The kernel's name for it: 0, which no rule has, as long as there is none.
    pub(super) handle: u64,
    /// What its counter counts for, if it has one and that is known.
    pub(super) origin: Option<Arc<Origin>>,
    /// What its counter said when it was last seen.
    pub(super) seen: Counter,
}

/// The number of a mark: the same for rules that do the same. It is never zero, so that there is room
/// for none.
pub(super) type Key = NonZeroU64;

/// The number of a mark.
pub(super) fn key(mark: u64) -> Key {
    Key::new(mark).unwrap_or(Key::MAX)
}

/// What the counter of a rule counts for.
pub(super) fn counted(rule: &Rule) -> Option<&Arc<Origin>> {
    rule.origin.as_ref().filter(|_| rule.statements.contains(&Statement::Counter))
}

impl KnownRule {
    fn found(rule: FoundRule) -> KnownRule {
        let FoundRule { handle, mark, counter } = rule;
        let mark = mark.and_then(|mark| u64::from_str_radix(&mark, 16).ok());
        KnownRule { key: mark.map(key), handle, origin: None, seen: counter }
    }

    /// Takes in what the counter says now. If that is less than before, somebody has set it back.
    fn observe(&mut self, now: Counter, tally: &mut Tally) {
        if let Some(origin) = &self.origin
            && (now.packets < self.seen.packets || now.bytes < self.seen.bytes)
        {
            tally.retire(origin, self.seen);
        }
        self.seen = now;
    }
}

impl Table {
    /// Takes in the counters of all rules.
    pub(super) fn observe(
        &mut self,
        counters: &HashMap<(SmolStr, u64), Counter>,
        tally: &mut Tally,
    ) {
        for (name, chain) in &mut self.chains {
            for rule in chain.rules.iter_mut().filter(|rule| rule.origin.is_some()) {
                if let Some(now) = counters.get(&(name.clone(), rule.handle)) {
                    rule.observe(*now, tally);
                }
            }
        }
    }

    /// Takes in the counters of the rules of a chain.
    pub(super) fn observe_chain(
        &mut self,
        name: &str,
        counters: &HashMap<u64, Counter>,
        tally: &mut Tally,
    ) {
        let rules = self.chains.get_mut(name).into_iter().flat_map(|chain| &mut chain.rules);
        for rule in rules {
            if let Some(now) = counters.get(&rule.handle) {
                rule.observe(*now, tally);
            }
        }
    }

    /// What the counters of rules whose origin is known said when they were last seen.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&Origin, Counter)> {
        let rules = self.chains.values().flat_map(|chain| &chain.rules);
        rules.filter_map(|rule| Some((&**rule.origin.as_ref()?, rule.seen)))
    }

    /// Takes in what has been read. What rules had counted that are gone is kept.
    pub(super) fn replace(&mut self, found: Option<Found>, tally: &mut Tally) {
        let mut before = std::mem::take(&mut self.chains);
        self.here = found.is_some();
        let Found { chains, sets, .. } = found.unwrap_or_default();
        self.sets = sets.into_iter().map(|(name, set)| (name, set.kind)).collect();
        for (name, chain) in chains {
            let known = before.remove(&name).unwrap_or_default();
            self.chains.insert(name, known.becomes(chain, tally));
        }
        before.into_values().for_each(|chain| retire(chain.rules, tally));
    }
}

impl KnownChain {
    /// Whether it can become what it shall be without being made anew.
    pub(super) fn can_be(&self, shall: &Chain) -> bool {
        !self.strange && self.hook == shall.hook
    }

    fn becomes(self, found: FoundChain, tally: &mut Tally) -> KnownChain {
        let mut before: HashMap<_, _> =
            self.rules.into_iter().map(|rule| ((rule.handle, rule.key), rule)).collect();
        let mut rules: Vec<_> = found.rules.into_iter().map(KnownRule::found).collect();
        for rule in &mut rules {
            if let Some(known) = before.remove(&(rule.handle, rule.key)) {
                let now = std::mem::replace(rule, known).seen;
                rule.observe(now, tally);
            }
        }
        retire(before.into_values(), tally);
        KnownChain { hook: found.hook, strange: found.strange, rules }
    }
}

fn retire(rules: impl IntoIterator<Item = KnownRule>, tally: &mut Tally) {
    for rule in rules {
        if let Some(origin) = &rule.origin {
            tally.retire(origin, rule.seen);
        }
    }
}
