//! The public API on plain examples.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tortie_selector::{BuildError, Labels, MAX_LABEL, Node, Selector};

fn parse(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

#[test]
fn all_has_calicos_id() {
    assert_eq!(Selector::all().id(), "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug");
    assert_eq!(parse(" \t").id(), Selector::all().id());
}

#[test]
fn every_kind_of_labels_is_read() {
    let selector = parse("a == 'b' && !has(c)");
    let pairs = [("a", "b")];
    assert!(selector.matches(&pairs));
    assert!(selector.matches(pairs.as_slice()));
    assert!(selector.matches(&pairs.to_vec()));
    assert!(selector.matches(&BTreeMap::from(pairs)));
    assert!(selector.matches(&HashMap::from(pairs)));
    let owned = BTreeMap::from(pairs.map(|(label, value)| (label.to_owned(), value.to_owned())));
    assert!(selector.matches(&owned));
    assert!(selector.matches(&&owned));
    let dynamic: Arc<dyn Labels> = Arc::new(owned);
    assert!(selector.matches(&dynamic));
    assert!(selector.matches(&*dynamic));
}

#[test]
fn the_first_pair_with_a_label_counts() {
    let pairs = [("a", "first"), ("a", "second")];
    assert!(parse("a == 'first'").matches(&pairs));
    assert!(!parse("a == 'second'").matches(&pairs));
}

#[test]
fn selectors_compose_as_trees() {
    let namespace = Selector::equals("projectcalico.org/namespace", "yao").unwrap();
    let accounts = Selector::is_in("projectcalico.org/serviceaccount", ["b", "a", "b"]).unwrap();
    let user = parse("x == 'all()' || has(y)");
    let combined = Selector::and([user.with_prefix("pcns.").unwrap(), namespace, accounts.not()]);
    assert_eq!(
        combined.unwrap().canonical(),
        concat!(
            r#"((pcns.x == "all()" || has(pcns.y)) && projectcalico.org/namespace == "yao" "#,
            r#"&& !projectcalico.org/serviceaccount in {"a", "b"})"#,
        )
    );
}

#[test]
fn and_of_nothing_is_all_and_of_one_is_that_one() {
    assert!(Selector::and([]).unwrap().is_all());
    let one = parse("has(a)");
    assert_eq!(Selector::and([one.clone()]).unwrap(), one);
}

#[test]
fn rewriting_replaces_leaves_and_nothing_else() {
    let rewritten = parse("global() || (all() && a == 'global()')").rewrite(|leaf| match leaf {
        Node::All => Some(Node::Has("ns".into())),
        Node::Global => Some(Node::Not(Box::new(Node::Has("ns".into())))),
        _ => None,
    });
    assert_eq!(rewritten.unwrap().canonical(), r#"(!has(ns) || (has(ns) && a == "global()"))"#);
}

#[test]
fn global_is_found_wherever_it_stands() {
    assert!(parse("has(a) || !(global())").uses_global());
    assert!(!parse("a == 'global()' && global == 'x'").uses_global());
}

#[test]
fn trees_are_normalised() {
    let not = |node| Node::Not(Box::new(node));
    let has = || Node::Has("a".into());
    let cases = [
        (Node::And(vec![]), "all()"),
        (Node::Or(vec![]), "!all()"),
        (Node::And(vec![has()]), "has(a)"),
        (Node::Or(vec![Node::And(vec![has()])]), "has(a)"),
        (not(not(has())), "has(a)"),
        (not(Node::And(vec![not(has())])), "has(a)"),
        (not(Node::Or(vec![])), "all()"),
    ];
    for (node, canonical) in cases {
        assert_eq!(Selector::from_node(node).unwrap().canonical(), canonical);
    }
}

#[test]
fn what_no_text_can_say_is_refused() {
    let cases = [
        (Selector::has(""), BuildError::InvalidLabel(String::new())),
        (Selector::has("a b"), BuildError::InvalidLabel("a b".into())),
        (Selector::equals("a", r#"'""#), BuildError::BothQuotes(r#"'""#.into())),
        (Selector::is_in("a", ["x", r#"'""#]), BuildError::BothQuotes(r#"'""#.into())),
        (
            Selector::has(&"a".repeat(MAX_LABEL)).unwrap().with_prefix("b"),
            BuildError::LabelTooLong(format!("b{}", "a".repeat(MAX_LABEL))),
        ),
    ];
    for (result, error) in cases {
        assert_eq!(result, Err(error));
    }
}
