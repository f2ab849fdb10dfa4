//! From a document to a resource, reporting every wrong field at once.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fields::{decode_collecting, distance, nearest, shape};
use crate::{DecodeError, FieldError, Foreign, Object, Resource};

/// Groups of which every kind must be understood: one we do not know could be a policy.
const POLICY_GROUPS: [&str; 5] = [
    "projectcalico.org",
    "crd.projectcalico.org",
    "networking.k8s.io",
    "policy.networking.k8s.io",
    "tortie.dev",
];

/// Kinds of these groups that carry no policy and are kept untouched.
const HARMLESS: [(&str, &str); 3] = [
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "IngressClass"),
    ("tortie.dev", "ImageMap"),
];

/// Kinds of Calico that carry no policy and are kept untouched.
const NO_POLICY: [&str; 11] = [
    "BGPConfiguration",
    "BGPFilter",
    "BGPPeer",
    "BlockAffinity",
    "CalicoNodeStatus",
    "ExternalNetwork",
    "IPAMBlock",
    "IPAMConfiguration",
    "IPAMHandle",
    "IPPool",
    "IPReservation",
];

/// Kinds of Calico that have a typed view.
const CALICO: [&str; 14] = [
    "ClusterInformation",
    "FelixConfiguration",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "KubeControllersConfiguration",
    "NetworkPolicy",
    "NetworkSet",
    "Profile",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "StagedNetworkPolicy",
    "Tier",
    "WorkloadEndpoint",
];

/// Reads one document. A `List` gives the resources of its `items`; an empty document none.
///
/// # Errors
/// One [`DecodeError`] per resource that has any wrong field, with all its wrong fields.
pub fn decode(document: Value) -> Result<Vec<Resource>, Vec<DecodeError>> {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for item in items(document) {
        match decode_one(item) {
            Ok(resource) => good.push(resource),
            Err(error) => bad.push(error),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

/// The documents a document stands for: itself, the items of a list of any depth, or nothing. A list
/// may be one without a kind, as calicoctl writes several resources.
pub fn items(mut document: Value) -> Vec<Value> {
    if document.is_null() {
        return Vec::new();
    }
    if let Value::Array(found) = document {
        return found.into_iter().flat_map(items).collect();
    }
    let list = document.get("kind").and_then(Value::as_str).is_some_and(|k| k.ends_with("List"));
    match document.get_mut("items") {
        Some(Value::Array(found)) if list => {
            std::mem::take(found).into_iter().flat_map(items).collect()
        }
        _ => vec![document],
    }
}

fn decode_one(raw: Value) -> Result<Resource, DecodeError> {
    let (api_version, kind) = match type_meta(&raw) {
        Ok(names) => names,
        Err(errors) => return Err(failure(&raw, errors)),
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    match view(group, version, &kind, &raw) {
        Ok(object) => Ok(Resource { api_version, kind, object, raw }),
        Err(errors) => Err(failure(&raw, errors)),
    }
}

/// `apiVersion` and `kind`, which every document must have.
fn type_meta(raw: &Value) -> Result<(String, String), Vec<FieldError>> {
    let Value::Object(object) = raw else {
        return Err(vec![FieldError::new(
            "",
            format!("expected a resource, found {}", shape(raw)),
        )]);
    };
    let mut errors = Vec::new();
    let mut text = |field: &str| match object.get(field) {
        Some(Value::String(s)) if !s.is_empty() => s.clone(),
        Some(Value::Null) | Some(Value::String(_)) | None => {
            errors.push(FieldError::new(field, "is required"));
            String::new()
        }
        Some(other) => {
            errors.push(FieldError::new(field, format!("expected text, found {}", shape(other))));
            String::new()
        }
    };
    let names = (text("apiVersion"), text("kind"));
    if errors.is_empty() { Ok(names) } else { Err(errors) }
}

fn failure(raw: &Value, errors: Vec<FieldError>) -> DecodeError {
    let text = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    DecodeError {
        kind: text("/kind").unwrap_or_default(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name").unwrap_or_default(),
        errors,
    }
}

/// Whether a kind lives in a namespace.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Cluster,
    Namespace,
}

/// The typed view of a document, by group, version and kind.
fn view(group: &str, version: &str, kind: &str, raw: &Value) -> Result<Object, Vec<FieldError>> {
    use Object as O;
    use Scope::{Cluster, Namespace};
    let calico = matches!((group, version), ("projectcalico.org", "v3"))
        || matches!((group, version), ("crd.projectcalico.org", "v1"));
    match (group, version, kind) {
        (_, _, "GlobalNetworkPolicy") if calico => typed(raw, Cluster, O::GlobalNetworkPolicy),
        (_, _, "NetworkPolicy") if calico => typed(raw, Namespace, O::NetworkPolicy),
        (_, _, "StagedGlobalNetworkPolicy") if calico => {
            typed(raw, Cluster, O::StagedGlobalNetworkPolicy)
        }
        (_, _, "StagedNetworkPolicy") if calico => typed(raw, Namespace, O::StagedNetworkPolicy),
        (_, _, "StagedKubernetesNetworkPolicy") if calico => {
            typed(raw, Namespace, O::StagedKubernetesNetworkPolicy)
        }
        (_, _, "Tier") if calico => typed(raw, Cluster, O::Tier),
        (_, _, "GlobalNetworkSet") if calico => typed(raw, Cluster, O::GlobalNetworkSet),
        (_, _, "NetworkSet") if calico => typed(raw, Namespace, O::NetworkSet),
        (_, _, "HostEndpoint") if calico => typed(raw, Cluster, O::HostEndpoint),
        (_, _, "WorkloadEndpoint") if calico => typed(raw, Namespace, O::WorkloadEndpoint),
        (_, _, "Profile") if calico => typed(raw, Cluster, O::Profile),
        (_, _, "FelixConfiguration") if calico => typed(raw, Cluster, O::FelixConfiguration),
        (_, _, "ClusterInformation") if calico => typed(raw, Cluster, O::ClusterInformation),
        (_, _, "KubeControllersConfiguration") if calico => {
            typed(raw, Cluster, O::KubeControllersConfiguration)
        }
        _ if calico && NO_POLICY.contains(&kind) => typed(raw, Cluster, O::Foreign),
        ("networking.k8s.io", "v1", "NetworkPolicy") => {
            typed(raw, Namespace, O::KubernetesNetworkPolicy)
        }
        ("policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy") => {
            typed(raw, Cluster, O::ClusterNetworkPolicy)
        }
        ("", "v1", "Namespace") => typed(raw, Cluster, O::Namespace),
        ("", "v1", "ServiceAccount") => typed(raw, Namespace, O::ServiceAccount),
        ("", "v1", "Pod") => typed(raw, Namespace, O::Pod),
        ("", "v1", "Node") => typed(raw, Cluster, O::Node),
        ("", "v1", "Service") => typed(raw, Namespace, O::Service),
        ("", "v1", "Secret") => typed(raw, Namespace, O::Secret),
        ("discovery.k8s.io", "v1", "EndpointSlice") => typed(raw, Namespace, O::EndpointSlice),
        ("apps", "v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "v1", "Job") => typed(raw, Namespace, O::Workload),
        ("tortie.dev", "v1", "TortieConfiguration") => typed(raw, Cluster, O::TortieConfiguration),
        ("tortie.dev", "v1", "PolicyTest") => typed(raw, Cluster, O::PolicyTest),
        _ if HARMLESS.contains(&(group, kind)) => foreign(raw),
        _ if POLICY_GROUPS.contains(&group) => Err(vec![unknown_kind(group, version, kind)]),
        _ => match suspicious(group, version, kind, raw) {
            Some(error) => Err(vec![error]),
            None => foreign(raw),
        },
    }
}

fn foreign(raw: &Value) -> Result<Object, Vec<FieldError>> {
    typed::<Foreign>(raw, Scope::Cluster, Object::Foreign)
}

/// Why a document of a group that may hold anything is probably meant to be something else, which
/// would be lost if it were passed over.
fn suspicious(group: &str, version: &str, kind: &str, raw: &Value) -> Option<FieldError> {
    let wrong = |hint: String| {
        let reason = format!("`{}` is not known", [group, version].join("/").trim_matches('/'));
        Some(FieldError::new("apiVersion", reason).hint(hint))
    };
    let near = |known: &&&str| distance(&group.to_lowercase(), known) <= 1;
    match POLICY_GROUPS.iter().find(near) {
        Some(meant) => return wrong(format!("did you mean group `{meant}`?")),
        None if group.is_empty() && version != "v1" => {
            return wrong("write it as `group/version`; without a group it is `v1`".to_owned());
        }
        None => {}
    }
    (group.is_empty() && kind == "List").then(|| {
        let found = raw.get("items").map_or("nothing", shape);
        FieldError::new("items", format!("expected a list, found {found}"))
    })
}

fn unknown_kind(group: &str, version: &str, kind: &str) -> FieldError {
    let (known, current): (&[&str], _) = match group {
        "projectcalico.org" | "crd.projectcalico.org" => (&CALICO, "projectcalico.org/v3"),
        "networking.k8s.io" => (&["NetworkPolicy"], "networking.k8s.io/v1"),
        "policy.networking.k8s.io" => {
            (&["ClusterNetworkPolicy"], "policy.networking.k8s.io/v1alpha2")
        }
        "tortie.dev" => (&["PolicyTest", "ImageMap", "TortieConfiguration"], "tortie.dev/v1"),
        _ => (&[], ""),
    };
    match known.iter().find(|k| k.eq_ignore_ascii_case(kind)) {
        Some(k) if *k == kind => FieldError::new(
            "apiVersion",
            format!("version `{version}` of {kind} in group `{group}` is not known"),
        )
        .hint(format!("write `apiVersion: {current}`")),
        Some(k) => FieldError::new("kind", format!("kind `{kind}` is not known"))
            .hint(format!("did you mean `{k}`?")),
        None => {
            let error = FieldError::new(
                "kind",
                format!("kind `{kind}` of group `{group}` is not understood by this version"),
            );
            match nearest(kind, known) {
                Some(k) => error.hint(format!("did you mean `{k}`?")),
                None => error.hint("a policy that is not understood would not be enforced"),
            }
        }
    }
}

/// Decodes one view, collecting every wrong field, and fills in the namespace.
fn typed<T: DeserializeOwned>(
    raw: &Value,
    scope: Scope,
    wrap: fn(Box<T>) -> Object,
) -> Result<Object, Vec<FieldError>> {
    let mut errors = unknown_top_level(raw);
    errors.extend(metadata_errors(raw, scope));
    match decode_collecting(default_namespace(raw, scope)) {
        (Some(view), found) if errors.is_empty() && found.is_empty() => Ok(wrap(Box::new(view))),
        (_, found) => {
            errors.extend(found);
            Err(errors)
        }
    }
}

/// Policies have five fields at the top; a sixth is a misspelling (`specs:`) or a lost indentation.
fn unknown_top_level(document: &Value) -> Vec<FieldError> {
    let policy = ["projectcalico.org", "crd.projectcalico.org"].iter().any(|group| {
        let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        version.split_once('/').is_some_and(|(g, _)| g == *group)
    });
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let fields = document.as_object().filter(|_| policy).into_iter().flatten();
    fields
        .filter(|(field, value)| !value.is_null() && !known.contains(&field.as_str()))
        .map(|(field, _)| {
            let error = FieldError::new(field, "unknown field");
            match nearest(field, &known) {
                Some(k) => error.hint(format!("did you mean `{k}`?")),
                None => error.hint("is it indented too little? policy fields belong under `spec`"),
            }
        })
        .collect()
}

fn metadata_errors(document: &Value, scope: Scope) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = document.get("metadata");
    let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version.starts_with("tortie.dev/") {
        return errors; // files of our own, which need no name
    }
    match metadata.and_then(|m| m.get("name")) {
        Some(Value::String(name)) if !name.is_empty() => {}
        Some(Value::String(_) | Value::Null) | None => {
            errors.push(FieldError::new("metadata.name", "is required"));
        }
        Some(_) => {} // a wrong type is reported by the decoder
    }
    let in_policy_group = version.contains("projectcalico.org/");
    if scope == Scope::Cluster
        && in_policy_group
        && metadata.and_then(|m| m.get("namespace")).is_some_and(|n| !n.is_null())
    {
        errors.push(
            FieldError::new("metadata.namespace", "this kind has no namespace")
                .hint("remove the namespace, or use the namespaced kind"),
        );
    }
    errors
}

/// The document, in `default` if its kind has a namespace and it says none.
fn default_namespace(document: &Value, scope: Scope) -> Cow<'_, Value> {
    let given = document.pointer("/metadata/namespace");
    let said = given.is_some_and(|n| !n.is_null() && n.as_str() != Some(""));
    let mut document = Cow::Borrowed(document);
    if scope == Scope::Namespace
        && !said
        && let Some(Value::Object(metadata)) = document.to_mut().get_mut("metadata")
    {
        metadata.insert("namespace".to_owned(), "default".into());
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(document: Value) -> Vec<String> {
        let errors = decode(document).expect_err("should be refused");
        errors.into_iter().flat_map(|e| e.errors).map(|e| e.to_string()).collect()
    }

    fn policy(spec: Value) -> Value {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
               "metadata": {"name": "p"}, "spec": spec})
    }

    #[test]
    fn all_wrong_fields_are_reported_at_once() {
        let found = errors(policy(json!({
            "selectr": "all()", "order": "first",
            "ingress": [
                {"action": "Allow", "source": {"nets": [1], "podSelector": {}}},
                {"action": "Allow", "destination": {"ports": [[80]]}, "htp": {}},
            ],
        })));
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(
            sorted,
            [
                "spec.ingress[0].source.nets[0]: expected text, found a number",
                "spec.ingress[0].source.podSelector: unknown field",
                "spec.ingress[1].destination.ports[0]: expected a number or text, found a list",
                "spec.ingress[1].htp: unknown field",
                "spec.order: expected a number, found text",
                "spec.selectr: unknown field",
            ],
            "{found:#?}"
        );
    }

    #[test]
    fn misspelt_fields_and_kinds_get_a_hint() {
        let found = decode(policy(json!({"selectr": "all()"}))).expect_err("unknown field");
        assert_eq!(found[0].errors[0].hint.as_deref(), Some("did you mean `selector`?"));
        let mut document = policy(json!({}));
        document["kind"] = "GlobalNetworkPolice".into();
        let found = decode(document).expect_err("unknown kind");
        assert_eq!(found[0].errors[0].hint.as_deref(), Some("did you mean `GlobalNetworkPolicy`?"));
    }

    #[test]
    fn values_that_yaml_reads_otherwise_get_a_hint() {
        for (spec, field, hint) in [
            (json!({"selector": true}), "spec.selector", "put it in quotes: without them, YAML"),
            (json!({"types": [false]}), "spec.types[0]", "put it in quotes: without them, YAML"),
            (json!({"tier": 10}), "spec.tier", "put it in quotes"),
            (json!({"tier": 0.5}), "spec.tier", "put it in quotes"),
            (json!({"doNotTrack": "true"}), "spec.doNotTrack", "write it without quotes"),
            (json!({"true": 1}), "spec.true", "put it in quotes: without them, YAML"),
        ] {
            let found = decode(policy(spec)).expect_err(field);
            let error = &found[0].errors[0];
            assert_eq!(error.field, field);
            assert!(error.hint.as_deref().is_some_and(|h| h.starts_with(hint)), "{error:?}");
        }
    }

    #[test]
    fn kinds_of_policy_groups_that_are_not_understood_are_refused() {
        for (api_version, kind) in [
            ("projectcalico.org/v3", "SecurityPolicy"),
            ("projectcalico.org/v1", "NetworkPolicy"),
            ("networking.k8s.io/v1beta1", "NetworkPolicy"),
            ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
            ("projectcalico.org", "NetworkPolicy"),
            ("v3", "NetworkPolicy"),
            ("projectcalico.or/v3", "NetworkPolicy"),
            ("Projectcalico.org/v3", "NetworkPolicy"),
            ("projectcalico.org/v3/v3", "NetworkPolicy"),
            ("tortie.dev/v1", "PolicyTests"),
            ("tortie.dev/v2", "PolicyTest"),
            ("v1", "List"),
        ] {
            let document =
                json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "p"}});
            assert!(decode(document).is_err(), "{api_version} {kind}");
        }
    }

    #[test]
    fn foreign_kinds_and_their_fields_are_kept() {
        let document = json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "g"}, "spec": {"servers": [{"port": {"number": 80}}]}});
        let found = decode(document.clone()).expect("accepted");
        assert!(matches!(found[0].object, Object::Foreign(_)));
        assert_eq!(found[0].raw, document);
    }

    #[test]
    fn defaults_and_nulls() {
        let document = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": null}, "spec": {"containers": []}});
        let found = decode(document).expect("accepted");
        assert_eq!(found[0].metadata().namespace.as_deref(), Some("default"));
    }

    #[test]
    fn lists_are_expanded() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod, pod]});
        assert_eq!(decode(list.clone()).expect("accepted").len(), 2);
        let nested = json!({"apiVersion": "v1", "kind": "List", "items": [list, pod, list]});
        assert_eq!(decode(nested).expect("accepted").len(), 5);
        assert_eq!(decode(Value::Null).expect("accepted").len(), 0);
        assert_eq!(decode(json!([pod, [list]])).expect("accepted").len(), 3);
    }

    #[test]
    fn documents_that_are_no_resources() {
        assert_eq!(errors(json!([1])), ["expected a resource, found a number"]);
        assert_eq!(
            errors(json!({"kind": 3})),
            ["apiVersion: is required", "kind: expected text, found a number"]
        );
        let mut document = policy(json!({}));
        document["metadata"] = json!({"namespace": "x"});
        document["specs"] = json!({});
        assert_eq!(
            errors(document),
            [
                "specs: unknown field",
                "metadata.name: is required",
                "metadata.namespace: this kind has no namespace"
            ]
        );
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"key": "aHVudGVyMg=="}});
        let found = decode(secret).expect("accepted");
        assert!(!format!("{found:?} {:?}", found[0].object).contains("aHVudGVyMg"));
        let wrong = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": "hunter2"});
        assert_eq!(errors(wrong), ["data: expected a mapping, found text"]);
    }
}
