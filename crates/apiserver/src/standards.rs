//! What Kubernetes demands of objects beyond their types, as far as others rely on it: labels that can be
//! selected by, owners that can be found, roles that can be bound, and what must not change.

use serde_json::Value;
use tortie_model::FieldError;

use crate::auth::RBAC;
use crate::kinds::Kind;
use crate::object::{at, text};
use crate::selector::{is_key, is_value};

/// Most that annotations may have in all, in bytes.
const MOST_ANNOTATED: usize = 256 << 10;

fn entries<'a>(document: &'a Value, path: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(document, path).and_then(Value::as_object).into_iter().flatten()
}

fn list<'a>(document: &'a Value, path: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    at(document, path).and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// What is wrong with the metadata of an object of any kind.
pub(crate) fn check(document: &Value) -> Vec<FieldError> {
    const LABELS: &str = "metadata.labels";
    const ANNOTATIONS: &str = "metadata.annotations";
    let mut errors = Vec::new();
    for (key, value) in entries(document, LABELS) {
        if !is_key(key) {
            errors.push(FieldError::new(LABELS, format!("`{key}` is not the key of a label")));
        }
        let value = value.as_str().unwrap_or_default();
        if !is_value(value) {
            let why = format!("`{value}` of label `{key}` is not the value of a label");
            errors.push(FieldError::new(LABELS, why));
        }
    }
    let mut size = 0;
    for (key, value) in entries(document, ANNOTATIONS) {
        size += key.len() + value.as_str().map_or(0, str::len);
        if !is_key(&key.to_lowercase()) {
            let why = format!("`{key}` is not the key of an annotation");
            errors.push(FieldError::new(ANNOTATIONS, why));
        }
    }
    if size > MOST_ANNOTATED {
        let why = format!("annotations of {size} bytes in all, more than {MOST_ANNOTATED}");
        errors.push(FieldError::new(ANNOTATIONS, why));
    }
    // An owner that cannot be named would be taken for one that is gone.
    for (index, owner) in list(document, "metadata.ownerReferences") {
        let empty = |field: &&&str| text(owner, &format!("/{field}")).is_empty();
        for field in ["apiVersion", "kind", "name", "uid"].iter().filter(empty) {
            let place = format!("metadata.ownerReferences[{index}].{field}");
            errors.push(FieldError::new(place, "must not be empty"));
        }
    }
    errors
}

/// What is wrong with an object of some kinds that others read.
pub(crate) fn of_kind(kind: &Kind, document: &Value) -> Vec<FieldError> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Secret" | "ConfigMap") => {
            let pairs =
                ["data", "binaryData"].into_iter().flat_map(|field| entries(document, field));
            pairs.filter(|(key, _)| !is_file_name(key)).map(|(key, _)| bad_data(key)).collect()
        }
        (RBAC, "Role" | "ClusterRole") => {
            let none = |rule: &Value| {
                at(rule, "verbs").is_none_or(|verbs| {
                    verbs == &Value::Null || verbs.as_array().is_some_and(Vec::is_empty)
                })
            };
            let bad = list(document, "rules").filter(|(_, rule)| none(rule));
            bad.map(|(index, _)| {
                FieldError::new(
                    format!("rules[{index}].verbs"),
                    "verbs must contain at least one value",
                )
            })
            .collect()
        }
        (RBAC, _) => binding(kind, document),
        _ => Vec::new(),
    }
}

/// What a key of data may be: the name of a file, as which it is mounted.
fn is_file_name(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=253).contains(&key.len())
        && key.chars().all(allowed)
        && key != "."
        && !key.starts_with("..")
}

fn bad_data(key: &str) -> FieldError {
    let why = format!("`{key}` is not the key of data: use letters, digits, `-`, `_` and `.`");
    FieldError::new("data", why)
}

fn binding(kind: &Kind, document: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let of = |field: &str| text(document, &format!("/roleRef/{field}"));
    let kinds: &[&str] = if kind.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !["", RBAC].contains(&of("apiGroup")) {
        errors.push(FieldError::new("roleRef.apiGroup", format!("must be `{RBAC}`")));
    }
    if !kinds.contains(&of("kind")) {
        let why = format!("`{}` is not {}", of("kind"), kinds.join(" or "));
        errors.push(FieldError::new("roleRef.kind", why));
    }
    if of("name").is_empty() {
        errors.push(FieldError::new("roleRef.name", "is required"));
    }
    for (index, subject) in list(document, "subjects") {
        let wrong =
            |field: &str, why: &str| FieldError::new(format!("subjects[{index}].{field}"), why);
        if !["User", "Group", "ServiceAccount"].contains(&text(subject, "/kind")) {
            errors.push(wrong("kind", "must be User, Group or ServiceAccount"));
        }
        if text(subject, "/name").is_empty() {
            errors.push(wrong("name", "is required"));
        }
        let unplaced =
            text(subject, "/kind") == "ServiceAccount" && text(subject, "/namespace").is_empty();
        if unplaced && !kind.namespaced {
            errors.push(wrong("namespace", "is required"));
        }
    }
    errors
}

/// What must stay as it is, by kind.
pub(crate) fn changed(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let differs = |path: &str| at(old, path) != at(new, path);
    let sealed = at(old, "immutable") == Some(&Value::Bool(true));
    let fixed: &[&str] = match (kind.group.as_str(), kind.kind.as_str()) {
        ("apiextensions.k8s.io", _) => &["spec.group", "spec.names.plural", "spec.scope"],
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => &["roleRef"],
        ("", "Secret") if sealed => &["type", "immutable", "data"],
        ("", "ConfigMap") if sealed => &["immutable", "data", "binaryData"],
        ("", "Secret") => &["type"],
        _ => &[],
    };
    let fixed = fixed.iter().filter(|path| differs(path));
    let mut errors: Vec<FieldError> =
        fixed.map(|path| FieldError::new(*path, "field is immutable")).collect();
    let versions: Vec<&str> =
        list(new, "spec.versions").map(|(_, one)| text(one, "/name")).collect();
    let stored = list(old, "status.storedVersions").filter_map(|(_, one)| one.as_str());
    if let Some(gone) = stored.into_iter().find(|one| !versions.contains(one))
        && kind.kind == "CustomResourceDefinition"
    {
        let why = format!("`{gone}` must stay: objects may be stored in it");
        errors.push(FieldError::new("spec.versions", why));
    }
    // Whatever goes waits for those only who wanted it before.
    let waits = |document: &Value| -> Vec<Value> {
        list(document, "metadata.finalizers").map(|(_, one)| one.clone()).collect()
    };
    let before = waits(old);
    if crate::object::is_terminating(old) && waits(new).iter().any(|one| !before.contains(one)) {
        let why = "no new finalizers can be added if the object is being deleted";
        errors.push(FieldError::new("metadata.finalizers", why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn objects_are_as_others_rely_on() {
        let registry = Registry::built_in();
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": ""});
        let role = |kind: &str, subject: Value| json!({"roleRef": {"kind": kind, "name": "r"}, "subjects": [subject]});
        let ada = || json!({"kind": "User", "name": "ada"});
        let cases = [
            (
                "v1/ConfigMap",
                json!({"metadata": {"labels": {"a/b": "c"}}, "data": {"a.b": "x"}}),
                "",
            ),
            ("v1/ConfigMap", json!({"metadata": {"labels": {"a b": "c"}}}), "metadata.labels"),
            ("v1/ConfigMap", json!({"metadata": {"labels": {"a": "c d"}}}), "metadata.labels"),
            (
                "v1/ConfigMap",
                json!({"metadata": {"annotations": {"a b": ""}}}),
                "metadata.annotations",
            ),
            (
                "v1/ConfigMap",
                json!({"metadata": {"annotations": {"a": "x".repeat(300_000)}}}),
                "metadata.annotations",
            ),
            (
                "v1/ConfigMap",
                json!({"metadata": {"ownerReferences": [owner]}}),
                "metadata.ownerReferences[0].uid",
            ),
            ("v1/Secret", json!({"data": {"../a": ""}}), "data"),
            (
                "rbac.authorization.k8s.io/v1/Role",
                json!({"rules": [{"resources": ["a"]}]}),
                "rules[0].verbs",
            ),
            ("rbac.authorization.k8s.io/v1/RoleBinding", role("Role", ada()), ""),
            (
                "rbac.authorization.k8s.io/v1/ClusterRoleBinding",
                role("Role", ada()),
                "roleRef.kind",
            ),
            ("rbac.authorization.k8s.io/v1/RoleBinding", role("", ada()), "roleRef.kind"),
            (
                "rbac.authorization.k8s.io/v1/RoleBinding",
                role("Role", json!({"kind": "Dog", "name": "a"})),
                "subjects[0].kind",
            ),
            (
                "rbac.authorization.k8s.io/v1/ClusterRoleBinding",
                role("ClusterRole", json!({"kind": "ServiceAccount", "name": "a"})),
                "subjects[0].namespace",
            ),
        ];
        for (kind, document, field) in cases {
            let (version, name) = kind.rsplit_once('/').unwrap();
            let kind = registry.of_object(version, name).unwrap();
            let errors = [check(&document), of_kind(kind, &document)].concat();
            let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields.join(","), field, "{document}");
        }
    }

    #[test]
    fn some_things_stay() {
        let registry = Registry::built_in();
        let secret = json!({"type": "a", "data": {"x": ""}});
        let sealed = json!({"type": "a", "data": {"x": ""}, "immutable": true});
        let going = json!({"metadata": {"deletionTimestamp": "now", "finalizers": ["a", "b"]}});
        let cases = [
            ("v1/Secret", &secret, json!({"type": "a", "data": {}}), ""),
            ("v1/Secret", &secret, json!({"type": "b", "data": {}}), "type"),
            ("v1/Secret", &sealed, json!({"type": "a", "data": {}, "immutable": true}), "data"),
            ("v1/Secret", &sealed, secret.clone(), "immutable"),
            (
                "rbac.authorization.k8s.io/v1/RoleBinding",
                &json!({"roleRef": {"name": "a"}}),
                json!({"roleRef": {"name": "b"}}),
                "roleRef",
            ),
            ("v1/Pod", &going, json!({"metadata": {"finalizers": ["b"]}}), ""),
            (
                "apiextensions.k8s.io/v1/CustomResourceDefinition",
                &json!({"status": {"storedVersions": ["v1"]}}),
                json!({"spec": {"versions": [{"name": "v2"}]}}),
                "spec.versions",
            ),
            ("v1/Pod", &going, json!({"metadata": {"finalizers": ["c"]}}), "metadata.finalizers"),
        ];
        for (kind, old, new, field) in cases {
            let (version, name) = kind.rsplit_once('/').unwrap();
            let errors = changed(registry.of_object(version, name).unwrap(), old, &new);
            let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields.join(","), field, "{new}");
        }
    }
}
