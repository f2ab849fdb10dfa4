//! From the wire to the domain types. What converts is exactly what can be enforced, so admission,
//! `tortie validate` and every engine refuse the same things with the same words (house rule 11).
//!
//! The rules are those of Calico's validator and of its API's CEL rules.

mod cluster_policy;
mod dataplane;
mod kubernetes_policy;
mod label_selector;
mod net;
mod packets;
mod policy;
mod rule;
mod sets;

pub(crate) use dataplane::dataplane;
pub(crate) use packets::packets;
pub(crate) use policy::BUILT_IN_TIERS;
pub(crate) use sets::{CREATED_BY, felix, host_endpoint, network_set, workload_endpoint};

use tortie_model::{self as model, FieldError};
use tortie_selector::{Node, Selector};

use crate::labels::{NAMESPACE, SERVICE_ACCOUNT, namespace_label, service_account_label};

/// Longest selector, path or other text the API accepts, in characters.
const MAX_TEXT: usize = 1024;

/// Collects the errors of one resource.
#[derive(Default)]
pub(super) struct Report(Vec<FieldError>);

impl Report {
    pub(super) fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(FieldError::new(field, reason));
    }

    pub(super) fn hint(&mut self, field: impl Into<String>, reason: impl Into<String>, hint: &str) {
        self.0.push(FieldError::new(field, reason).hint(hint));
    }

    /// Errors found elsewhere, at a field.
    pub(super) fn at(&mut self, field: &str, found: impl IntoIterator<Item = Option<FieldError>>) {
        let found = found.into_iter().flatten();
        self.0.extend(found.map(|error| FieldError { field: field.to_owned(), ..error }));
    }

    /// The value, or nothing and an entry in the report.
    pub(super) fn keep<T, E: ToString>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.add(field, e.to_string())).ok()
    }

    /// The value, or nothing and an entry in the report with a hint.
    pub(super) fn keep_or<T, E: ToString>(
        &mut self,
        field: &str,
        result: Result<T, E>,
        hint: &str,
    ) -> Option<T> {
        result.map_err(|e| self.hint(field, e.to_string(), hint)).ok()
    }

    pub(super) fn too_many(&mut self, field: &str, count: usize, most: usize) {
        if count > most {
            let reason = format!("has {count} entries, more than {most}");
            self.hint(field, reason, "divide them between several");
        }
    }

    /// What a word of a fixed list stands for; else nothing, and the list in the report.
    pub(super) fn word<T: Copy>(
        &mut self,
        field: &str,
        text: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            self.0.push(unknown_word(field, text, words.iter().map(|(word, _)| *word)));
        }
        found
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// The error for a word that is not in a list of some.
fn unknown_word<'a>(field: &str, text: &str, words: impl Iterator<Item = &'a str>) -> FieldError {
    let words: Vec<&str> = words.collect();
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let reason = match quoted.as_slice() {
        _ if text.is_empty() => "is required".to_owned(),
        [one] => format!("`{text}` is not {one}"),
        [one, other] => format!("`{text}` is neither {one} nor {other}"),
        [first @ .., last] => format!("`{text}` is none of {} and {last}", first.join(", ")),
        [] => format!("`{text}` is not known"),
    };
    FieldError::new(field, reason).hint(match model::nearest(text, &words) {
        Some(word) if !text.is_empty() => format!("did you mean `{word}`?"),
        _ => format!("write {}", quoted.join(" or ")),
    })
}

pub(super) fn selector(field: &str, text: Option<&str>, report: &mut Report) -> Option<Selector> {
    let text = text?;
    if is_long(text) {
        let reason = format!("is longer than {MAX_TEXT} characters");
        report.hint(field, reason, "give what it selects a label of its own");
        return None;
    }
    match Selector::parse(text) {
        Ok(selector) => Some(selector),
        Err(error) => {
            let mut problem =
                FieldError::new(field, format!("bad selector: {error}\n{}", error.render()));
            problem.hint = error.hint().map(|h| h.to_string());
            report.0.push(problem);
            None
        }
    }
}

pub(super) fn combine(field: &str, parts: Vec<Selector>, report: &mut Report) -> Option<Selector> {
    report.keep(field, Selector::and(parts))
}

/// A namespace selector as a selector over an endpoint's labels.
pub(super) fn in_namespaces(
    field: &str,
    selector: &Selector,
    report: &mut Report,
) -> Option<Selector> {
    let has_namespace = || Node::Has(NAMESPACE.into());
    let prefixed = selector.map_labels(namespace_label).and_then(|s| {
        s.rewrite(|leaf| match leaf {
            Node::All => Some(has_namespace()),
            Node::Global => Some(Node::Not(Box::new(has_namespace()))),
            _ => None,
        })
    });
    report.keep(field, prefixed)
}

/// A service account selector as a selector over an endpoint's labels.
pub(super) fn with_accounts(
    field: &str,
    selector: &Selector,
    report: &mut Report,
) -> Option<Selector> {
    let prefixed = selector.map_labels(service_account_label).and_then(|s| {
        s.rewrite(|leaf| matches!(leaf, Node::All).then(|| Node::Has(SERVICE_ACCOUNT.into())))
    });
    report.keep(field, prefixed)
}

/// Whether a text is longer than the API accepts. Bytes are counted first, which is quick.
fn is_long(text: &str) -> bool {
    text.len() > MAX_TEXT && text.chars().count() > MAX_TEXT
}

/// Whether a selector was left empty, which means "no criterion" where `all()` would be one.
fn is_blank(text: Option<&str>, selector: &Selector) -> bool {
    selector.is_all() && text.is_some_and(|t| t.trim().is_empty())
}
