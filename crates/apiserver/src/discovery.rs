//! What is served, as clients find it out: the old way, a document for each group version, and the
//! new way, one for all.

use serde_json::{Value, json};

use crate::kinds::{Kind, Registry, Subresource, group_version};
use crate::status::Status;

/// The version of Kubernetes whose API this is like.
const KUBERNETES: (&str, &str) = ("1", "32");

/// `/version`.
pub(crate) fn version() -> Value {
    let (major, minor) = KUBERNETES;
    let version = concat!("tortie-", env!("CARGO_PKG_VERSION"));
    json!({
        "major": major, "minor": minor, "gitVersion": format!("v{major}.{minor}.0+{version}"),
        "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
pub(crate) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_document(group: &str, versions: &[impl AsRef<str>]) -> Value {
    let entry =
        |version: &str| json!({"groupVersion": group_version(group, version), "version": version});
    let versions: Vec<Value> = versions.iter().map(|version| entry(version.as_ref())).collect();
    let preferred = versions.first().cloned();
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": versions,
        "preferredVersion": preferred,
    })
}

/// `/apis`.
pub(crate) fn groups(registry: &Registry) -> Value {
    let groups = registry.groups();
    let named = groups.iter().filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> = named.map(|(name, versions)| group_document(name, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub(crate) fn group(registry: &Registry, name: &str) -> Result<Value, Status> {
    let groups = registry.groups();
    let found = groups.iter().find(|(group, _)| group == name && !name.is_empty());
    found.map(|(group, versions)| group_document(group, versions)).ok_or_else(Status::no_such_path)
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(crate) fn resources(registry: &Registry, group: &str, version: &str) -> Result<Value, Status> {
    let list: Vec<Value> = registry.of_version(group, version).flat_map(|kind| old(kind)).collect();
    if list.is_empty() {
        return Err(Status::no_such_path());
    }
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": group_version(group, version), "resources": list,
    }))
}

fn old(kind: &Kind) -> Vec<Value> {
    let mut whole = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs().collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = &mut whole {
        if !kind.short.is_empty() {
            fields.insert("shortNames".into(), json!(kind.short));
        }
        if !kind.categories.is_empty() {
            fields.insert("categories".into(), json!(kind.categories));
        }
    }
    let part = |part: Subresource| {
        json!({
            "name": format!("{}/{}", kind.plural, part.name), "singularName": "",
            "namespaced": kind.namespaced, "kind": part.kind, "group": part.group,
            "version": part.version, "verbs": part.verbs,
        })
    };
    std::iter::once(whole).chain(kind.subresources().into_iter().map(part)).collect()
}

/// All groups at once; `core` says whether those of `/api` or those of `/apis`.
pub(crate) fn aggregated(registry: &Registry, version: &str, core: bool) -> Value {
    let groups = registry.groups();
    let wanted = groups.iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = wanted
        .map(|(group, versions)| {
            let versions = versions.iter().map(|version| {
                let kinds = registry.of_version(group, version);
                let resources: Vec<Value> = kinds.map(|kind| new(kind)).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            });
            let versions: Vec<Value> = versions.collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn new(kind: &Kind) -> Value {
    let response = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let parts: Vec<Value> = kind
        .subresources()
        .iter()
        .map(|part| {
            json!({
                "subresource": part.name, "verbs": part.verbs,
                "responseKind": response(&part.group, &part.version, &part.kind),
            })
        })
        .collect();
    json!({
        "resource": kind.plural, "singularResource": kind.singular, "verbs": kind.verbs().collect::<Vec<_>>(),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "shortNames": kind.short, "categories": kind.categories, "subresources": parts,
        "responseKind": response(&kind.group, &kind.version, &kind.kind),
    })
}
