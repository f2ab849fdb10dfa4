//! Kubernetes' label selectors in the selector language.

use tortie_model::LabelSelector;
use tortie_selector::{Node, Selector};

use super::Report;

/// The selector with the same meaning; an empty one matches everything.
pub(super) fn convert(field: &str, wire: &LabelSelector, report: &mut Report) -> Selector {
    let mut nodes = Vec::new();
    for (key, value) in wire.match_labels.iter().flatten() {
        nodes.push(Node::Eq(key.clone(), value.clone()));
    }
    for (index, requirement) in wire.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        let key = requirement.key.clone();
        let values = requirement.values.clone().unwrap_or_default();
        let listed = !values.is_empty();
        let values = values.into_iter().collect();
        nodes.push(match (requirement.operator.as_str(), listed) {
            ("In", true) => Node::In(key, values),
            ("NotIn", true) => Node::NotIn(key, values),
            ("Exists", false) => Node::Has(key),
            ("DoesNotExist", false) => Node::Not(Box::new(Node::Has(key))),
            ("In" | "NotIn", false) => {
                report.add(format!("{field}.values"), "is required");
                continue;
            }
            ("Exists" | "DoesNotExist", true) => {
                report.add(format!("{field}.values"), "must be empty with this operator");
                continue;
            }
            (other, _) => {
                let known = "`In`, `NotIn`, `Exists` and `DoesNotExist`";
                report.add(format!("{field}.operator"), format!("`{other}` is none of {known}"));
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
