//! One batch, and what is known once it is in force.
//!
//! First what leaves, beginning with what refers to others; then what joins, beginning with what
//! others refer to. Nothing of it is seen before all of it is, so the order serves only the kernel's
//! checks: no element overlaps one that is about to leave, no rules go round in a circle for a
//! moment, and no name is taken twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::{Counter, Element, Op, Origin, Ruleset, SetKind};

use super::Report;
use super::edit::{Edit, Heirs};
use super::pending::{Pending, SetChange};
use super::table::{KnownChain, KnownRule, Table, counted};
use super::tally::Tally;

/// A batch that has not been applied.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) ops: Vec<Op>,
    report: Report,
    /// What chains become; rules that are new have no handle yet.
    chains: Vec<(SmolStr, Option<KnownChain>)>,
    sets: Vec<(SmolStr, Option<SetKind>)>,
    retired: Vec<(Arc<Origin>, Counter)>,
}

impl Plan {
    /// What is to be done so that everything that is pending is as the ruleset says.
    pub(super) fn new(
        table: &Table,
        ruleset: &Ruleset,
        pending: &Pending,
        edits: &BTreeMap<SmolStr, Edit>,
    ) -> Plan {
        let mut plan = Plan::default();
        let step = Step { table, ruleset };
        if !table.here {
            plan.ops.push(Op::AddTable);
        }
        edits.iter().for_each(|(name, edit)| plan.remove_rules(step, name, edit));
        pending.sets.iter().for_each(|(name, change)| plan.remove_elements(step, name, change));
        edits.iter().for_each(|(name, _)| plan.remove_chain(step, name));
        pending.sets.iter().for_each(|(name, change)| plan.remove_set(step, name, change));
        pending.sets.iter().for_each(|(name, change)| plan.make_set(step, name, change));
        edits.keys().for_each(|name| plan.make_chain(step, name));
        edits.iter().for_each(|(name, edit)| plan.add_rules(step, name, edit));
        // Elements of maps lead to chains.
        for (name, change) in &pending.sets {
            if step.kind(name) == Some(SetKind::Dispatch) {
                plan.add_elements(step, name, change);
            }
        }
        plan.report.batches = u64::from(!plan.ops.is_empty());
        plan
    }

    /// Takes in that the batch is in force; the handles are those of its new rules.
    pub(super) fn commit(self, table: &mut Table, tally: &mut Tally, handles: Vec<u64>) -> Report {
        table.here = true;
        let mut handles = handles.into_iter();
        for (name, next) in self.chains {
            let Some(mut next) = next else {
                table.chains.remove(&name);
                continue;
            };
            for rule in &mut next.rules {
                rule.origin = rule.origin.take().map(|origin| tally.share(origin));
                if rule.handle == 0 {
                    rule.handle = handles.next().unwrap_or_default();
                }
            }
            table.chains.insert(name, next);
        }
        for (name, kind) in self.sets {
            match kind {
                Some(kind) => drop(table.sets.insert(name, Some(kind))),
                None => drop(table.sets.remove(&name)),
            }
        }
        self.retired.iter().for_each(|(origin, counter)| tally.retire(origin, *counter));
        self.report
    }

    // === what leaves ===

    fn remove_rules(&mut self, step: Step<'_>, name: &SmolStr, edit: &Edit) {
        let Some(chain) = step.table.chains.get(name) else { return };
        if edit.kept.iter().all(Option::is_none) {
            if !chain.rules.is_empty() {
                self.ops.push(Op::FlushChain(name.clone()));
            }
            self.report.rules_removed += count(chain.rules.len());
            return;
        }
        for rule in edit.removed(chain) {
            self.ops.push(Op::DeleteRule { chain: name.clone(), handle: rule.handle });
            self.report.rules_removed += 1;
        }
    }

    fn remove_elements(&mut self, step: Step<'_>, name: &SmolStr, change: &SetChange) {
        let Some(kind) = step.table.sets.get(name) else { return };
        match (step.kind(name), change) {
            (Some(kind), SetChange::Elements(elements)) if !elements.removed.is_empty() => {
                let removed: Vec<_> = elements.removed.iter().cloned().collect();
                self.report.elements_removed += count(removed.len());
                self.ops.push(Op::DeleteElements(name.clone(), kind, removed));
            }
            (Some(_), SetChange::Elements(_)) => {}
            (Some(_), SetChange::Refill) => self.ops.push(Op::FlushSet(name.clone())),
            // Before the chains that its elements may lead to.
            (None, _) | (Some(_), SetChange::Remake) => {
                if matches!(kind, None | Some(SetKind::Dispatch)) {
                    self.ops.push(Op::FlushSet(name.clone()));
                }
            }
        }
    }

    fn remove_chain(&mut self, step: Step<'_>, name: &SmolStr) {
        let Some(there) = step.table.chains.get(name) else { return };
        let stays = step.ruleset.chains.get(name).is_some_and(|chain| there.can_be(chain));
        if !stays {
            self.ops.push(Op::DeleteChain(name.clone()));
            self.report.removed += 1;
        }
        if !step.ruleset.chains.contains_key(name) {
            self.chains.push((name.clone(), None));
            self.retire(there.rules.iter());
        }
    }

    fn remove_set(&mut self, step: Step<'_>, name: &SmolStr, change: &SetChange) {
        let there = step.table.sets.contains_key(name);
        let stays = step.kind(name).is_some() && !matches!(change, SetChange::Remake);
        if there && !stays {
            self.ops.push(Op::DeleteSet(name.clone()));
            self.sets.push((name.clone(), None));
            self.report.removed += 1;
        }
    }

    // === what joins ===

    fn make_set(&mut self, step: Step<'_>, name: &SmolStr, change: &SetChange) {
        let Some(kind) = step.kind(name) else { return };
        let there = step.table.sets.contains_key(name);
        if !there || matches!(change, SetChange::Remake) {
            self.ops.push(Op::AddSet(name.clone(), kind));
            self.sets.push((name.clone(), Some(kind)));
            self.report.made += 1;
        }
        if kind != SetKind::Dispatch {
            self.add_elements(step, name, change);
        }
    }

    fn add_elements(&mut self, step: Step<'_>, name: &SmolStr, change: &SetChange) {
        let Some(set) = step.ruleset.sets.get(name) else { return };
        let elements: Vec<Element> = match change {
            SetChange::Elements(elements) if step.table.sets.contains_key(name) => {
                elements.added.iter().cloned().collect()
            }
            SetChange::Elements(_) | SetChange::Refill | SetChange::Remake => {
                set.elements.iter().collect()
            }
        };
        if !elements.is_empty() {
            self.report.elements_added += count(elements.len());
            self.ops.push(Op::AddElements(name.clone(), set.kind, elements));
        }
    }

    fn make_chain(&mut self, step: Step<'_>, name: &SmolStr) {
        let Some(chain) = step.ruleset.chains.get(name) else { return };
        let there = step.table.chains.get(name);
        if there.is_none_or(|there| !there.can_be(chain)) {
            self.ops.push(Op::AddChain(name.clone(), chain.hook));
            self.report.made += 1;
        }
    }

    fn add_rules(&mut self, step: Step<'_>, name: &SmolStr, edit: &Edit) {
        let Some(chain) = step.ruleset.chains.get(name) else { return };
        let nothing = KnownChain::default();
        let before = step.table.chains.get(name).unwrap_or(&nothing);
        let mut heirs = Heirs::new(edit.removed(before));
        let mut rules = Vec::with_capacity(chain.rules.len());
        let places = edit.places(before);
        let new = chain.rules.iter().zip(&edit.keys).zip(edit.kept.iter().zip(places));
        for ((rule, key), (kept, place)) in new {
            let origin = counted(rule);
            let stays = kept.and_then(|kept| before.rules.get(kept)).cloned();
            let stays = stays.map(|known| KnownRule { origin: origin.cloned(), ..known });
            rules.push(stays.unwrap_or_else(|| {
                let seen = origin.map(|origin| heirs.take(origin, *key)).unwrap_or_default();
                let (chain, rule) = (name.clone(), Arc::clone(rule));
                self.ops.push(Op::AddRule { chain, place, rule, counter: seen });
                self.report.rules_added += 1;
                KnownRule { key: Some(*key), handle: 0, origin: origin.cloned(), seen }
            }));
        }
        self.retire(heirs.left());
        let known = KnownChain { hook: chain.hook, strange: false, rules };
        self.chains.push((name.clone(), Some(known)));
    }

    fn retire<'r>(&mut self, rules: impl Iterator<Item = &'r KnownRule>) {
        let counted = rules.filter_map(|rule| Some((Arc::clone(rule.origin.as_ref()?), rule.seen)));
        self.retired.extend(counted);
    }
}

/// From what to what.
#[derive(Clone, Copy)]
struct Step<'a> {
    table: &'a Table,
    ruleset: &'a Ruleset,
}

impl Step<'_> {
    /// Of what kind a set shall be.
    fn kind(&self, name: &str) -> Option<SetKind> {
        self.ruleset.sets.get(name).map(|set| set.kind)
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
