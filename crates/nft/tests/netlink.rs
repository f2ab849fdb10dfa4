//! The kernel programmed by netlink, compared with what nft makes of the same ruleset's text.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeMap;

use support::net::{Namespace, possible};
use support::random::{Random, number};
use support::{constructs, program};
use tortie_nft::{Found, Kernel, Ruleset, text};

/// Writes a ruleset by netlink in one namespace and by nft in another. nft must print the same of
/// both, and reading back must give what was written.
fn compare(name: &str, ruleset: &Ruleset, ours: &Namespace, theirs: &Namespace) {
    let text = text::ruleset(ruleset);
    theirs.load(&text);
    let batch = program(ruleset);
    let mut kernel = ours.kernel();
    kernel.apply(&batch).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    let [left, right] = [ours, theirs].map(Namespace::list);
    for (left, right) in left.lines().zip(right.lines()) {
        assert_eq!(left, right, "{name}");
    }
    assert_eq!(left.len(), right.len(), "{name}\n{left}\n{right}");
    assert_eq!(ours.json(), theirs.json(), "{name}");
    check_found(name, ruleset, &kernel.read().unwrap().unwrap());
    let found = theirs.kernel().read().unwrap().unwrap();
    check_found(name, ruleset, &found);
}

fn check_found(name: &str, ruleset: &Ruleset, found: &Found) {
    let hooks = found.chains.iter().map(|(name, chain)| (name, chain.hook));
    let wanted = ruleset.chains.iter().map(|(name, chain)| (name, chain.hook));
    assert_eq!(hooks.collect::<BTreeMap<_, _>>(), wanted.collect(), "{name}");
    for (chain, found) in &found.chains {
        let marks: Vec<_> = found.rules.iter().map(|rule| rule.mark.clone()).collect();
        let wanted = ruleset.chains[chain].rules.iter().map(|rule| Some(rule.mark()));
        assert_eq!(marks, wanted.collect::<Vec<_>>(), "{name}, chain {chain}");
        assert!(!found.strange);
    }
    assert_eq!(found.sets.len(), ruleset.sets.len(), "{name}");
    for (set, found) in &found.sets {
        let wanted = &ruleset.sets[set];
        assert_eq!(found.kind, Some(wanted.kind), "{name}, set {set}");
        assert_eq!(found.elements, wanted.elements, "{name}, set {set}");
        assert!(!found.strange, "{name}, set {set}");
    }
}

#[test]
fn each_construct_is_what_nft_makes_of_its_text() {
    if !possible() {
        return;
    }
    for (name, ruleset) in constructs::all() {
        compare(name, &ruleset, &Namespace::new(), &Namespace::new());
    }
}

#[test]
fn random_rulesets_are_what_nft_makes_of_their_text() {
    if !possible() {
        return;
    }
    let mut random = Random::new();
    for round in 0..number("FUZZ_ROUNDS").unwrap_or(25) {
        let name = format!("round {round}");
        compare(&name, &random.ruleset(), &Namespace::new(), &Namespace::new());
    }
}
