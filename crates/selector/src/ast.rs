//! The syntax tree and its meaning.

use std::collections::BTreeSet;

use crate::Labels;

/// One node of a selector's tree.
///
/// Labels and values are plain strings here; [`Selector::from_node`](crate::Selector::from_node)
/// checks that a tree built by hand can be written in the language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// `all()`: always true.
    All,
    /// `global()`: always true by itself; it gets its meaning when a policy's namespace selector is
    /// rewritten.
    Global,
    /// `has(label)`: the label exists, even with an empty value.
    Has(String),
    /// `label == "value"`; false without the label.
    Eq(String, String),
    /// `label != "value"`; true without the label.
    Ne(String, String),
    /// `label contains "value"`; false without the label.
    Contains(String, String),
    /// `label starts with "value"`; false without the label.
    StartsWith(String, String),
    /// `label ends with "value"`; false without the label.
    EndsWith(String, String),
    /// `label in {"value", …}`; false without the label.
    In(String, BTreeSet<String>),
    /// `label not in {"value", …}`; true without the label.
    NotIn(String, BTreeSet<String>),
    /// `!operand`.
    Not(Box<Node>),
    /// `operand && …`; without operands it is true.
    And(Vec<Node>),
    /// `operand || …`; without operands it is false.
    Or(Vec<Node>),
}

impl Node {
    /// Whether the labels satisfy this node. Values are compared byte by byte, in their own case.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        let holds = |label: &str, test: &dyn Fn(&str) -> bool| labels.get(label).is_some_and(test);
        match self {
            Self::All | Self::Global => true,
            Self::Has(label) => labels.get(label).is_some(),
            Self::Eq(label, value) => labels.get(label) == Some(value),
            Self::Ne(label, value) => labels.get(label) != Some(value),
            Self::Contains(label, part) => holds(label, &|value| value.contains(part.as_str())),
            Self::StartsWith(label, part) => holds(label, &|value| value.starts_with(part)),
            Self::EndsWith(label, part) => holds(label, &|value| value.ends_with(part)),
            Self::In(label, set) => holds(label, &|value| set.contains(value)),
            Self::NotIn(label, set) => !holds(label, &|value| set.contains(value)),
            Self::Not(operand) => !operand.matches(labels),
            Self::And(operands) => operands.iter().all(|operand| operand.matches(labels)),
            Self::Or(operands) => operands.iter().any(|operand| operand.matches(labels)),
        }
    }

    /// The label a leaf looks at; `None` for `all()`, `global()` and the operators.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Has(label)
            | Self::Eq(label, _)
            | Self::Ne(label, _)
            | Self::Contains(label, _)
            | Self::StartsWith(label, _)
            | Self::EndsWith(label, _)
            | Self::In(label, _)
            | Self::NotIn(label, _) => Some(label),
            Self::All | Self::Global | Self::Not(_) | Self::And(_) | Self::Or(_) => None,
        }
    }

    /// Calls `visit` on each leaf, from left to right.
    pub fn for_each_leaf<'a>(&'a self, visit: &mut impl FnMut(&'a Node)) {
        match self {
            Self::Not(operand) => operand.for_each_leaf(visit),
            Self::And(operands) | Self::Or(operands) => {
                operands.iter().for_each(|operand| operand.for_each_leaf(visit));
            }
            leaf => visit(leaf),
        }
    }

    /// The tree with each leaf replaced by what `replace` makes of it. Replacements are not visited.
    pub(crate) fn map_leaves(&self, replace: &mut impl FnMut(&Node) -> Node) -> Node {
        let mut all = |operands: &[Node]| {
            operands.iter().map(|operand| operand.map_leaves(replace)).collect()
        };
        match self {
            Self::And(operands) => Self::And(all(operands)),
            Self::Or(operands) => Self::Or(all(operands)),
            Self::Not(operand) => Self::Not(Box::new(operand.map_leaves(replace))),
            leaf => replace(leaf),
        }
    }

    pub(crate) fn label_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Has(label)
            | Self::Eq(label, _)
            | Self::Ne(label, _)
            | Self::Contains(label, _)
            | Self::StartsWith(label, _)
            | Self::EndsWith(label, _)
            | Self::In(label, _)
            | Self::NotIn(label, _) => Some(label),
            Self::All | Self::Global | Self::Not(_) | Self::And(_) | Self::Or(_) => None,
        }
    }

    /// How many groups stand inside each other, which is the depth of the canonical text's
    /// parentheses.
    pub(crate) fn nesting(&self) -> usize {
        match self {
            Self::Not(operand) => operand.nesting(),
            Self::And(operands) | Self::Or(operands) => {
                1 + operands.iter().map(Self::nesting).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The negation, without stacking one `!` upon another.
    pub(crate) fn negated(self) -> Node {
        match self {
            Self::Not(operand) => *operand,
            other => Self::Not(Box::new(other)),
        }
    }

    /// `&&` over the operands; a single one stands for itself, none is `all()`.
    pub(crate) fn conjunction(mut operands: Vec<Node>) -> Node {
        match operands.len() {
            0 => Self::All,
            1 => operands.remove(0),
            _ => Self::And(operands),
        }
    }

    /// `||` over the operands; a single one stands for itself, none is `!all()`.
    pub(crate) fn disjunction(mut operands: Vec<Node>) -> Node {
        match operands.len() {
            0 => Self::All.negated(),
            1 => operands.remove(0),
            _ => Self::Or(operands),
        }
    }
}
