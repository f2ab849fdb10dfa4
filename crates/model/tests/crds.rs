//! The definitions in `deploy/crds/` are those made from the types, and API servers take them.
//! `TORTIE_REGENERATE=1 cargo test -p tortie-model --test crds` writes them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tortie_model::crd;

const HEADER: &str = "# Made from crates/model by `TORTIE_REGENERATE=1 cargo test -p tortie-model \
                      --test crds`; do not edit.\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds")
}

fn fresh() -> BTreeMap<String, String> {
    let file = |definition: &Value| {
        let name = definition.pointer("/metadata/name").unwrap().as_str().unwrap();
        let (plural, group) = name.split_once('.').unwrap();
        let text = serde_saphyr::to_string(definition).unwrap();
        (format!("{group}_{plural}.yaml"), format!("{HEADER}{text}"))
    };
    crd::all().iter().map(file).collect()
}

fn committed() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let file = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).map(file).collect()
}

#[test]
fn committed_definitions_are_fresh() {
    let fresh = fresh();
    if std::env::var_os("TORTIE_REGENERATE").is_some() {
        for name in committed().keys() {
            std::fs::remove_file(folder().join(name)).unwrap();
        }
        for (name, text) in &fresh {
            std::fs::write(folder().join(name), text).unwrap();
        }
    }
    let old = committed();
    assert_eq!(old.keys().collect::<Vec<_>>(), fresh.keys().collect::<Vec<_>>());
    for (name, text) in &fresh {
        assert!(old.get(name) == Some(text), "{name} is stale: see the head of this file");
        let read: Value = serde_saphyr::from_str(text).unwrap();
        assert!(crd::all().contains(&read), "{name} reads differently");
    }
}

/// Every schema below this one, with its path.
fn schemas(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
    found.push((path.to_owned(), schema.clone()));
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, below) in properties.into_iter().flatten() {
        schemas(&format!("{path}.{name}"), below, found);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(key) {
            schemas(&format!("{path}[]"), below, found);
        }
    }
}

#[test]
fn schemas_are_structural() {
    const WORDS: [&str; 24] = [
        "type",
        "format",
        "description",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "enum",
        "default",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "nullable",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
        "x-kubernetes-preserve-unknown-fields",
        "maxProperties",
    ];
    let mut count = 0;
    for definition in crd::all() {
        let name = definition.pointer("/metadata/name").unwrap().as_str().unwrap();
        let root = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        let mut found = Vec::new();
        schemas(name, root, &mut found);
        for (path, schema) in &found {
            let schema = schema.as_object().unwrap_or_else(|| panic!("{path}: {schema}"));
            let typed = schema.get("type").is_some_and(Value::is_string);
            let free = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
            assert!(
                typed || free.iter().any(|key| schema.contains_key(*key)),
                "{path} has no type"
            );
            let strange = schema.keys().find(|key| !WORDS.contains(&key.as_str()));
            assert_eq!(strange, None, "{path}");
            let properties = schema.get("properties").and_then(Value::as_object);
            for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                let name = required.as_str().unwrap();
                assert!(properties.unwrap().contains_key(name), "{path} requires {name}");
            }
        }
        count += found.len();
    }
    assert!(count > 1000, "only {count} schemas");
}
