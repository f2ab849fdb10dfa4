//! The text of each construct and of batches, as golden files. With `UPDATE_GOLDEN` set, writes them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use support::{constructs, program};
use tortie_nft::{Counter, Element, Op, Place, SetKind, text};

fn check(name: &str, text: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&golden).unwrap(), text, "{}", golden.display());
}

#[test]
fn each_construct_has_its_text() {
    for (name, ruleset) in constructs::all() {
        check(&format!("{name}.nft"), &text::ruleset(&ruleset));
    }
}

#[test]
fn each_step_has_its_text() {
    let (_, ruleset) = constructs::all().into_iter().find(|(name, _)| *name == "dispatch").unwrap();
    let rule = Arc::clone(&ruleset.chains["base"].rules[0]);
    let dispatch = Element::Dispatch("cali1".into(), "other".into());
    let mut batch = program(&ruleset);
    for place in [Place::Before(7), Place::After(8)] {
        let (rule, counter) = (rule.clone(), Counter { packets: 1, bytes: 60 });
        batch.push(Op::AddRule { chain: "base".into(), place, rule, counter });
    }
    batch.extend([
        Op::DeleteRule { chain: "base".into(), handle: 9 },
        Op::DeleteElements("endpoints".into(), SetKind::Dispatch, vec![dispatch]),
        Op::FlushSet("endpoints".into()),
        Op::FlushChain("base".into()),
        Op::DeleteSet("endpoints".into()),
        Op::DeleteChain("other".into()),
        Op::DeleteTable,
    ]);
    check("batch.nft", &text::batch(&batch));
}
