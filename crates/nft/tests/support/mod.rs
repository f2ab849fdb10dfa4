//! What the tests share: namespaces, rulesets of every construct, and random ones.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod constructs;
pub mod net;
pub mod random;

use std::env;
use std::sync::Arc;

use tortie_nft::{Counter, Element, Op, Place, Ruleset};

/// Passes `found` on; if it is nothing, fails in CI and says what is skipped elsewhere.
pub fn required<T>(found: Option<T>, what: &str) -> Option<T> {
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "CI needs {what}");
        eprintln!("skipped: needs {what}");
    }
    found
}

/// A batch that writes a ruleset where nothing is.
pub fn program(ruleset: &Ruleset) -> Vec<Op> {
    let mut batch = vec![Op::AddTable];
    for (name, chain) in &ruleset.chains {
        batch.push(Op::AddChain(name.clone(), chain.hook));
    }
    let mut sets: Vec<_> = ruleset.sets.iter().collect();
    sets.sort_by_key(|(name, _)| *name);
    for (name, set) in sets {
        batch.push(Op::AddSet(name.clone(), set.kind));
        let mut elements: Vec<Element> = set.elements.iter().collect();
        elements.sort();
        batch.push(Op::AddElements(name.clone(), set.kind, elements));
    }
    for (name, chain) in &ruleset.chains {
        for rule in &chain.rules {
            batch.push(Op::AddRule {
                chain: name.clone(),
                place: Place::Last,
                rule: Arc::clone(rule),
                counter: Counter::default(),
            });
        }
    }
    batch
}
