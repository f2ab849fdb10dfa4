//! Kubernetes' label selectors in the selector language.

use tortie_model::LabelSelector;
use tortie_selector::{Node, Selector};

use super::Report;
use crate::name;

/// The selector with the same meaning; an empty one matches everything.
pub(super) fn convert(field: &str, wire: &LabelSelector, report: &mut Report) -> Selector {
    let mut nodes = Vec::new();
    for (key, value) in wire.match_labels.iter().flatten() {
        let found = [name::bad_key(key), name::bad_value(key, value)];
        report.at(&format!("{field}.matchLabels"), found);
        nodes.push(Node::Eq(key.clone(), value.clone()));
    }
    for (index, requirement) in wire.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        let key = requirement.key.clone();
        let values = requirement.values.clone().unwrap_or_default();
        let listed = !values.is_empty();
        report.at(&format!("{field}.key"), [name::bad_key(&key)]);
        report.at(&format!("{field}.values"), values.iter().map(|v| name::bad_value(&key, v)));
        let values = values.into_iter().collect();
        nodes.push(match (requirement.operator.as_str(), listed) {
            ("In", true) => Node::In(key, values),
            ("NotIn", true) => Node::NotIn(key, values),
            ("Exists", false) => Node::Has(key),
            ("DoesNotExist", false) => Node::Not(Box::new(Node::Has(key))),
            ("In" | "NotIn", false) => {
                let hint = "write the values, or use `Exists` or `DoesNotExist`";
                report.hint(format!("{field}.values"), "is required", hint);
                continue;
            }
            ("Exists" | "DoesNotExist", true) => {
                let hint = "remove the values, or use `In` or `NotIn`";
                report.hint(format!("{field}.values"), "must be empty with this operator", hint);
                continue;
            }
            (other, _) => {
                let words = ["In", "NotIn", "Exists", "DoesNotExist"].map(|word| (word, ()));
                report.word(&format!("{field}.operator"), other, &words);
                continue;
            }
        });
    }
    let mut parts = Vec::new();
    for node in nodes {
        parts.extend(report.keep(field, Selector::from_node(node)));
    }
    report.keep(field, Selector::and(parts)).unwrap_or_else(Selector::all)
}
