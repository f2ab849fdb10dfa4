//! Kubernetes' strategic merge: as a merge patch, but lists whose elements have a key are merged
//! element by element. Which lists are, and what their key is, the kind's message says.

use std::collections::{HashMap, HashSet};

use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value};

use crate::messages::{MESSAGES, Merge, field_of};
use crate::object::{map, text};

/// What all objects have.
const OBJECT: &str = "tortie.kubernetes.Object";

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// How a patch is read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    /// What the fields are; where it is not known, lists are replaced whole.
    message: Option<&'a MessageDescriptor>,
    /// Whether `$patch` and null mean what they mean in a patch.
    directives: bool,
}

/// A patch that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Problem {
    #[error("`$patch: {0}` is none of `delete`, `replace`, `merge`")]
    Directive(String),
    #[error("an element of `{field}` has no `{key}`")]
    NoKey { field: String, key: String },
}

/// Merges a patch into a document.
pub(crate) fn merge(document: &mut Value, patch: &Value) -> Result<(), Problem> {
    let Value::Object(patch) = patch else { return Ok(()) };
    let message = message_of(document);
    merge_map(map(document), patch, Reading { message: message.as_ref(), directives: true })
}

/// Merges what somebody wants to see into a document: nothing in it is a directive.
pub(crate) fn apply(document: &mut Value, wanted: &Value) {
    let message = message_of(wanted);
    let Value::Object(wanted) = wanted else { return };
    let reading = Reading { message: message.as_ref(), directives: false };
    // Without directives nothing can be misunderstood: elements without a key replace their list.
    let _ = merge_map(map(document), wanted, reading);
}

/// The message of a document's kind, or what all objects have.
fn message_of(document: &Value) -> Option<MessageDescriptor> {
    let known = MESSAGES.of_object(text(document, "/apiVersion"), text(document, "/kind"));
    known.cloned().or_else(|| MESSAGES.named(OBJECT))
}

fn merge_map(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    reading: Reading<'_>,
) -> Result<(), Problem> {
    if reading.directives {
        match patch.get(PATCH).and_then(Value::as_str) {
            None | Some("merge") => {}
            Some("delete") => {
                target.clear();
                return Ok(());
            }
            Some("replace") => {
                target.clear();
                target.extend(plain(patch));
                return Ok(());
            }
            Some(other) => return Err(Problem::Directive(other.to_owned())),
        }
        if let Some(Value::Array(kept)) = patch.get(RETAIN) {
            target.retain(|field, _| kept.iter().any(|one| one == field.as_str()));
        }
    }
    for (field, value) in patch.iter().filter(|(field, _)| !field.starts_with('$')) {
        merge_field(target, field, value, patch, reading)?;
    }
    for (field, value) in patch.iter().filter(|_| reading.directives) {
        if let (Some(field), Some(gone)) = (field.strip_prefix(DELETE), value.as_array())
            && let Some(Value::Array(list)) = target.get_mut(field)
        {
            list.retain(|one| !gone.contains(one));
        }
    }
    Ok(())
}

/// A map without its directives.
fn plain(patch: &Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    let fields = patch.iter().filter(|(field, value)| !field.starts_with('$') && !value.is_null());
    fields.map(|(field, value)| (field.clone(), value.clone()))
}

fn merge_field(
    target: &mut Map<String, Value>,
    field: &str,
    value: &Value,
    patch: &Map<String, Value>,
    reading: Reading<'_>,
) -> Result<(), Problem> {
    let known = reading.message.and_then(|message| field_of(message, field));
    let message = known.as_ref().and_then(content);
    let inner = Reading { message: message.as_ref(), ..reading };
    match value {
        Value::Null if reading.directives => {
            target.remove(field);
            Ok(())
        }
        Value::Object(patch) => {
            let place = target.entry(field).or_insert_with(|| Value::Object(Map::new()));
            merge_map(map(place), patch, inner)
        }
        Value::Array(elements) => {
            let place = target.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            let order = patch.get(&format!("{ORDER}{field}")).and_then(Value::as_array);
            let merge = known.as_ref().and_then(|field| MESSAGES.merge(field));
            merge_list(place, field, elements, order, merge, inner)
        }
        other => {
            target.insert(field.to_owned(), other.clone());
            Ok(())
        }
    }
}

/// The message of what a field has: itself, or each of its values.
fn content(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let message = field.kind().as_message().cloned()?;
    if field.is_map() {
        return message.map_entry_value_field().kind().as_message().cloned();
    }
    Some(message)
}

fn merge_list(
    place: &mut Value,
    field: &str,
    elements: &[Value],
    order: Option<&Vec<Value>>,
    merge: Option<&Merge>,
    reading: Reading<'_>,
) -> Result<(), Problem> {
    let merge = merge.filter(|merge| merge.strategy.contains("merge"));
    let (Value::Array(list), Some(merge)) = (&mut *place, merge) else {
        *place = Value::Array(elements.to_vec());
        return Ok(());
    };
    let key = merge.key.as_str();
    if key.is_empty() {
        let missing: Vec<Value> =
            elements.iter().filter(|one| !list.contains(one)).cloned().collect();
        list.extend(missing);
        return Ok(());
    }
    if !reading.directives && elements.iter().any(|element| element.get(key).is_none()) {
        *list = elements.to_vec();
        return Ok(());
    }
    if elements
        .iter()
        .any(|one| one.get(PATCH) == Some(&"replace".into()) && one.get(key).is_none())
    {
        let kept = elements.iter().filter(|one| one.get(PATCH).is_none());
        *list = kept.cloned().collect();
        return Ok(());
    }
    merge_elements(list, field, key, elements, reading)?;
    if let Some(order) = order {
        reorder(list, key, order);
    }
    Ok(())
}

fn merge_elements(
    list: &mut Vec<Value>,
    field: &str,
    key: &str,
    elements: &[Value],
    reading: Reading<'_>,
) -> Result<(), Problem> {
    for element in elements {
        let no_key = || Problem::NoKey { field: field.to_owned(), key: key.to_owned() };
        let name = element.get(key).ok_or_else(no_key)?;
        let Value::Object(patch) = element else { return Err(no_key()) };
        let position = list.iter().position(|one| one.get(key) == Some(name));
        if reading.directives && patch.get(PATCH) == Some(&"delete".into()) {
            list.retain(|one| one.get(key) != Some(name));
            continue;
        }
        match position.and_then(|position| list.get_mut(position)) {
            Some(found) => merge_map(map(found), patch, reading)?,
            None => {
                let mut new = Map::new();
                merge_map(&mut new, patch, reading)?;
                list.push(new.into());
            }
        }
    }
    Ok(())
}

/// Elements in the order that is wanted; those that it does not name follow.
fn reorder(list: &mut [Value], key: &str, order: &[Value]) {
    let word = |element: &Value| element.get(key).map(Value::to_string);
    let mut places = HashMap::new();
    for (place, element) in order.iter().enumerate() {
        places.entry(word(element)).or_insert(place);
    }
    list.sort_by_cached_key(|element| places.get(&word(element)).copied().unwrap_or(usize::MAX));
}

/// The pointers of the fields of a document that have a value of their own: what somebody who
/// applies it cares for. Lists are one value.
pub(crate) fn leaves(document: &Value) -> HashSet<String> {
    let mut found = HashSet::new();
    collect(document, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut HashSet<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                let field = field.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{path}/{field}"), found);
            }
        }
        _ => {
            found.insert(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A document of a kind after a patch, without what it says it is.
    fn merged_as(kind: &str, old: Value, patch: Value) -> Value {
        let (version, kind) = kind.rsplit_once('/').unwrap();
        let mut document = old;
        map(&mut document).insert("apiVersion".into(), version.into());
        map(&mut document).insert("kind".into(), kind.into());
        merge(&mut document, &patch).unwrap();
        map(&mut document).retain(|field, _| !["apiVersion", "kind"].contains(&field.as_str()));
        document
    }

    fn merged(old: Value, patch: Value) -> Value {
        merged_as("v1/Pod", old, patch)
    }

    #[test]
    fn patches_merge_by_key() {
        let pod = || {
            json!({"spec": {"containers": [
            {"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}]}, {"name": "b"}]}})
        };
        let cases = [
            (
                json!({"spec": {"containers": [{"name": "a", "image": "y"}]}}),
                json!({"spec": {"containers": [
                {"name": "a", "image": "y", "env": [{"name": "K", "value": "1"}]}, {"name": "b"}]}}),
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
                json!({"spec": {"containers": [{"name": "b"}]}}),
            ),
            (
                json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                             "containers": [{"name": "a", "env": null, "image": null}]}}),
                json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}}),
            ),
            (
                json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}),
                json!({"spec": {"containers": [{"name": "c"}]}}),
            ),
            (json!({"spec": {"$patch": "replace", "x": 1}}), json!({"spec": {"x": 1}})),
            (json!({"spec": {"$retainKeys": ["y"], "y": 2}}), json!({"spec": {"y": 2}})),
            (json!({"spec": null}), json!({})),
        ];
        for (patch, expected) in cases {
            assert_eq!(merged(pod(), patch.clone()), expected, "{patch}");
        }
    }

    #[test]
    fn words_are_sets_and_rules_are_replaced() {
        let old = json!({"metadata": {"finalizers": ["a"]}});
        let new = merged(old, json!({"metadata": {"finalizers": ["b", "a"]}}));
        assert_eq!(new, json!({"metadata": {"finalizers": ["a", "b"]}}));
        let less = merged(new, json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}));
        assert_eq!(less, json!({"metadata": {"finalizers": ["b"]}}));
        let old = json!({"spec": {"ingress": [{"ports": [{"port": 1}]}]}});
        let patch = json!({"spec": {"ingress": [{"ports": [{"port": 2}]}]}});
        assert_eq!(merged_as("networking.k8s.io/v1/NetworkPolicy", old, patch.clone()), patch);
        let old = json!({"spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2}]}});
        let patch = json!({"spec": {"ports": [{"port": 1, "targetPort": 3}]}});
        let new =
            json!({"spec": {"ports": [{"port": 1, "name": "a", "targetPort": 3}, {"port": 2}]}});
        assert_eq!(merged_as("v1/Service", old, patch), new);
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        let mut pod =
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a"}]}});
        let refused = merge(&mut pod, &json!({"spec": {"containers": [{"image": "x"}]}}));
        assert_eq!(refused, Err(Problem::NoKey { field: "containers".into(), key: "name".into() }));
        let refused = merge(&mut pod, &json!({"spec": {"$patch": "destroy"}}));
        assert_eq!(refused, Err(Problem::Directive("destroy".into())));
    }
}
