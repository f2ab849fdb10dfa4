//! What can be said of selectors without labels at hand: whether one can match at all, and whether
//! one implies another.

use std::collections::{BTreeMap, BTreeSet};

use tortie_selector::{Node, Selector};

use crate::labels::{
    METADATA_NAME, NAME, NAMESPACE, SERVICE_ACCOUNT, namespace_label, service_account_label,
};
use crate::{Cluster, Labels};

/// Most cases that a selector is divided into; of a larger one nothing is said.
const MOST: usize = 128;

/// A leaf, and whether it is negated.
type Literal<'a> = (&'a Node, bool);

/// Reasons about selectors over the labels of endpoints.
pub(super) struct Logic {
    /// Labels that always have the value of another one.
    aliases: BTreeMap<String, &'static str>,
}

impl Logic {
    /// Names of namespaces and service accounts are labels twice. Where some endpoint has only one
    /// of the two labels, nothing is made of it.
    pub(super) fn of(cluster: &Cluster) -> Logic {
        let twins = [
            (namespace_label(NAME), NAMESPACE),
            (namespace_label(METADATA_NAME), NAMESPACE),
            (service_account_label(NAME), SERVICE_ACCOUNT),
        ];
        let same = |labels: &Labels, (twin, label): &(String, &str)| {
            labels.get(twin.as_str()) == labels.get(*label)
        };
        let everywhere = |twin: &(String, &str)| {
            cluster.endpoints().all(|e| same(&e.labels, twin))
                && cluster.hosts().all(|h| same(&h.labels, twin))
                && cluster.sets.iter().all(|s| same(&s.labels, twin))
        };
        Logic { aliases: twins.into_iter().filter(everywhere).collect() }
    }

    fn resolved(&self, selector: &Selector) -> Selector {
        let rename = |label: &str| match self.aliases.get(label) {
            Some(label) => (*label).to_owned(),
            None => label.to_owned(),
        };
        selector.map_labels(rename).unwrap_or_else(|_| selector.clone())
    }

    fn names_a_twin(&self, selector: &Selector) -> bool {
        let mut found = false;
        selector.node().for_each_leaf(&mut |leaf| {
            found |= leaf.label().is_some_and(|label| self.aliases.contains_key(label));
        });
        found
    }

    /// Whether no endpoint can match a selector.
    pub(super) fn impossible(&self, selector: &Selector) -> bool {
        match self.names_a_twin(selector) {
            true => impossible(self.resolved(selector).node()),
            false => impossible(selector.node()),
        }
    }

    /// Whether whatever matches one selector matches the other.
    pub(super) fn implies(&self, this: &Selector, other: &Selector) -> bool {
        this == other
            || Selector::and([this.clone(), other.clone().not()])
                .is_ok_and(|both| self.impossible(&both))
    }
}

fn impossible(node: &Node) -> bool {
    let cases = cases(node, false);
    cases.is_some_and(|cases| cases.iter().all(|case| contradicts_itself(case)))
}

/// The node as cases of which one must hold, each a list of literals that all must; none if there
/// are too many.
fn cases(node: &Node, negated: bool) -> Option<Vec<Vec<Literal<'_>>>> {
    match node {
        Node::Not(operand) => cases(operand, !negated),
        Node::And(operands) if !negated => all_of(operands, negated),
        Node::Or(operands) if negated => all_of(operands, negated),
        Node::And(operands) | Node::Or(operands) => any_of(operands, negated),
        Node::All | Node::Global if negated => Some(Vec::new()),
        Node::All | Node::Global => Some(vec![Vec::new()]),
        leaf => Some(vec![vec![(leaf, negated)]]),
    }
}

fn any_of(operands: &[Node], negated: bool) -> Option<Vec<Vec<Literal<'_>>>> {
    let mut all = Vec::new();
    for operand in operands {
        all.extend(cases(operand, negated)?);
    }
    (all.len() <= MOST).then_some(all)
}

fn all_of(operands: &[Node], negated: bool) -> Option<Vec<Vec<Literal<'_>>>> {
    let mut all = vec![Vec::new()];
    for operand in operands {
        let these = cases(operand, negated)?;
        if all.len() * these.len() > MOST {
            return None;
        }
        let joined = |a: &Vec<_>, b: &Vec<_>| a.iter().chain(b).copied().collect();
        all = all.iter().flat_map(|a| these.iter().map(move |b| joined(a, b))).collect();
    }
    Some(all)
}

/// Whether no labels satisfy all of the literals: some label can neither be absent nor have a value.
fn contradicts_itself(literals: &[Literal<'_>]) -> bool {
    let labels: BTreeSet<&str> = literals.iter().filter_map(|(leaf, _)| leaf.label()).collect();
    labels.into_iter().any(|label| {
        let about: Vec<_> =
            literals.iter().filter(|(leaf, _)| leaf.label() == Some(label)).copied().collect();
        !satisfied(&about, label, None) && !has_value(&about, label)
    })
}

fn satisfied(literals: &[Literal<'_>], label: &str, value: Option<&str>) -> bool {
    let labels: Vec<(&str, &str)> = value.map(|value| (label, value)).into_iter().collect();
    literals.iter().all(|(leaf, negated)| leaf.matches(&labels) != *negated)
}

/// Whether some value of a label satisfies all of the literals about it. In doubt there is one.
fn has_value(literals: &[Literal<'_>], label: &str) -> bool {
    let listed = literals.iter().find_map(|literal| match literal {
        (Node::Eq(_, value), false) | (Node::Ne(_, value), true) => Some(vec![value.as_str()]),
        (Node::In(_, values), false) | (Node::NotIn(_, values), true) => {
            Some(values.iter().map(String::as_str).collect())
        }
        _ => None,
    });
    match listed {
        Some(values) => values.iter().any(|value| satisfied(literals, label, Some(value))),
        None => {
            let (refused, asked): (Vec<_>, Vec<_>) = literals.iter().partition(|(_, no)| *no);
            !refused
                .iter()
                .any(|(no, _)| always(no) || asked.iter().any(|(yes, _)| text_implies(yes, no)))
        }
    }
}

/// Whether every value there is meets a criterion.
fn always(leaf: &Node) -> bool {
    match leaf {
        Node::Has(_) => true,
        Node::Contains(_, part) | Node::StartsWith(_, part) | Node::EndsWith(_, part) => {
            part.is_empty()
        }
        _ => false,
    }
}

/// Whether a value that meets one criterion on its text must meet the other.
fn text_implies(this: &Node, other: &Node) -> bool {
    use Node::{Contains, EndsWith, StartsWith};
    match (this, other) {
        (StartsWith(_, this), StartsWith(_, other)) => this.starts_with(other.as_str()),
        (EndsWith(_, this), EndsWith(_, other)) => this.ends_with(other.as_str()),
        (StartsWith(_, this) | EndsWith(_, this) | Contains(_, this), Contains(_, other)) => {
            this.contains(other.as_str())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> Selector {
        text.parse().expect("a selector")
    }

    #[test]
    fn what_cannot_match() {
        let logic = Logic { aliases: [("twin".to_owned(), "a")].into() };
        for text in [
            "!all()",
            "a in {}",
            "a == 'x' && a == 'y'",
            "a == 'x' && twin == 'y'",
            "a in {'x', 'y'} && a not in {'y', 'x'}",
            "has(a) && !has(a)",
            "a == 'x' && !(a == 'x')",
            "a == 'x' && a != 'x'",
            "!(a != 'x') && a == 'y'",
            "a == 'xy' && !(a starts with 'x')",
            "a starts with 'xy' && !(a starts with 'x')",
            "a ends with 'xy' && !(a contains 'x')",
            "a contains 'x' && !has(a)",
            "has(a) && !(a contains '')",
            "(a == 'x' || a == 'y') && a == 'z'",
            "(a == 'x' && a == 'y') || (b == 'x' && !has(b))",
            "!(a == 'x' || !(a == 'x'))",
        ] {
            assert!(logic.impossible(&selector(text)), "{text}");
        }
    }

    #[test]
    fn what_may_match() {
        let logic = Logic { aliases: BTreeMap::new() };
        for text in [
            "all()",
            "a == 'x' && twin == 'y'",
            "a == 'x' && b == 'y'",
            "a != 'x' && a != 'y'",
            "a not in {'x'} && !has(a)",
            "a starts with 'x' && !(a starts with 'xy')",
            "a contains 'x' && !(a starts with 'x')",
            "(a == 'x' || b == 'x') && a != 'x'",
            "!(a contains '')",
        ] {
            assert!(!logic.impossible(&selector(text)), "{text}");
        }
        let alternatives = (0..12).map(|n| format!("(a{n} == 'x' || b{n} == 'x')"));
        let many = alternatives.collect::<Vec<_>>().join(" && ");
        let many = format!("{many} && c == 'x' && c == 'y'");
        assert!(!logic.impossible(&selector(&many)), "too many cases to tell");
    }

    #[test]
    fn what_implies_what() {
        let logic = Logic { aliases: BTreeMap::new() };
        for (this, other, implied) in [
            ("a == 'x'", "has(a)", true),
            ("a == 'x'", "a in {'x', 'y'}", true),
            ("a == 'x' && b == 'y'", "b == 'y'", true),
            ("a == 'x'", "all()", true),
            ("a == 'x'", "a != 'y'", true),
            ("has(a)", "a == 'x'", false),
            ("all()", "has(a)", false),
            ("a != 'x'", "has(a)", false),
        ] {
            assert_eq!(
                logic.implies(&selector(this), &selector(other)),
                implied,
                "{this}: {other}"
            );
        }
    }
}
