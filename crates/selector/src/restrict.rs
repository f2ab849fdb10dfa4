//! What a selector implies about single labels, without evaluating it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Labels, Node};

/// What must hold of one label wherever the selector matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restriction<'a> {
    /// The label is missing.
    Absent,
    /// The label is there, with any value.
    Present,
    /// The label is there, with one of these values. Never empty.
    OneOf(BTreeSet<&'a str>),
}

/// Necessary conditions for a selector to match, for use by an index: whatever the selector matches
/// satisfies all of them. They are not sufficient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restrictions<'a> {
    /// No labels can satisfy the selector.
    Impossible,
    /// By label. A label that is not listed is not restricted.
    Labels(BTreeMap<&'a str, Restriction<'a>>),
}

impl<'a> Restriction<'a> {
    /// Whether the label must be there.
    pub fn must_be_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Whether the label must be missing.
    pub fn must_be_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The values of which the label must have one, if they are known.
    pub fn one_of(&self) -> Option<&BTreeSet<&'a str>> {
        match self {
            Self::OneOf(values) => Some(values),
            Self::Absent | Self::Present => None,
        }
    }

    /// Whether a label with this value, or a missing one, satisfies the restriction.
    pub fn admits(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Absent, value) => value.is_none(),
            (Self::Present, value) => value.is_some(),
            (Self::OneOf(values), Some(value)) => values.contains(value),
            (Self::OneOf(_), None) => false,
        }
    }

    /// Both restrictions at once; `None` if that is impossible.
    fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Absent, Self::Absent) => Some(Self::Absent),
            (Self::Absent, _) | (_, Self::Absent) => None,
            (Self::Present, other) | (other, Self::Present) => Some(other),
            (Self::OneOf(left), Self::OneOf(right)) => {
                let both: BTreeSet<_> = left.intersection(&right).copied().collect();
                (!both.is_empty()).then_some(Self::OneOf(both))
            }
        }
    }

    /// What holds if one of the restrictions holds; `None` if that is nothing.
    fn or(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Absent, Self::Absent) => Some(Self::Absent),
            (Self::Absent, _) | (_, Self::Absent) => None,
            (Self::Present, _) | (_, Self::Present) => Some(Self::Present),
            (Self::OneOf(mut left), Self::OneOf(right)) => {
                left.extend(right);
                Some(Self::OneOf(left))
            }
        }
    }
}

impl<'a> Restrictions<'a> {
    /// The restrictions that `node` implies or, if `negated`, those that its negation implies.
    pub(crate) fn of(node: &'a Node, negated: bool) -> Self {
        match node {
            Node::Not(operand) => Self::of(operand, !negated),
            Node::And(operands) if !negated => Self::all_of(operands, negated),
            Node::Or(operands) if negated => Self::all_of(operands, negated),
            Node::And(operands) | Node::Or(operands) => Self::any_of(operands, negated),
            leaf if negated => Self::of_negated_leaf(leaf),
            leaf => Self::of_leaf(leaf),
        }
    }

    /// Whether no labels can satisfy the selector.
    pub fn is_impossible(&self) -> bool {
        matches!(self, Self::Impossible)
    }

    /// The restriction on one label.
    pub fn get(&self, label: &str) -> Option<&Restriction<'a>> {
        match self {
            Self::Impossible => None,
            Self::Labels(labels) => labels.get(label),
        }
    }

    /// The restricted labels in order; none if the selector is impossible.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Restriction<'a>)> {
        let labels = match self {
            Self::Impossible => None,
            Self::Labels(labels) => Some(labels),
        };
        labels.into_iter().flatten().map(|(label, restriction)| (*label, restriction))
    }

    /// Whether the labels satisfy every restriction. If not, the selector does not match them.
    pub fn admit<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        !self.is_impossible()
            && self.iter().all(|(label, restriction)| restriction.admits(labels.get(label)))
    }

    fn all_of(operands: &'a [Node], negated: bool) -> Self {
        let each = operands.iter().map(|operand| Self::of(operand, negated));
        each.fold(Self::none(), Self::and)
    }

    fn any_of(operands: &'a [Node], negated: bool) -> Self {
        let each = operands.iter().map(|operand| Self::of(operand, negated));
        each.fold(Self::Impossible, Self::or)
    }

    fn of_leaf(leaf: &'a Node) -> Self {
        match leaf {
            Node::Has(label)
            | Node::Contains(label, _)
            | Node::StartsWith(label, _)
            | Node::EndsWith(label, _) => Self::one(label, Restriction::Present),
            Node::Eq(label, value) => Self::one_of(label, [value.as_str()].into()),
            Node::In(label, values) => Self::one_of(label, borrowed(values)),
            _ => Self::none(),
        }
    }

    fn of_negated_leaf(leaf: &'a Node) -> Self {
        match leaf {
            Node::All | Node::Global => Self::Impossible,
            Node::Has(label) => Self::one(label, Restriction::Absent),
            Node::Ne(label, value) => Self::one_of(label, [value.as_str()].into()),
            Node::NotIn(label, values) => Self::one_of(label, borrowed(values)),
            _ => Self::none(),
        }
    }

    fn none() -> Self {
        Self::Labels(BTreeMap::new())
    }

    fn one(label: &'a str, restriction: Restriction<'a>) -> Self {
        Self::Labels([(label, restriction)].into())
    }

    fn one_of(label: &'a str, values: BTreeSet<&'a str>) -> Self {
        if values.is_empty() {
            Self::Impossible
        } else {
            Self::one(label, Restriction::OneOf(values))
        }
    }

    fn and(self, other: Self) -> Self {
        let (Self::Labels(mut left), Self::Labels(right)) = (self, other) else {
            return Self::Impossible;
        };
        for (label, theirs) in right {
            let both = match left.remove(label) {
                Some(ours) => ours.and(theirs),
                None => Some(theirs),
            };
            let Some(both) = both else { return Self::Impossible };
            left.insert(label, both);
        }
        Self::Labels(left)
    }

    fn or(self, other: Self) -> Self {
        let (left, mut right) = match (self, other) {
            (Self::Impossible, possible) | (possible, Self::Impossible) => return possible,
            (Self::Labels(left), Self::Labels(right)) => (left, right),
        };
        let either = |(label, ours): (&'a str, Restriction<'a>)| {
            Some((label, ours.or(right.remove(label)?)?))
        };
        Self::Labels(left.into_iter().filter_map(either).collect())
    }
}

fn borrowed(values: &BTreeSet<String>) -> BTreeSet<&str> {
    values.iter().map(String::as_str).collect()
}
