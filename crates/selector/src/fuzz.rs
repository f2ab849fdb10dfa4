//! Bodies for fuzzing, each a property that must hold for any bytes. The crate's tests run them on
//! random input, and the targets in `fuzz/` under libFuzzer.

use std::collections::BTreeSet;

use crate::{MAX_NESTING, Node, ParseError, Selector};

/// Labels and values as a matched thing may have them.
type Pairs = Vec<(&'static str, &'static str)>;

const LABELS: [&str; 5] = ["a", "b", "in", "has", "x.y/z-_9"];
const VALUES: [&str; 6] = ["", "a", "ab", "b'", "\"", "é\n"];

/// Parses the bytes as text. An error must be printable; a selector must survive its own canonical
/// text and imply what it says it implies.
pub fn parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Selector::parse(text) {
        Ok(selector) => check_selector(&selector, data),
        Err(error) => check_error(text, &error),
    }
}

/// Builds a tree from the bytes. If it is within the limits, it must survive its canonical text,
/// and mean the same before and after normalisation.
pub fn build(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let labels = pairs(&mut bytes);
    let node = tree(&mut bytes, MAX_NESTING + 2);
    let meant = node.matches(&labels);
    if let Ok(selector) = Selector::from_node(node) {
        assert_eq!(selector.matches(&labels), meant, "{selector} changed its meaning");
        assert_eq!(selector.clone().not().matches(&labels), !meant, "{selector} negated");
        check_selector(&selector, data);
    }
}

fn check_selector(selector: &Selector, data: &[u8]) {
    let canonical = selector.canonical();
    let Ok(again) = Selector::parse(canonical) else { panic_on(canonical) };
    assert_eq!(again.node(), selector.node(), "round trip of {selector}");
    assert_eq!(again.canonical(), canonical, "canonical text of canonical text");
    assert_eq!(again.id(), selector.id(), "id of {selector}");

    let labels = pairs(&mut data.iter().rev().copied());
    let admitted = selector.restrictions().admit(&labels);
    assert!(admitted || !selector.matches(&labels), "restrictions of {selector} on {labels:?}");
}

#[expect(clippy::panic, reason = "a fuzz body reports its finding by a panic")]
fn panic_on(canonical: &str) -> ! {
    panic!("canonical text does not parse: {canonical:?}")
}

fn check_error(text: &str, error: &ParseError) {
    let span = error.span();
    assert!(text.get(span.clone()).is_some(), "span {span:?} does not fit {text:?}");
    assert_eq!(error.render().lines().count(), 2, "excerpt of {text:?}");
    assert_eq!(error.to_string().lines().count(), 1, "message about {text:?}");
    assert!(error.hint().is_none_or(|hint| hint.lines().count() == 1), "hint for {text:?}");
}

/// A tree of at most `depth` levels; all kinds of leaves when the bytes run out.
fn tree(bytes: &mut impl Iterator<Item = u8>, depth: usize) -> Node {
    let kind = bytes.next().unwrap_or_default();
    let operands = |bytes: &mut _| (0..kind / 16 % 4).map(|_| tree(bytes, depth - 1)).collect();
    match kind % 16 {
        13 if depth > 0 => Node::Not(Box::new(tree(bytes, depth - 1))),
        14 if depth > 0 => Node::And(operands(bytes)),
        15 if depth > 0 => Node::Or(operands(bytes)),
        kind => leaf(kind, bytes),
    }
}

fn leaf(kind: u8, bytes: &mut impl Iterator<Item = u8>) -> Node {
    let label = pick(&LABELS, bytes).to_owned();
    let value = pick(&VALUES, bytes).to_owned();
    match kind {
        0 | 1 => Node::All,
        2 => Node::Global,
        3 => Node::Has(label),
        4 | 5 => Node::Eq(label, value),
        6 => Node::Ne(label, value),
        7 => Node::Contains(label, value),
        8 => Node::StartsWith(label, value),
        9 => Node::EndsWith(label, value),
        10 | 11 => Node::In(label, values(bytes)),
        _ => Node::NotIn(label, values(bytes)),
    }
}

fn values(bytes: &mut impl Iterator<Item = u8>) -> BTreeSet<String> {
    let chosen = bytes.next().unwrap_or_default();
    let chosen = (0..).zip(VALUES).filter(|(bit, _)| chosen >> bit & 1 == 1);
    chosen.map(|(_, value)| value.to_owned()).collect()
}

/// One value, or none, for each label.
fn pairs(bytes: &mut impl Iterator<Item = u8>) -> Pairs {
    let chosen = LABELS.into_iter().zip(bytes.chain(std::iter::repeat(0)));
    let value = |byte: u8| VALUES.get(usize::from(byte) % (VALUES.len() + 2)).copied();
    chosen.filter_map(|(label, byte)| Some((label, value(byte)?))).collect()
}

fn pick<'a>(from: &[&'a str], bytes: &mut impl Iterator<Item = u8>) -> &'a str {
    let index = usize::from(bytes.next().unwrap_or_default()) % from.len();
    from.get(index).copied().unwrap_or_default()
}
