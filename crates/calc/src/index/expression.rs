//! Selectors over interned labels.

use tortie_selector::{Node, Selector};

use crate::intern::{Atom, Interner};

/// A selector with its texts interned. Negations stand at the leaves' side of nothing but leaves and
/// groups: a doubled one is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Expression {
    /// Always true.
    All,
    /// The label is there.
    Has(Atom),
    /// The label has one of the values.
    In(Atom, Box<[Atom]>),
    /// The label's value contains, starts or ends with a text.
    Like(Atom, Like, Box<str>),
    /// Not so.
    Not(Box<Expression>),
    /// All of them.
    And(Box<[Expression]>),
    /// One of them.
    Or(Box<[Expression]>),
}

/// Where in a value a text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Like {
    /// Anywhere.
    Contains,
    /// At the start.
    Starts,
    /// At the end.
    Ends,
}

impl Expression {
    pub(crate) fn new(selector: &Selector, texts: &mut Interner) -> Expression {
        Expression::of(selector.node(), texts)
    }

    fn of(node: &Node, texts: &mut Interner) -> Expression {
        let mut group = |nodes: &[Node]| nodes.iter().map(|n| Expression::of(n, texts)).collect();
        match node {
            Node::All | Node::Global => Expression::All,
            Node::And(nodes) => Expression::And(group(nodes)),
            Node::Or(nodes) => Expression::Or(group(nodes)),
            Node::Not(node) => Expression::of(node, texts).negated(),
            Node::Has(key) => Expression::Has(texts.intern(key)),
            Node::Eq(key, value) => is_in(key, [value], texts),
            Node::Ne(key, value) => is_in(key, [value], texts).negated(),
            Node::In(key, values) => is_in(key, values, texts),
            Node::NotIn(key, values) => is_in(key, values, texts).negated(),
            Node::Contains(key, text) => like(key, Like::Contains, text, texts),
            Node::StartsWith(key, text) => like(key, Like::Starts, text, texts),
            Node::EndsWith(key, text) => like(key, Like::Ends, text, texts),
        }
    }

    fn negated(self) -> Expression {
        match self {
            Expression::Not(operand) => *operand,
            other => Expression::Not(Box::new(other)),
        }
    }

    /// Whether labels satisfy it. `value` looks a label up.
    pub(crate) fn matches(&self, value: &impl Fn(Atom) -> Option<Atom>, texts: &Interner) -> bool {
        match self {
            Expression::All => true,
            Expression::Has(key) => value(*key).is_some(),
            Expression::In(key, values) => value(*key).is_some_and(|v| values.contains(&v)),
            Expression::Like(key, like, part) => value(*key).is_some_and(|v| {
                let text = texts.text(v).as_str();
                match like {
                    Like::Contains => text.contains(&**part),
                    Like::Starts => text.starts_with(&**part),
                    Like::Ends => text.ends_with(&**part),
                }
            }),
            Expression::Not(operand) => !operand.matches(value, texts),
            Expression::And(operands) => operands.iter().all(|o| o.matches(value, texts)),
            Expression::Or(operands) => operands.iter().any(|o| o.matches(value, texts)),
        }
    }

    /// Calls `visit` with each text it holds, labels first.
    pub(crate) fn for_each_atom(&self, visit: &mut dyn FnMut(Atom)) {
        match self {
            Expression::All => {}
            Expression::Has(key) | Expression::Like(key, ..) => visit(*key),
            Expression::In(key, values) => {
                visit(*key);
                values.iter().for_each(|value| visit(*value));
            }
            Expression::Not(operand) => operand.for_each_atom(visit),
            Expression::And(operands) | Expression::Or(operands) => {
                operands.iter().for_each(|operand| operand.for_each_atom(visit));
            }
        }
    }

    /// The bits of the labels it looks at.
    pub(crate) fn mentions(&self) -> u64 {
        match self {
            Expression::All => 0,
            Expression::Has(key) | Expression::Like(key, ..) | Expression::In(key, _) => key.bit(),
            Expression::Not(operand) => operand.mentions(),
            Expression::And(operands) | Expression::Or(operands) => {
                operands.iter().fold(0, |bits, operand| bits | operand.mentions())
            }
        }
    }
}

fn is_in<'a>(
    key: &str,
    values: impl IntoIterator<Item = &'a String>,
    texts: &mut Interner,
) -> Expression {
    let key = texts.intern(key);
    Expression::In(key, values.into_iter().map(|value| texts.intern(value)).collect())
}

fn like(key: &str, like: Like, text: &str, texts: &mut Interner) -> Expression {
    Expression::Like(texts.intern(key), like, text.into())
}
