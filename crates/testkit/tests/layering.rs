//! The house is built as `layers.toml` says: a crate depends only on crates of lower floors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata};
use serde::Deserialize;
use tortie_testkit::workspace;

/// Crates that nobody may depend on, in any version, by any way, with the reason.
const BANNED: [(&str, &str); 7] = [
    ("openssl", "TLS is rustls"),
    ("openssl-sys", "TLS is rustls"),
    ("native-tls", "TLS is rustls"),
    ("aws-lc-rs", "rustls has one provider, ring; a second one panics at run time"),
    ("aws-lc-sys", "rustls has one provider, ring; a second one panics at run time"),
    ("reqwest", "hyper is here already"),
    ("serde_yaml", "unmaintained; YAML is read by serde-saphyr with limits"),
];

/// Crates that only some crates of the house may name as a dependency of their own; tests may.
const RESERVED: [(&str, &[&str]); 3] = [
    ("kube", &["tortie-client"]),
    ("k8s-openapi", &["tortie-client"]),
    ("serde-saphyr", &["tortie-client"]),
];

#[derive(Deserialize)]
struct Layers {
    floors: BTreeMap<String, u8>,
    outside: BTreeMap<String, String>,
    #[serde(default)]
    same_floor: BTreeMap<String, String>,
}

/// A dependency between two crates of the workspace.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    development: bool,
}

fn layers() -> Layers {
    let text = fs::read_to_string(workspace::root().join("layers.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

fn members(metadata: &Metadata) -> BTreeSet<String> {
    metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect()
}

fn edges(metadata: &Metadata) -> BTreeSet<Edge> {
    let members = members(metadata);
    let packages = metadata.workspace_packages();
    let edges = packages.iter().flat_map(|package| {
        package.dependencies.iter().map(|dependency| Edge {
            from: package.name.to_string(),
            to: dependency.name.clone(),
            development: dependency.kind == DependencyKind::Development,
        })
    });
    edges.filter(|edge| members.contains(&edge.to)).collect()
}

/// Why an edge must not be, if so.
fn objection(layers: &Layers, edge: &Edge) -> Option<String> {
    let Edge { from, to, development } = edge;
    match (layers.floors.get(from), layers.floors.get(to)) {
        (_, None) if *development && layers.outside.contains_key(to) => None,
        (_, None) => Some(format!("`{to}` is outside the house: only tests may use it")),
        (None, Some(_)) if from == "tortie-testkit" => None,
        (None, Some(_)) => Some(format!("`{from}` is outside the house and must not look in")),
        (Some(upper), Some(lower)) if lower < upper => None,
        (Some(upper), Some(lower)) => {
            let excused = layers.same_floor.contains_key(&format!("{from} -> {to}"));
            (lower > upper || !excused)
                .then(|| format!("`{to}` is on floor {lower}, `{from}` on floor {upper}"))
        }
    }
}

#[test]
fn every_crate_has_its_place() {
    let (layers, metadata) = (layers(), workspace::metadata().unwrap());
    let listed: BTreeSet<_> = layers.floors.keys().chain(layers.outside.keys()).cloned().collect();
    assert_eq!(listed, members(&metadata), "layers.toml and the workspace differ");
}

#[test]
fn crates_depend_on_lower_floors_only() {
    let (layers, metadata) = (layers(), workspace::metadata().unwrap());
    let wrong: Vec<_> =
        edges(&metadata).iter().filter_map(|edge| objection(&layers, edge)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn excuses_are_needed() {
    let (layers, metadata) = (layers(), workspace::metadata().unwrap());
    let edges: BTreeSet<_> =
        edges(&metadata).iter().map(|e| format!("{} -> {}", e.from, e.to)).collect();
    for (excuse, reason) in &layers.same_floor {
        assert!(edges.contains(excuse), "`{excuse}` is excused but does not exist");
        assert!(reason.len() > 10, "`{excuse}` needs a reason");
    }
}

#[test]
fn wrong_edges_are_found() {
    let layers: Layers = toml::from_str(
        "floors = { low = 0, beside = 0, high = 2 }\n\
         outside = { tortie-testkit = 't', example = 'e' }\n\
         same_floor = { 'low -> beside' = 'because it is excused' }",
    )
    .unwrap();
    let object = |from: &str, to: &str, development| {
        objection(&layers, &Edge { from: from.into(), to: to.into(), development }).is_some()
    };
    assert!(!object("high", "low", false) && object("low", "high", false));
    assert!(object("low", "high", true), "also in tests");
    assert!(!object("low", "beside", false) && object("beside", "low", false));
    assert!(object("low", "tortie-testkit", false) && !object("low", "tortie-testkit", true));
    assert!(object("example", "low", false) && !object("tortie-testkit", "low", false));
}

#[test]
fn selector_depends_on_a_hash_function_only() {
    let metadata = workspace::metadata().unwrap();
    let packages = metadata.workspace_packages();
    let selector = packages.iter().find(|p| p.name == "tortie-selector").unwrap();
    let normal = selector.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
    assert_eq!(normal.map(|d| d.name.as_str()).collect::<Vec<_>>(), ["sha2"]);
}

#[test]
fn some_crates_have_one_user() {
    let metadata = workspace::metadata().unwrap();
    for package in metadata.workspace_packages() {
        let normal = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        for dependency in normal {
            for (name, users) in RESERVED {
                let user = users.contains(&package.name.as_str());
                assert!(dependency.name != name || user, "{} uses {name}", package.name);
            }
        }
    }
}

#[test]
fn banned_crates_are_absent() {
    let metadata = workspace::metadata().unwrap();
    for package in &metadata.packages {
        if let Some((name, why)) = BANNED.iter().find(|(name, _)| package.name == *name) {
            panic!("`{name}` is in the dependency graph: {why}");
        }
    }
}

#[test]
fn versions_are_stated_once() {
    let metadata = workspace::metadata().unwrap();
    let members = members(&metadata);
    for package in metadata.workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let entries = manifest.get(section).and_then(toml::Value::as_table);
            for (name, entry) in entries.into_iter().flatten() {
                let inherited = entry.get("workspace").and_then(toml::Value::as_bool);
                let itself = members.contains(name) && entry.get("path").is_some();
                assert!(
                    inherited == Some(true) || itself,
                    "{}: `{name}` in [{section}] should be `workspace = true`",
                    package.name
                );
            }
        }
    }
}
