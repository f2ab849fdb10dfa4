//! Sizes: what is accepted at the limit, what is refused beyond, and that nothing overflows.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::thread;

use tortie_selector::{BuildError, MAX_LABEL, MAX_NESTING, Node, ParseErrorKind, Selector};

fn parenthesised(depth: usize, inner: &str) -> String {
    "(".repeat(depth) + inner + &")".repeat(depth)
}

/// `a && (a || (a && …))`, with a chain at each of `depth` levels.
fn alternating(depth: usize) -> String {
    let text = (1..depth).rev().fold("has(a) && has(b)".to_owned(), |inner, level| {
        let operator = if level % 2 == 0 { "&&" } else { "||" };
        format!("has(a) {operator} !({inner})")
    });
    assert_eq!(text.matches('!').count(), depth - 1);
    text
}

#[test]
fn parentheses_nest_up_to_the_limit() {
    let selector = Selector::parse(&parenthesised(MAX_NESTING, "has(a)")).unwrap();
    assert_eq!(selector.canonical(), "has(a)");

    let error = Selector::parse(&parenthesised(MAX_NESTING + 1, "has(a)")).unwrap_err();
    assert_eq!(error.kind(), ParseErrorKind::TooDeep);
    assert_eq!(error.span(), MAX_NESTING..MAX_NESTING + 1);
    assert_eq!(error.to_string(), "selector is nested deeper than 100 levels at byte 100");
}

#[test]
fn chains_nest_up_to_the_limit() {
    let selector = Selector::parse(&alternating(MAX_NESTING)).unwrap();
    assert_eq!(Selector::parse(selector.canonical()).unwrap(), selector);

    let error = Selector::parse(&alternating(MAX_NESTING + 1)).unwrap_err();
    assert_eq!(error.kind(), ParseErrorKind::TooDeep);
}

/// `a && b || c` is one pair of parentheses less than its canonical text has.
#[test]
fn chains_without_parentheses_of_their_own_count_too() {
    let nested = |depth| {
        (0..depth).fold("has(a)".to_owned(), |inner, _| format!("({inner} && has(a) || has(a))"))
    };
    let selector = Selector::parse(&nested(MAX_NESTING / 2)).unwrap();
    assert_eq!(Selector::parse(selector.canonical()).unwrap(), selector);

    let error = Selector::parse(&nested(MAX_NESTING / 2 + 1)).unwrap_err();
    assert_eq!(error.kind(), ParseErrorKind::TooDeep);
    assert_eq!(error.offset(), MAX_NESTING / 2, "the innermost parenthesis is to blame");
}

#[test]
fn composition_stops_at_the_limit() {
    let deepest = Selector::parse(&alternating(MAX_NESTING)).unwrap();
    let other = Selector::has("b").unwrap();
    assert_eq!(Selector::and([deepest, other.clone()]), Err(BuildError::TooDeep));

    let nearly = Selector::parse(&alternating(MAX_NESTING - 1)).unwrap();
    let combined = Selector::and([nearly, other]).unwrap();
    assert_eq!(Selector::parse(combined.canonical()).unwrap(), combined);
}

#[test]
fn labels_reach_the_limit() {
    let (longest, longer) = ("a".repeat(MAX_LABEL), "a".repeat(MAX_LABEL + 1));
    for template in ["LABEL == 'b'", "has(LABEL)"] {
        Selector::parse(&template.replace("LABEL", &longest)).unwrap();
        let error = Selector::parse(&template.replace("LABEL", &longer)).unwrap_err();
        let start = template.find("LABEL").unwrap();
        assert_eq!(error.kind(), ParseErrorKind::LabelTooLong);
        assert_eq!(error.span(), start..start + longer.len());
    }
}

#[test]
fn huge_texts_are_read_or_refused() {
    const HUGE: usize = 1 << 20;
    let even = "!".repeat(HUGE) + "has(a)";
    assert_eq!(Selector::parse(&even).unwrap().canonical(), "has(a)");
    assert!(Selector::parse(&"!".repeat(HUGE)).is_err());
    assert!(Selector::parse(&"(".repeat(HUGE)).is_err());
    assert!(Selector::parse(&")".repeat(HUGE)).is_err());
    assert!(Selector::parse(&"!(".repeat(HUGE)).is_err());
    assert!(Selector::parse(&"\"".repeat(HUGE)).is_err());
    assert!(Selector::parse(&"a".repeat(HUGE)).is_err());

    let long = vec!["has(a)"; HUGE / 16].join("||");
    let selector = Selector::parse(&long).unwrap();
    assert!(selector.matches(&[("a", "")]));
    assert_eq!(Selector::parse(selector.canonical()).unwrap(), selector);
}

/// Everything that recurses, on a stack far smaller than any thread of ours has.
#[test]
fn the_deepest_selector_fits_a_small_stack() {
    let work = || {
        let selector = Selector::parse(&alternating(MAX_NESTING)).unwrap();
        let _ = selector.matches(&[("a", ""), ("b", "")]);
        let _ = selector.restrictions();
        let _ = selector.with_prefix("p.").unwrap().not().uses_global();
        let _ = selector.id();
        drop(Selector::from_node(Node::clone(selector.node())).unwrap());
    };
    thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
}

#[test]
fn selectors_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Selector>();
    shared::<tortie_selector::ParseError>();
}
