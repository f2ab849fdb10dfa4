//! Checks a tree that was not parsed, and brings it into the one shape a parsed tree has.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use crate::{MAX_LABEL, MAX_NESTING, Node, cursor};

/// Why a tree cannot be written in the selector language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildError {
    /// The label is empty or has a character other than ASCII letters, digits, `_`, `.`, `/` and `-`.
    InvalidLabel(String),
    /// The label is longer than [`MAX_LABEL`] bytes.
    LabelTooLong(String),
    /// The value holds both kinds of quote. A quoted string has no escapes, so no text denotes it.
    BothQuotes(String),
    /// More than [`MAX_NESTING`] groups stand inside each other.
    TooDeep,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidLabel(label) => write!(
                f,
                "invalid label `{}`: labels are made of ASCII letters, digits, `_`, `.`, `/` and `-`",
                label.escape_debug()
            ),
            Self::LabelTooLong(label) => {
                write!(f, "a label of {} bytes is longer than {MAX_LABEL}", label.len())
            }
            Self::BothQuotes(value) => write!(
                f,
                "value `{}` holds both `'` and `\"`, which no selector can express",
                value.escape_debug()
            ),
            Self::TooDeep => write!(f, "selector is nested deeper than {MAX_NESTING} levels"),
        }
    }
}

impl Error for BuildError {}

/// Checks `node` and normalises it: no `!!`, and no group of fewer than two operands.
pub(crate) fn build(node: Node) -> Result<Node, BuildError> {
    let node = normalise(node)?;
    check_nesting(&node)?;
    Ok(node)
}

pub(crate) fn check_nesting(node: &Node) -> Result<(), BuildError> {
    if node.nesting() > MAX_NESTING { Err(BuildError::TooDeep) } else { Ok(()) }
}

fn normalise(node: Node) -> Result<Node, BuildError> {
    match node {
        Node::Not(operand) => normalise(*operand).map(Node::negated),
        Node::And(operands) => normalise_all(operands).map(Node::conjunction),
        Node::Or(operands) => normalise_all(operands).map(Node::disjunction),
        leaf => check_leaf(&leaf).map(|()| leaf),
    }
}

fn normalise_all(operands: Vec<Node>) -> Result<Vec<Node>, BuildError> {
    operands.into_iter().map(normalise).collect()
}

fn check_leaf(leaf: &Node) -> Result<(), BuildError> {
    leaf.label().map_or(Ok(()), check_label)?;
    match leaf {
        Node::Eq(_, value)
        | Node::Ne(_, value)
        | Node::Contains(_, value)
        | Node::StartsWith(_, value)
        | Node::EndsWith(_, value) => check_value(value),
        Node::In(_, values) | Node::NotIn(_, values) => check_values(values),
        _ => Ok(()),
    }
}

fn check_label(label: &str) -> Result<(), BuildError> {
    if label.is_empty() || !label.bytes().all(cursor::is_label_byte) {
        return Err(BuildError::InvalidLabel(label.to_owned()));
    }
    if label.len() > MAX_LABEL {
        return Err(BuildError::LabelTooLong(label.to_owned()));
    }
    Ok(())
}

fn check_values(values: &BTreeSet<String>) -> Result<(), BuildError> {
    values.iter().try_for_each(|value| check_value(value))
}

fn check_value(value: &str) -> Result<(), BuildError> {
    if value.contains('"') && value.contains('\'') {
        return Err(BuildError::BothQuotes(value.to_owned()));
    }
    Ok(())
}
