//! What `deploy/` lets the agent do is what the agent does.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tortie_client::server::followed;

/// The documents of a manifest.
fn documents(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes").join(name);
    let text = fs::read_to_string(path).unwrap();
    text.split("\n---\n").map(|text| tortie_client::document(text.as_bytes()).unwrap()).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_role_has_the_kinds_that_are_followed() {
    let documents = documents("agent.yaml");
    let role = documents.iter().find(|document| document["kind"] == "ClusterRole").unwrap();
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        match texts(&rule["verbs"]).as_slice() {
            ["get"] => continue,
            verbs => assert_eq!(verbs, ["list", "watch"], "it only reads: {rule}"),
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                // The right to a tier is a resource of its own, which is no kind.
                if !resource.starts_with("tier.") {
                    granted.insert(format!("{resource}.{group}"));
                }
            }
        }
    }
    let places = followed().into_iter().map(|followed| followed.wanted());
    let places = places.flat_map(|wanted| [Some(wanted.kind), wanted.instead]).flatten();
    let followed = places.map(|kind| format!("{}.{}", kind.plural, kind.group));
    assert_eq!(granted, followed.collect());
}
