//! Kubernetes' strategic merge: as a merge patch, but lists whose elements have a key are merged
//! element by element.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::object::map;

/// Lists of objects that are merged, by their field and the fields that may be the key, the first
/// that the elements have. Everywhere in Kubernetes' own kinds a field of one name has one meaning,
/// with the exceptions made by [`is_atomic`].
const KEYS: [(&str, &[&str]); 18] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("ports", &["containerPort", "port"]),
    ("imagePullSecrets", &["name"]),
    ("secrets", &["name"]),
    ("hostAliases", &["ip"]),
    ("conditions", &["type"]),
    ("addresses", &["type"]),
    ("taints", &["key"]),
    ("podIPs", &["ip"]),
    ("ownerReferences", &["uid"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("resourceClaims", &["name"]),
];

/// Lists of words that are merged as sets.
const SETS: [&str; 1] = ["finalizers"];

/// Fields below which lists are replaced whole: rules of policies, and slices.
fn is_atomic(field: &str) -> bool {
    ["ingress", "egress", "endpoints", "subsets", "rules"].contains(&field)
}

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// How a patch is read.
#[derive(Clone, Copy)]
struct Reading {
    /// Whether lists are replaced whole here.
    atomic: bool,
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
    let atomic = ["EndpointSlice", "NetworkPolicy"];
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let reading = Reading { atomic: atomic.contains(&kind), directives: true };
    merge_map(map(document), patch, reading)
}

/// Merges what somebody wants to see into a document: nothing in it is a directive.
pub(crate) fn apply(document: &mut Value, wanted: &Value) {
    let Value::Object(wanted) = wanted else { return };
    // Calico's kinds have no lists that are merged.
    let version = wanted.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kubernetes = !group.contains('.') || group.ends_with(".k8s.io");
    let policies = ["EndpointSlice", "NetworkPolicy", "ClusterNetworkPolicy"];
    let kind = wanted.get("kind").and_then(Value::as_str).unwrap_or_default();
    let atomic = !kubernetes || policies.contains(&kind);
    // Without directives nothing can be misunderstood: elements without a key replace their list.
    let _ = merge_map(map(document), wanted, Reading { atomic, directives: false });
}

fn merge_map(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    reading: Reading,
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
    reading: Reading,
) -> Result<(), Problem> {
    let inner = Reading { atomic: reading.atomic || is_atomic(field), ..reading };
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
            merge_list(place, field, elements, order, inner)
        }
        other => {
            target.insert(field.to_owned(), other.clone());
            Ok(())
        }
    }
}

fn merge_list(
    place: &mut Value,
    field: &str,
    elements: &[Value],
    order: Option<&Vec<Value>>,
    reading: Reading,
) -> Result<(), Problem> {
    let Value::Array(list) = place else {
        *place = Value::Array(elements.to_vec());
        return Ok(());
    };
    if SETS.contains(&field) {
        let missing: Vec<Value> =
            elements.iter().filter(|one| !list.contains(one)).cloned().collect();
        list.extend(missing);
        return Ok(());
    }
    let Some(key) = key_of(field, elements, list).filter(|_| !reading.atomic) else {
        *list = elements.to_vec();
        return Ok(());
    };
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
    reading: Reading,
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

/// The key by which a list is merged, if it is.
fn key_of(field: &str, elements: &[Value], list: &[Value]) -> Option<&'static str> {
    let (_, keys) = KEYS.iter().find(|(name, _)| *name == field)?;
    let has = |key: &&&str| elements.iter().chain(list).any(|one| one.get(**key).is_some());
    keys.iter().find(has).copied().filter(|_| elements.iter().all(Value::is_object))
}

/// Elements in the order that is wanted; those that it does not name follow.
fn reorder(list: &mut [Value], key: &str, order: &[Value]) {
    let place = |element: &Value| {
        let name = element.get(key);
        order.iter().position(|one| one.get(key) == name).unwrap_or(usize::MAX)
    };
    list.sort_by_key(place);
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

    fn merged(old: Value, patch: Value) -> Value {
        let mut document = old;
        merge(&mut document, &patch).unwrap();
        document
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
        assert_eq!(merged(old, patch.clone()), patch);
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
        let refused = merge(&mut pod, &json!({"spec": {"containers": [{"image": "x"}]}}));
        assert_eq!(refused, Err(Problem::NoKey { field: "containers".into(), key: "name".into() }));
        let refused = merge(&mut pod, &json!({"spec": {"$patch": "destroy"}}));
        assert_eq!(refused, Err(Problem::Directive("destroy".into())));
    }
}
