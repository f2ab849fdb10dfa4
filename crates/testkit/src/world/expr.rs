//! Selectors with a meaning of their own: written out for the engine under test, and evaluated here
//! as the language is specified.

use std::collections::BTreeMap;
use std::fmt;

use super::Word;

/// A condition on the value of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// `==`
    Is,
    /// `starts with`
    Starts,
    /// `ends with`
    Ends,
    /// `contains`
    Contains,
}

/// A selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// `all()`
    All,
    /// `global()`, as a rule's namespace selector alone.
    Global,
    /// `has(label)`
    Has(Word),
    /// A condition on a label.
    Test(Word, Test, Word),
    /// `label != value`
    IsNot(Word, Word),
    /// `label in {…}`, or `not in`.
    In(Word, Vec<Word>, bool),
    /// Both.
    And(Box<Expr>, Box<Expr>),
    /// Either.
    Or(Box<Expr>, Box<Expr>),
    /// Not.
    Not(Box<Expr>),
}

impl Expr {
    /// Whether labels satisfy the selector: a missing label fails every positive condition.
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = |label: &Word| labels.get(*label).map(String::as_str);
        match self {
            Expr::All => true,
            Expr::Global => false,
            Expr::Has(label) => value(label).is_some(),
            Expr::Test(label, test, want) => value(label).is_some_and(|v| match test {
                Test::Is => v == *want,
                Test::Starts => v.starts_with(want),
                Test::Ends => v.ends_with(want),
                Test::Contains => v.contains(want),
            }),
            Expr::IsNot(label, want) => value(label) != Some(want),
            Expr::In(label, set, negated) => {
                value(label).is_some_and(|v| set.contains(&v)) != *negated
            }
            Expr::And(a, b) => a.holds(labels) && b.holds(labels),
            Expr::Or(a, b) => a.holds(labels) || b.holds(labels),
            Expr::Not(a) => !a.holds(labels),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::All => f.write_str("all()"),
            Expr::Global => f.write_str("global()"),
            Expr::Has(label) => write!(f, "has({label})"),
            Expr::Test(label, test, value) => {
                let operator = match test {
                    Test::Is => "==",
                    Test::Starts => "starts with",
                    Test::Ends => "ends with",
                    Test::Contains => "contains",
                };
                write!(f, "{label} {operator} '{value}'")
            }
            Expr::IsNot(label, value) => write!(f, "{label} != '{value}'"),
            Expr::In(label, set, negated) => {
                let not = if *negated { "not " } else { "" };
                let set: Vec<String> = set.iter().map(|v| format!("'{v}'")).collect();
                write!(f, "{label} {not}in {{{}}}", set.join(", "))
            }
            Expr::And(a, b) => write!(f, "({a} && {b})"),
            Expr::Or(a, b) => write!(f, "({a} || {b})"),
            Expr::Not(a) => write!(f, "!({a})"),
        }
    }
}
