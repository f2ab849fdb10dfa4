//! The programmer against a kernel in memory: always the old or the new ruleset, and in the end the
//! new one, whatever goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "test code"
)]

mod memory;
mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use smol_str::SmolStr;
use tortie_nft::program::{ProgramError, Programmer, Report};
use tortie_nft::{
    Chain, Counter, Delta, Element, Kernel, Op, Origin, Rule, Ruleset, SetKind, Verdict,
};

use crate::memory::{EBUSY, EINTR, EINVAL, ENOBUFS, ENOSPC, Fault, Memory, MemoryRule, State};
use crate::world::{counting, delta, seed, world};

/// What is in the kernel, without handles and counters.
fn assert_is(kernel: &Memory, ruleset: &Ruleset) {
    let state = kernel.state.as_ref().expect("the table is there");
    let marks = |chain: &Chain| chain.rules.iter().map(|rule| rule.mark()).collect::<Vec<_>>();
    let want: BTreeMap<_, _> =
        ruleset.chains.iter().map(|(name, chain)| (name, (chain.hook, marks(chain)))).collect();
    let there = |chain: &memory::MemoryChain| {
        assert!(!chain.rules.iter().any(|rule| rule.foreign), "a foreign rule stays");
        assert!(!chain.strange, "a chain stays strange");
        (chain.hook, chain.rules.iter().map(|rule| rule.rule.mark()).collect())
    };
    let found: BTreeMap<_, (_, Vec<_>)> =
        state.chains.iter().map(|(name, chain)| (name, there(chain))).collect();
    assert_eq!(found, want);
    let want: BTreeMap<_, _> =
        ruleset.sets.iter().map(|(name, set)| (name, (Some(set.kind), &set.elements))).collect();
    assert!(!state.sets.values().any(|set| set.strange), "strange elements stay");
    let found: BTreeMap<_, _> =
        state.sets.iter().map(|(name, set)| (name, (set.kind, &set.elements))).collect();
    assert_eq!(found, want);
}

/// Tries until it holds; in between the kernel has what it had, or all of the new.
fn settle(programmer: &mut Programmer<Memory>, ruleset: &Ruleset, delta: Delta) -> Report {
    let mut before = programmer.kernel().state.clone();
    let mut result = programmer.update(ruleset, delta);
    for _ in 0..20 {
        match result {
            Ok(report) => return report,
            Err(_) if programmer.kernel().state == before => {}
            Err(error) => {
                assert!(matches!(error, ProgramError::Busy(_)), "{error}");
                assert_is(programmer.kernel(), ruleset);
            }
        }
        before = programmer.kernel().state.clone();
        result = programmer.update(ruleset, Delta::default());
    }
    panic!("it never holds");
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        prop::sample::select(vec![EBUSY, ENOBUFS, EINTR, ENOSPC, EINVAL]).prop_map(Fault::Refuse),
        Just(Fault::LoseAnswer),
        prop::sample::select(vec![EINTR, ENOBUFS]).prop_map(Fault::FailRead),
    ]
}

/// What somebody else does to the table.
fn meddle(state: &mut State, handles: &mut u64, what: u8, which: usize) {
    let chain = state.chains.keys().nth(which % state.chains.len().max(1)).cloned();
    let set = state.sets.keys().min().cloned();
    *handles += 1;
    let foreign = |rule: Rule| {
        let (handle, rule) = (*handles, rule.into());
        MemoryRule { handle, rule, foreign: true, counter: Counter::default() }
    };
    match (what, chain, set) {
        (0, Some(chain), _) => drop(state.chains.get_mut(&chain).unwrap().rules.pop()),
        (1, Some(chain), _) => {
            let rule = foreign(Rule { verdict: Some(Verdict::Accept), ..Rule::default() });
            state.chains.get_mut(&chain).unwrap().rules.insert(0, rule);
        }
        (2, Some(chain), _) => {
            // A chain of theirs that leads to one of ours.
            let hooked = state.chains[&chain].hook.is_some();
            let verdict = if hooked { Verdict::Drop } else { Verdict::Jump(chain) };
            let rule = foreign(Rule { verdict: Some(verdict), ..Rule::default() });
            state.chains.entry("theirs".into()).or_default().rules.push(rule);
        }
        (3, _, Some(set)) => state.sets.get_mut(&set).unwrap().elements = Default::default(),
        (4, _, Some(set)) => {
            // Of another kind, with the rules that name it gone.
            state.chains.values_mut().for_each(|chain| chain.rules.clear());
            state.sets.get_mut(&set).unwrap().kind = None;
        }
        (5, Some(chain), _) => {
            let rules = &mut state.chains.get_mut(&chain).unwrap().rules;
            rules.reverse();
        }
        (6, _, Some(set)) => {
            let kind = state.sets[&set].kind;
            if let Some(SetKind::Address(_) | SetKind::Net(_)) = kind {
                let net = Element::Net("192.0.2.1/32".parse().unwrap());
                state.sets.get_mut(&set).unwrap().elements.insert(net);
            }
        }
        (7, Some(chain), _) => state.chains.get_mut(&chain).unwrap().strange = true,
        (8, _, Some(set)) => state.sets.get_mut(&set).unwrap().strange = true,
        _ => *state = State::default(),
    }
}

#[derive(Debug, Clone)]
struct Turn {
    seed: world::Seed,
    faults: Vec<Fault>,
    meddling: Option<(u8, usize)>,
    restart: bool,
}

fn turn() -> impl Strategy<Value = Turn> {
    let faults = prop::collection::vec(fault(), 0..4);
    let meddling = prop::option::weighted(0.4, (0..10u8, 0..8usize));
    (seed(), faults, meddling, prop::bool::weighted(0.2))
        .prop_map(|(seed, faults, meddling, restart)| Turn { seed, faults, meddling, restart })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn always_old_or_new_and_in_the_end_new(turns in prop::collection::vec(turn(), 1..6)) {
        let mut programmer = Programmer::new(Memory::default());
        let mut ruleset = Ruleset::default();
        for turn in turns {
            if turn.restart {
                let kernel = std::mem::take(programmer.kernel());
                programmer = Programmer::new(kernel);
            }
            if let Some((what, which)) = turn.meddling {
                programmer.kernel().meddle(|state, handles| meddle(state, handles, what, which));
            }
            programmer.kernel().faults.extend(turn.faults);
            let next = world(&turn.seed);
            if turn.meddling.is_some() {
                // Who hears of the change asks for this.
                let mut tries = 0;
                while programmer.resync(&ruleset).is_err() {
                    tries += 1;
                    prop_assert!(tries < 20, "it never holds");
                }
                assert_is(programmer.kernel(), &ruleset);
            }
            settle(&mut programmer, &next, delta(&ruleset, &next));
            assert_is(programmer.kernel(), &next);
            programmer.kernel().faults.clear();
            ruleset = next;
        }
        prop_assert!(!programmer.kernel().log.contains(&Op::DeleteTable));
    }

    #[test]
    fn base_chains_stay_even_if_all_is_written_anew(seeds in prop::collection::vec(seed(), 1..4)) {
        let mut programmer = Programmer::new(Memory::default());
        let mut ruleset = Ruleset::default();
        for seed in &seeds {
            let next = world(seed);
            let log = programmer.kernel().log.len();
            programmer.kernel().faults.extend([Fault::Refuse(EINVAL); 2]);
            settle(&mut programmer, &next, delta(&ruleset, &next));
            assert_is(programmer.kernel(), &next);
            let base = |op: &Op| matches!(op, Op::DeleteChain(n) if n == "input" || n == "forward");
            prop_assert!(!programmer.kernel().log[log..].iter().any(base));
            programmer.kernel().faults.clear();
            ruleset = next;
        }
    }

    #[test]
    fn changes_can_wait_for_each_other(seeds in prop::collection::vec(seed(), 1..4)) {
        let mut programmer = Programmer::new(Memory::default());
        let mut ruleset = Ruleset::default();
        settle(&mut programmer, &ruleset, Delta::default());
        for seed in &seeds {
            let next = world(seed);
            programmer.kernel().faults.push_back(Fault::Refuse(EBUSY));
            let result = programmer.update(&next, delta(&ruleset, &next));
            prop_assert!(result.map_or(true, |report| !report.changed()));
            programmer.kernel().faults.clear();
            ruleset = next;
        }
        settle(&mut programmer, &ruleset, Delta::default());
        assert_is(programmer.kernel(), &ruleset);
    }

    #[test]
    fn nothing_that_was_counted_is_forgotten(seeds in prop::collection::vec(seed(), 1..8)) {
        let mut programmer = Programmer::new(Memory::default());
        let mut ruleset = Ruleset::default();
        let mut want: BTreeMap<Origin, u64> = BTreeMap::new();
        for seed in &seeds {
            let next = world(seed);
            settle(&mut programmer, &next, delta(&ruleset, &next));
            programmer.kernel().count();
            for rule in next.chains.values().flat_map(|chain| &chain.rules) {
                if let Some(origin) = rule.origin.as_deref() {
                    *want.entry(origin.clone()).or_default() += 1;
                }
            }
            ruleset = next;
            let counters = programmer.counters().unwrap();
            let found: BTreeMap<_, _> = counters.into_iter().map(|(o, c)| (o, c.packets)).collect();
            prop_assert_eq!(&found, &want);
        }
    }
}

/// A ruleset with one chain.
fn one_chain(rules: Vec<Rule>) -> Ruleset {
    let chains = [(SmolStr::from("c"), Chain::new(None, rules))];
    Ruleset { chains: chains.into(), ..Ruleset::default() }
}

fn handles(programmer: &mut Programmer<Memory>) -> Vec<u64> {
    let state = programmer.kernel().state.as_ref().unwrap();
    state.chains["c"].rules.iter().map(|rule| rule.handle).collect()
}

#[test]
fn rules_that_stay_keep_their_handles_and_counters() {
    let mut programmer = Programmer::new(Memory::default());
    let rule = |name: &str| counting(name, 0);
    let old = one_chain(vec![rule("a"), rule("b"), rule("c")]);
    settle(&mut programmer, &old, delta(&Ruleset::default(), &old));
    assert_eq!(handles(&mut programmer), [1, 2, 3]);
    programmer.kernel().count();
    let new = one_chain(vec![rule("a"), rule("x"), rule("b"), rule("d")]);
    let report = settle(&mut programmer, &new, delta(&old, &new));
    assert_eq!((report.rules_added, report.rules_removed, report.batches), (2, 1, 1));
    assert_eq!(handles(&mut programmer), [1, 4, 2, 5]);
    let counters = programmer.counters().unwrap();
    let packets: Vec<_> = counters.values().map(|counter| counter.packets).collect();
    assert_eq!(packets, [1, 1, 1, 0, 0], "{counters:?}");
}

#[test]
fn a_restart_takes_over_what_is_there() {
    let mut programmer = Programmer::new(Memory::default());
    let old = one_chain(vec![counting("a", 0), counting("a", 1), counting("a", 2)]);
    settle(&mut programmer, &old, delta(&Ruleset::default(), &old));
    programmer.kernel().count();
    let batches = programmer.kernel().log.len();

    let mut programmer = Programmer::new(std::mem::take(programmer.kernel()));
    let report = settle(&mut programmer, &old, Delta::default());
    assert_eq!(report, Report { read: true, ..Report::default() });
    assert_eq!(programmer.kernel().log.len(), batches);

    // A rule that another place is given after a restart counts on.
    let mut programmer = Programmer::new(std::mem::take(programmer.kernel()));
    let new = one_chain(vec![counting("a", 2), counting("a", 0), counting("a", 1)]);
    let report = settle(&mut programmer, &new, Delta::default());
    assert_eq!((report.rules_added, report.rules_removed), (1, 1));
    let counters = programmer.counters().unwrap();
    assert!(counters.values().all(|counter| counter.packets == 1), "{counters:?}");
}

#[test]
fn what_nobody_has_touched_is_not_read() {
    let mut programmer = Programmer::new(Memory::default());
    let old = one_chain(vec![counting("a", 0)]);
    settle(&mut programmer, &old, delta(&Ruleset::default(), &old));
    let reads = programmer.kernel().reads;
    let new = one_chain(vec![counting("a", 1)]);
    settle(&mut programmer, &new, delta(&old, &new));
    assert_eq!(programmer.resync(&new).unwrap(), Report::default());
    assert_eq!(programmer.kernel().reads, reads);
    programmer.kernel().meddle(|_, _| {});
    assert!(programmer.resync(&new).unwrap().read);
    assert_eq!(programmer.kernel().reads, reads + 1);
    // Somebody's change between two of ours.
    programmer.kernel().meddle(|state, _| drop(state.chains.get_mut("c").unwrap().rules.pop()));
    let newer = one_chain(vec![counting("a", 1), counting("a", 2)]);
    settle(&mut programmer, &newer, delta(&new, &newer));
    assert!(programmer.resync(&newer).unwrap().changed());
    assert_is(programmer.kernel(), &newer);
}

#[test]
fn what_refers_to_ours_from_outside_is_found_and_removed() {
    let mut programmer = Programmer::new(Memory::default());
    let old = one_chain(vec![counting("a", 0)]);
    settle(&mut programmer, &old, delta(&Ruleset::default(), &old));
    programmer.kernel().meddle(|state, handles| meddle(state, handles, 2, 0));
    let new = Ruleset::default();
    let mut errors = 0;
    let mut result = programmer.update(&new, delta(&old, &new));
    while result.is_err() {
        errors += 1;
        result = programmer.update(&new, Delta::default());
    }
    assert_eq!(errors, 3, "EBUSY may pass by itself");
    assert!(result.unwrap().read);
    assert_is(programmer.kernel(), &new);
}

#[test]
fn what_is_refused_twice_is_written_anew() {
    let mut programmer = Programmer::new(Memory::default());
    let old = one_chain(vec![counting("a", 0), counting("b", 0)]);
    settle(&mut programmer, &old, delta(&Ruleset::default(), &old));
    programmer.kernel().count();
    programmer.kernel().faults.extend([Fault::Refuse(EINVAL); 2]);
    let new = one_chain(vec![counting("a", 0), counting("c", 0)]);
    let report = programmer.update(&new, delta(&old, &new)).unwrap();
    assert!(report.read && report.rewritten && report.refused.is_some(), "{report:?}");
    assert_eq!(handles(&mut programmer), [3, 4]);
    let counters = programmer.counters().unwrap();
    let packets: Vec<_> = counters.values().map(|counter| counter.packets).collect();
    assert_eq!(packets, [1, 1, 0], "what stays counts on: {counters:?}");
}

#[test]
fn counters_set_back_by_somebody_go_on() {
    let mut programmer = Programmer::new(Memory::default());
    let rules = one_chain(vec![counting("a", 0)]);
    settle(&mut programmer, &rules, delta(&Ruleset::default(), &rules));
    let packets = |programmer: &mut Programmer<Memory>| {
        programmer.counters().unwrap().values().map(|counter| counter.packets).sum::<u64>()
    };
    programmer.kernel().count();
    programmer.kernel().count();
    assert_eq!(packets(&mut programmer), 2);
    programmer.kernel().meddle(|state, _| {
        state.chains.get_mut("c").unwrap().rules[0].counter = Counter::default();
    });
    programmer.kernel().count();
    assert_eq!(packets(&mut programmer), 3);
    // And when the table is made anew by hand.
    programmer.kernel().meddle(|state, _| *state = State::default());
    programmer.resync(&rules).unwrap();
    programmer.kernel().count();
    assert_eq!(packets(&mut programmer), 4);
}

#[test]
fn cleaning_up_removes_the_table() {
    let mut programmer = Programmer::new(Memory::default());
    assert!(!programmer.remove().unwrap());
    let rules = one_chain(vec![counting("a", 0)]);
    settle(&mut programmer, &rules, delta(&Ruleset::default(), &rules));
    assert!(programmer.remove().unwrap());
    assert_eq!(programmer.kernel().read().unwrap(), None);
}
