//! Fields that objects have although nobody wrote them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::object::{self, child, fields, map, text};

/// The label that says which tier a policy is in.
pub(crate) const TIER_LABEL: &str = "projectcalico.org/tier";

/// Kinds of policies that are in a tier.
pub(crate) const TIERED: [&str; 4] = [
    "globalnetworkpolicies",
    "networkpolicies",
    "stagedglobalnetworkpolicies",
    "stagednetworkpolicies",
];

/// The group of Calico's kinds.
pub(crate) const CALICO: &str = "projectcalico.org";

/// Whether a kind's objects are in a tier.
pub(crate) fn is_tiered(kind: &Kind) -> bool {
    kind.group == CALICO && TIERED.contains(&kind.plural.as_str())
}

/// The tier of a policy, by whomever it was written.
pub(crate) fn tier_of(policy: &Value) -> &str {
    match text(policy, "/spec/tier") {
        "" => "default",
        tier => tier,
    }
}

/// Fills in what is missing. A status is only made for what is new.
pub(crate) fn fill(kind: &Kind, document: &mut Value, new: bool) {
    if is_tiered(kind) {
        return policy(document);
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => namespace(document, new),
        ("", "Secret") => secret(map(document)),
        ("", "Pod") => pod(document, new),
        ("", "Service") => service(fields(document, "spec")),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") => {
            default(fields(document, "spec"), "replicas", json!(1));
            template(document);
        }
        ("apps", "DaemonSet") | ("batch", "Job") => template(document),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(document),
        ("networking.k8s.io", "NetworkPolicy") => kubernetes_policy(fields(document, "spec")),
        (CALICO, "Tier") => tier(document, new),
        ("apiextensions.k8s.io", "CustomResourceDefinition") if new => definition(document),
        _ => {}
    }
}

fn default(fields: &mut Map<String, Value>, name: &str, value: Value) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.into(), value);
    }
}

fn each<'a>(
    fields: &'a mut Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    let list = fields.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn namespace(document: &mut Value, new: bool) {
    let name = object::name(document).to_owned();
    let metadata = fields(document, "metadata");
    child(metadata, "labels").insert("kubernetes.io/metadata.name".into(), name.into());
    default(fields(document, "spec"), "finalizers", json!(["kubernetes"]));
    if new {
        map(document).insert("status".into(), json!({"phase": "Active"}));
    }
}

/// Text that was given as such is kept as the bytes it stands for.
fn secret(fields: &mut Map<String, Value>) {
    default(fields, "type", "Opaque".into());
    if let Some(Value::Object(given)) = fields.remove("stringData") {
        let data = child(fields, "data");
        for (key, value) in given {
            let bytes = object::shown(&value).into_owned();
            data.insert(key, STANDARD.encode(bytes).into());
        }
    }
}

fn pod(document: &mut Value, new: bool) {
    let spec = fields(document, "spec");
    let account = ["serviceAccountName", "serviceAccount"].into_iter().find_map(|field| {
        spec.get(field).and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
    });
    let account = account.unwrap_or_else(|| "default".to_owned());
    spec.insert("serviceAccountName".into(), account.as_str().into());
    spec.insert("serviceAccount".into(), account.into());
    default(spec, "restartPolicy", "Always".into());
    default(spec, "dnsPolicy", "ClusterFirst".into());
    default(spec, "terminationGracePeriodSeconds", json!(30));
    ports(spec);
    if new {
        map(document).insert("status".into(), json!({"phase": "Pending"}));
    }
}

fn ports(spec: &mut Map<String, Value>) {
    for container in each(spec, "containers") {
        each(container, "ports").for_each(|port| default(port, "protocol", "TCP".into()));
    }
}

fn template(workload: &mut Value) {
    if let Some(Value::Object(spec)) = workload.pointer_mut("/spec/template/spec") {
        ports(spec);
    }
}

/// Roles, users and groups are of one group of the API.
fn binding(document: &mut Value) {
    let group = || Value::from("rbac.authorization.k8s.io");
    default(fields(document, "roleRef"), "apiGroup", group());
    for subject in each(map(document), "subjects") {
        if ["User", "Group"].map(Some).contains(&subject.get("kind").and_then(Value::as_str)) {
            default(subject, "apiGroup", group());
        }
    }
}

fn service(spec: &mut Map<String, Value>) {
    default(spec, "type", "ClusterIP".into());
    default(spec, "sessionAffinity", "None".into());
    for port in each(spec, "ports") {
        default(port, "protocol", "TCP".into());
        let same = port.get("port").cloned().unwrap_or_default();
        default(port, "targetPort", same);
    }
}

fn kubernetes_policy(spec: &mut Map<String, Value>) {
    let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if spec.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".into(), types);
    }
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            each(rule, "ports").for_each(|port| default(port, "protocol", "TCP".into()));
        }
    }
}

/// The tier, the label that repeats it, and the types that its rules imply.
fn policy(document: &mut Value) {
    let spec = fields(document, "spec");
    default(spec, "tier", "default".into());
    let rules = |direction: &str| {
        spec.get(direction).and_then(Value::as_array).is_some_and(|rules| !rules.is_empty())
    };
    let delete = spec.get("stagedAction").and_then(Value::as_str) == Some("Delete");
    let types = match (rules("ingress"), rules("egress")) {
        (_, false) => json!(["Ingress"]),
        (false, true) => json!(["Egress"]),
        (true, true) => json!(["Ingress", "Egress"]),
    };
    // A staged deletion says nothing but that.
    if !delete && spec.get("types").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("types".into(), types);
    }
    let tier = spec.get("tier").cloned().unwrap_or_default();
    if tier.is_string() {
        child(fields(document, "metadata"), "labels").insert(TIER_LABEL.into(), tier);
    }
}

/// A definition is served as soon as it is stored.
fn definition(document: &mut Value) {
    let since = text(document, "/metadata/creationTimestamp").to_owned();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": since,
        })
    };
    let conditions = [
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the kind is served"),
    ];
    let names = document.pointer("/spec/names").cloned().unwrap_or_default();
    let versions = document.pointer("/spec/versions").and_then(Value::as_array);
    let stored: Vec<&str> = versions
        .into_iter()
        .flatten()
        .filter(|version| version.get("storage") == Some(&Value::Bool(true)))
        .map(|version| text(version, "/name"))
        .collect();
    let status =
        json!({"conditions": conditions, "acceptedNames": names, "storedVersions": stored});
    map(document).insert("status".into(), status);
}

fn tier(document: &mut Value, new: bool) {
    let spec = fields(document, "spec");
    default(spec, "order", json!(1_000_000.0));
    default(spec, "defaultAction", "Deny".into());
    if new {
        let since = text(document, "/metadata/creationTimestamp").to_owned();
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "Accepted", "lastTransitionTime": since,
            "message": "policies of this tier are enforced",
        });
        map(document).insert("status".into(), json!({"conditions": [ready]}));
    }
}
