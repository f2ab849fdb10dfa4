//! Label and field selectors of requests: Kubernetes' own syntax, not Calico's.

use serde_json::Value;

use crate::object::{self, at};
use crate::status::Status;

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Also true of objects without the label.
    NotIn(String, Vec<String>),
    Has(String),
    HasNot(String),
    Above(String, i64),
    Below(String, i64),
}

/// Requirements that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub(crate) fn parse(text: &str) -> Result<LabelSelector, Status> {
        let parts = split(text);
        let wrong = |part: &str| {
            Status::bad_request(format!("unable to parse requirement: `{part}` in `{text}`"))
        };
        let requirements = parts
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| requirement(part).ok_or_else(|| wrong(part)));
        requirements.collect::<Result<_, _>>().map(LabelSelector)
    }

    /// The one value that a label must have, if it is said.
    pub(crate) fn wanted(&self, label: &str) -> Option<&str> {
        self.0.iter().find_map(|requirement| match requirement {
            Requirement::In(key, values) if key == label => match values.as_slice() {
                [one] => Some(one.as_str()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, value: &Value) -> bool {
        let labels = value.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|value| values.iter().any(|one| one == value))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|value| values.iter().all(|one| one != value))
            }
            Requirement::Has(key) => label(key).is_some(),
            Requirement::HasNot(key) => label(key).is_none(),
            Requirement::Above(key, bound) => number(label(key)).is_some_and(|n| n > *bound),
            Requirement::Below(key, bound) => number(label(key)).is_some_and(|n| n < *bound),
        })
    }
}

fn number(text: Option<&str>) -> Option<i64> {
    text?.parse().ok()
}

/// Splits at commas that are not within parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::HasNot(key_of(key)?));
    }
    if let Some((head, list)) = part.split_once('(') {
        return membership(head, list);
    }
    // The longer operators first: `!=` and `==` contain `=`.
    let (key, operator, value) = ["!=", "==", "=", ">", "<"]
        .into_iter()
        .filter_map(|operator| Some((part.find(operator)?, operator)))
        .min_by_key(|(at, operator)| (*at, std::cmp::Reverse(operator.len())))
        .and_then(|(at, operator)| {
            Some((part.get(..at)?, operator, part.get(at + operator.len()..)?))
        })
        .map_or((part, "", ""), |found| found);
    let (key, value) = (key_of(key)?, value_of(value)?);
    Some(match operator {
        "" => Requirement::Has(key),
        "!=" => Requirement::NotIn(key, vec![value]),
        ">" => Requirement::Above(key, value.parse().ok()?),
        "<" => Requirement::Below(key, value.parse().ok()?),
        _ => Requirement::In(key, vec![value]),
    })
}

fn membership(head: &str, list: &str) -> Option<Requirement> {
    let values = list.trim_end().strip_suffix(')')?;
    let values = values.split(',').map(value_of).collect::<Option<Vec<_>>>()?;
    let (key, word) = head.trim().rsplit_once(char::is_whitespace)?;
    match word {
        "in" => Some(Requirement::In(key_of(key)?, values)),
        "notin" => Some(Requirement::NotIn(key_of(key)?, values)),
        _ => None,
    }
}

/// Whether a label may have a key: a name, behind a DNS name and a slash or alone.
pub(crate) fn is_key(text: &str) -> bool {
    let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let (prefix, name) = text.split_once('/').unwrap_or(("a", text));
    !name.is_empty()
        && is_value(name)
        && (1..=253).contains(&prefix.len())
        && prefix.chars().all(dns)
}

/// Whether a label may have a value.
pub(crate) fn is_value(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(allowed)
        && ends(text.chars().next())
        && ends(text.chars().next_back())
}

fn key_of(text: &str) -> Option<String> {
    Some(text.trim()).filter(|key| is_key(key)).map(str::to_owned)
}

fn value_of(text: &str) -> Option<String> {
    Some(text.trim()).filter(|value| is_value(value)).map(str::to_owned)
}

/// One requirement on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    /// As in `metadata.name`.
    field: String,
    value: String,
    equal: bool,
}

/// Requirements that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<FieldRequirement>);

impl FieldSelector {
    /// The value that a field must have, if it is said.
    pub(crate) fn wanted(&self, field: &str) -> Option<&str> {
        let equal = self.0.iter().find(|one| one.equal && one.field == field);
        equal.map(|one| one.value.as_str())
    }

    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `metadata.name=x,spec.nodeName!=y`.
    pub(crate) fn parse(text: &str) -> Result<FieldSelector, Status> {
        let one = |part: &str| {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else {
                let (field, value) = part.split_once('=').ok_or_else(|| {
                    Status::bad_request(format!("invalid field selector: `{part}` has no `=`"))
                })?;
                (field, value.strip_prefix('=').unwrap_or(value), true)
            };
            Ok(FieldRequirement { field: field.trim().into(), value: value.into(), equal })
        };
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        parts.map(one).collect::<Result<_, _>>().map(FieldSelector)
    }

    /// Refuses fields by which a kind cannot be asked for.
    pub(crate) fn check(&self, selectable: &[impl AsRef<str>]) -> Result<(), Status> {
        let known = |field: &str| {
            ["metadata.name", "metadata.namespace"].contains(&field)
                || selectable.iter().any(|one| one.as_ref() == field)
        };
        match self.0.iter().find(|one| !known(&one.field)) {
            None => Ok(()),
            Some(one) => {
                Err(Status::bad_request(format!("field label not supported: {}", one.field)))
            }
        }
    }

    /// Whether an object is selected. A field that is absent is empty.
    pub(crate) fn matches(&self, value: &Value) -> bool {
        self.0.iter().all(|one| {
            let found = at(value, &one.field).map(object::shown).unwrap_or_default();
            (found == one.value) == one.equal
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_selected() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "1", "e": ""}}});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, db),tier", true),
            ("app notin (web)", false),
            ("other notin (web)", true),
            ("!other,app", true),
            ("!app", false),
            ("tier>0", true),
            ("tier<1", false),
            ("e=", true),
            ("app=web,other=x", false),
        ];
        for (text, expected) in cases {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
        for bad in [
            "a===b", "a in (b", "a is (b)", "!", "=x", "a b", "a>x", "(", "a,=b", "-a=x", "a=-",
            "a/b/c", "/a",
        ] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_are_selected() {
        let object = json!({"metadata": {"name": "x"}, "spec": {"n": 3}});
        let cases =
            [("metadata.name=x", true), ("spec.n==3,spec.m=", true), ("metadata.name!=x", false)];
        for (text, expected) in cases {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
        assert!(FieldSelector::parse("a").is_err());
        assert!(FieldSelector::parse("spec.n=3").unwrap().check(&["spec.m"]).is_err());
    }
}
