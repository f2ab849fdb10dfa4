//! The least change of labels by which a selector would match.

use std::collections::BTreeSet;

use tortie_selector::{Node, Selector};

use super::identity::Identity;
use crate::Side;
use crate::labels::{METADATA_NAME, NAME, NAMESPACE};

/// How many ways are followed at once: selectors of people have few.
const MAX_WAYS: usize = 64;

/// The end with the fewest changes by which a selector matches, or does not match, its labels; none
/// if no way is found.
pub(super) fn relabel<'c>(
    before: &Identity<'c>,
    selector: &Selector,
    want: bool,
) -> Option<Identity<'c>> {
    let ways = solve(selector.node(), want, before.clone());
    let found = ways.into_iter().filter(|way| selector.matches(&way.labels()) == want);
    found.min_by_key(|way| way.changes(before, Side::Source).len())
}

/// Ways to make a part of a selector true or false, each with what was changed for the parts before.
fn solve<'c>(node: &Node, want: bool, start: Identity<'c>) -> Vec<Identity<'c>> {
    match (node, want) {
        (Node::Not(operand), want) => solve(operand, !want, start),
        (Node::And(operands), true) | (Node::Or(operands), false) => {
            operands.iter().fold(vec![start], |ways, operand| {
                let next = ways.into_iter().flat_map(|way| solve(operand, want, way));
                next.take(MAX_WAYS).collect()
            })
        }
        (Node::And(operands), false) | (Node::Or(operands), true) => {
            let each = operands.iter().flat_map(|operand| solve(operand, want, start.clone()));
            each.take(MAX_WAYS).collect()
        }
        (leaf, want) if leaf.matches(&start.labels()) == want => vec![start],
        (leaf, want) => {
            let Some(key) = leaf.label() else { return Vec::new() };
            let now = start.labels().get(key).map(ToString::to_string);
            let values = values(leaf, want, now.as_deref(), &start);
            values.iter().filter_map(|value| start.with(key, value.as_deref())).collect()
        }
    }
}

/// Values by which a leaf becomes true or false; none for the label to be gone.
fn values(leaf: &Node, want: bool, now: Option<&str>, end: &Identity<'_>) -> Vec<Option<String>> {
    let one = |value: &str| vec![Some(value.to_owned())];
    match (leaf, want) {
        (Node::Has(_), true) => one(""),
        (Node::Eq(_, value), true) | (Node::Ne(_, value), false) => one(value),
        (Node::In(_, set), true) | (Node::NotIn(_, set), false) => {
            set.iter().cloned().map(Some).collect()
        }
        (Node::Contains(_, part), true) => parts([now.map(|n| format!("{n}{part}")), None], part),
        (Node::StartsWith(_, part), true) => parts([now.map(|n| format!("{part}{n}")), None], part),
        (Node::EndsWith(_, part), true) => parts([now.map(|n| format!("{n}{part}")), None], part),
        (leaf, _) => without(leaf, end),
    }
}

fn parts(longer: [Option<String>; 2], part: &str) -> Vec<Option<String>> {
    let padded = format!("x{part}x");
    let fits = |text: &String| {
        let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
        edge(text.chars().next()) && edge(text.chars().last())
    };
    let all = [part.to_owned(), format!("{part}x"), format!("x{part}"), padded];
    all.into_iter().chain(longer.into_iter().flatten()).filter(fits).map(Some).collect()
}

/// No label at all, or a value that a leaf does not speak of.
fn without(leaf: &Node, end: &Identity<'_>) -> Vec<Option<String>> {
    let key = leaf.label().unwrap_or_default();
    let of_namespace =
        key.strip_prefix("pcns.").is_some_and(|k| [NAME, METADATA_NAME].contains(&k));
    let named: BTreeSet<&str> = match leaf {
        Node::Eq(_, value) | Node::Ne(_, value) => [value.as_str()].into(),
        Node::In(_, set) | Node::NotIn(_, set) => set.iter().map(String::as_str).collect(),
        Node::Contains(_, part) | Node::StartsWith(_, part) | Node::EndsWith(_, part) => {
            let holds = |name: &str| name.contains(part.as_str());
            return vec![None, Some(end.another_namespace(holds))];
        }
        _ => return vec![None],
    };
    let other = match key == NAMESPACE || of_namespace {
        true => end.another_namespace(|name| named.contains(name)),
        false => ["other", "another"]
            .into_iter()
            .find(|v| !named.contains(v))
            .map_or_else(String::new, str::to_owned),
    };
    vec![None, Some(other)]
}
