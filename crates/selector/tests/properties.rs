//! Properties that hold for all selectors, against an evaluator that knows nothing of the crate's.
//!
//! The evaluator here works on its own expressions, which are written out in random spellings, so
//! that the parser, the tree and the matching are all checked at once.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;
use tortie_selector::{Node, Selector};

type LabelMap = BTreeMap<String, String>;

/// A condition on a value, in the words of the specification.
#[derive(Debug, Clone, Copy)]
enum Test {
    Equal,
    Contains,
    Starts,
    Ends,
    Member,
}

#[derive(Debug, Clone)]
enum Expr {
    All,
    Global,
    Has(String),
    /// The label, the condition, whether it is the negative one (`!=`, `not in`), and the values.
    Compare(String, Test, bool, Vec<String>),
    Not(Box<Expr>),
    Chain(&'static str, Vec<Expr>),
}

impl Expr {
    /// What the specification says: a missing label fails the positive condition.
    fn holds(&self, labels: &LabelMap) -> bool {
        match self {
            Self::All | Self::Global => true,
            Self::Has(label) => labels.contains_key(label),
            Self::Compare(label, test, negative, values) => {
                let positive = match labels.get(label) {
                    None => false,
                    Some(actual) => values.iter().any(|value| holds(*test, actual, value)),
                };
                positive != *negative
            }
            Self::Not(operand) => !operand.holds(labels),
            Self::Chain(operator, operands) => {
                let held = operands.iter().filter(|operand| operand.holds(labels)).count();
                if *operator == "&&" { held == operands.len() } else { held > 0 }
            }
        }
    }

    /// One of the many spellings. Chains are put into parentheses wherever they might be misread.
    fn spell(&self, style: &mut Style) -> String {
        let gap = style.blanks();
        match self {
            Self::All => format!("all({gap})"),
            Self::Global => format!("global({gap})"),
            Self::Has(label) => format!("has({gap}{label}{})", style.blanks()),
            Self::Compare(label, test, negative, values) => {
                format!("{label} {gap}{}", spell_comparison(*test, *negative, values, style))
            }
            Self::Not(operand) => format!("!{gap}{}", operand.spell_operand(style)),
            Self::Chain(operator, operands) => {
                let operands: Vec<_> =
                    operands.iter().map(|operand| operand.spell_operand(style)).collect();
                operands.join(&format!("{gap}{operator}{gap}"))
            }
        }
    }

    fn spell_operand(&self, style: &mut Style) -> String {
        let group = matches!(self, Self::Chain(..)) || style.next().is_multiple_of(8);
        let text = self.spell(style);
        if group { format!("({text}{})", style.blanks()) } else { text }
    }
}

fn holds(test: Test, actual: &str, value: &str) -> bool {
    let (actual, value) = (actual.as_bytes(), value.as_bytes());
    match test {
        Test::Equal | Test::Member => actual == value,
        Test::Contains => {
            value.is_empty() || actual.windows(value.len()).any(|window| window == value)
        }
        Test::Starts => {
            actual.len() >= value.len() && actual.iter().zip(value).all(|(a, b)| a == b)
        }
        Test::Ends => {
            actual.len() >= value.len()
                && actual.iter().rev().zip(value.iter().rev()).all(|(a, b)| a == b)
        }
    }
}

fn spell_comparison(test: Test, negative: bool, values: &[String], style: &mut Style) -> String {
    let blanks = style.blanks();
    let operator = match (test, negative) {
        (Test::Equal, false) => "==".to_owned(),
        (Test::Equal, true) => "!=".to_owned(),
        (Test::Contains, _) => "contains".to_owned(),
        (Test::Starts, _) => format!("starts{blanks}with"),
        (Test::Ends, _) => format!("ends{blanks}with"),
        (Test::Member, false) => "in".to_owned(),
        (Test::Member, true) => format!("not{blanks}in"),
    };
    let values: Vec<_> = values.iter().map(|value| quote(value, style)).collect();
    match test {
        Test::Member => format!("{operator}{blanks}{{{}}}", values.join(&format!("{blanks},"))),
        _ => format!("{operator}{blanks}{}", values.concat()),
    }
}

fn quote(value: &str, style: &mut Style) -> String {
    let single = value.contains('"') || !value.contains('\'') && style.next().is_multiple_of(2);
    let quote = if single { '\'' } else { '"' };
    format!("{quote}{value}{quote}")
}

/// An endless supply of small decisions.
#[derive(Debug, Clone)]
struct Style(Vec<u8>, usize);

impl Style {
    fn next(&mut self) -> u8 {
        self.1 += 1;
        self.0.get(self.1 % self.0.len()).copied().unwrap_or_default()
    }

    fn blanks(&mut self) -> &'static str {
        match self.next() % 4 {
            0 => "",
            1 => " ",
            2 => "\t",
            _ => "  ",
        }
    }
}

// Few labels and values, so that they meet.
fn label() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "in", "all", "has", "x.y/z-_9"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{0,2}",
        1 => "[^']{0,3}",
        1 => "[^\"]{0,3}",
        1 => select(vec!["all()", " && ", "a'b", "\"", "é", "e\u{301}", "\n"]).prop_map(str::to_owned),
    ]
}

fn labels() -> impl Strategy<Value = LabelMap> {
    btree_map(label(), value(), 0..5)
}

fn compare() -> impl Strategy<Value = Expr> {
    let single = |test| (Just(test), Just(false), vec(value(), 1));
    let test = prop_oneof![
        (Just(Test::Equal), any::<bool>(), vec(value(), 1)),
        (Just(Test::Member), any::<bool>(), vec(value(), 0..4)),
        single(Test::Contains),
        single(Test::Starts),
        single(Test::Ends),
    ];
    (label(), test)
        .prop_map(|(label, (test, negative, values))| Expr::Compare(label, test, negative, values))
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        1 => Just(Expr::All),
        1 => Just(Expr::Global),
        2 => label().prop_map(Expr::Has),
        6 => compare(),
    ];
    leaf.prop_recursive(5, 40, 4, |operand| {
        prop_oneof![
            1 => operand.clone().prop_map(|operand| Expr::Not(Box::new(operand))),
            2 => (select(vec!["&&", "||"]), vec(operand, 2..5))
                .prop_map(|(operator, operands)| Expr::Chain(operator, operands)),
        ]
    })
}

fn style() -> impl Strategy<Value = Style> {
    vec(any::<u8>(), 1..40).prop_map(|bytes| Style(bytes, 0))
}

fn selector() -> impl Strategy<Value = Selector> {
    (expr(), style())
        .prop_map(|(expr, mut style)| Selector::parse(&expr.spell(&mut style)).unwrap())
}

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/properties.regressions");
    ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: Some(Box::new(regressions)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_spelling_matches_what_the_specification_says(
        expr in expr(), mut style in style(), labels in labels(),
    ) {
        let text = expr.spell(&mut style);
        let selector = Selector::parse(&text).unwrap();
        prop_assert_eq!(selector.matches(&labels), expr.holds(&labels), "{:?}", text);
    }

    #[test]
    fn spelling_does_not_matter(expr in expr(), mut one in style(), mut other in style()) {
        let one = Selector::parse(&expr.spell(&mut one)).unwrap();
        let other = Selector::parse(&expr.spell(&mut other)).unwrap();
        prop_assert_eq!(one.canonical(), other.canonical());
        prop_assert_eq!(one.id(), other.id());
    }

    #[test]
    fn the_canonical_text_is_the_selector(selector in selector()) {
        let again = Selector::parse(selector.canonical()).unwrap();
        prop_assert_eq!(again.canonical(), selector.canonical());
        prop_assert_eq!(again.node(), selector.node());
        let rebuilt = Selector::from_node(selector.node().clone()).unwrap();
        prop_assert_eq!(rebuilt.node(), selector.node());
    }

    #[test]
    fn what_matches_satisfies_the_restrictions(selector in selector(), labels in labels()) {
        prop_assert!(selector.restrictions().admit(&labels) || !selector.matches(&labels));
    }

    #[test]
    fn not_is_the_opposite(selector in selector(), labels in labels()) {
        let opposite = selector.clone().not();
        prop_assert_eq!(opposite.matches(&labels), !selector.matches(&labels));
        prop_assert_eq!(opposite.not(), selector);
    }

    #[test]
    fn and_matches_what_all_parts_match(parts in vec(selector(), 0..4), labels in labels()) {
        let all = parts.iter().all(|part| part.matches(&labels));
        let combined = Selector::and(parts).unwrap();
        prop_assert_eq!(combined.matches(&labels), all);
        prop_assert_eq!(&Selector::parse(combined.canonical()).unwrap(), &combined);
    }

    #[test]
    fn a_prefix_on_both_sides_changes_nothing(selector in selector(), labels in labels()) {
        let prefixed: LabelMap = labels.iter().map(|(l, v)| (format!("p.{l}"), v.clone())).collect();
        let moved = selector.with_prefix("p.").unwrap();
        prop_assert_eq!(moved.matches(&prefixed), selector.matches(&labels));
        prop_assert_eq!(&Selector::parse(moved.canonical()).unwrap(), &moved);
    }

    #[test]
    fn rewriting_global_means_what_it_becomes(selector in selector(), labels in labels()) {
        let to_has = |leaf: &Node| matches!(leaf, Node::Global).then(|| Node::Has("a".into()));
        let rewritten = selector.rewrite(to_has).unwrap();
        prop_assert!(!rewritten.uses_global());
        if !selector.uses_global() || labels.contains_key("a") {
            prop_assert_eq!(rewritten.matches(&labels), selector.matches(&labels));
        }
    }

    #[test]
    fn equality_and_order_are_those_of_the_text(one in selector(), other in selector()) {
        prop_assert_eq!(one == other, one.canonical() == other.canonical());
        prop_assert_eq!(one.cmp(&other), one.canonical().cmp(other.canonical()));
    }
}
