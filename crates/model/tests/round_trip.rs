//! What a document says, its typed view says too. Documents are those of the corpus and the examples,
//! and others made at random from the schemas of the definitions, so that every field of every kind
//! is among them, alone and with others.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Map, Value, json};
use tortie_model::{Object, Resource, crd, decode};

/// Documents of a definition.
fn documents(definition: &Value) -> BoxedStrategy<Value> {
    let text = |at: &str| definition.pointer(at).unwrap().as_str().unwrap().to_owned();
    let group = text("/spec/group");
    let api_version = format!("{group}/{}", text("/spec/versions/0/name"));
    let kind = text("/spec/names/kind");
    let mut metadata = json!({"name": "x", "labels": {"app": "a"}});
    if text("/spec/scope") == "Namespaced" {
        metadata["namespace"] = "n".into();
    }
    let root = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
    let spec = values(&root["properties"]["spec"]);
    spec.prop_map(move |spec| {
        json!({"apiVersion": &api_version, "kind": &kind, "metadata": &metadata, "spec": spec})
    })
    .boxed()
}

/// Values that a schema admits, rules in CEL and patterns apart.
fn values(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(words) = schema["enum"].as_array() {
        return prop::sample::select(words.clone()).boxed();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        let either = ["http", "80", "080", "80:90", "TCP", ""].map(Value::from);
        return prop_oneof![
            any::<u16>().prop_map(Value::from),
            prop::sample::select(either.to_vec())
        ]
        .boxed();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => any::<i64>().prop_map(Value::from).boxed(),
        "number" => (-1e9..1e9).prop_map(Value::from).boxed(),
        "string" => "[a-z0-9 ./:'=]{1,12}".prop_map(Value::from).boxed(),
        "array" => {
            prop::collection::vec(values(&schema["items"]), 1..3).prop_map(Value::from).boxed()
        }
        _ => mappings(schema),
    }
}

fn mappings(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(values_of) = schema["additionalProperties"].as_object() {
        let values = values(&Value::Object(values_of.clone()));
        let entries = prop::collection::btree_map("[a-z]{1,4}", values, 1..3);
        return entries.prop_map(|e| Value::Object(e.into_iter().collect())).boxed();
    }
    let mut all = Just(Map::new()).boxed();
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"].as_array();
        let required = required.is_some_and(|names| names.iter().any(|n| n == name.as_str()));
        let likely = if required { 0.999_999 } else { 0.4 };
        let (name, field) = (name.clone(), prop::option::weighted(likely, values(below)));
        let with = (all, field).prop_map(move |(mut all, field)| {
            all.extend(field.map(|value| (name.clone(), value)));
            all
        });
        all = with.boxed();
    }
    all.prop_map(Value::Object).boxed()
}

fn is_default(value: &Value) -> bool {
    value.is_null() || value == "" || value.as_f64() == Some(0.0)
}

/// The document without what a default stands for as well: an empty text, or a zero.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, v)| !is_default(v));
            Value::Object(kept.map(|(k, v)| (k.clone(), bare(v))).collect())
        }
        Value::Array(items) => items.iter().map(bare).collect(),
        Value::Number(n) => n.as_f64().into(),
        other => other.clone(),
    }
}

#[test]
fn views_say_what_documents_say() {
    for definition in crd::all() {
        let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
        proptest!(config, |(document in documents(&definition))| {
            let found = decode(document.clone());
            prop_assert!(found.is_ok(), "{:?}\n{document:#}", found.unwrap_err());
            let resource = found.unwrap().remove(0);
            prop_assert_eq!(&resource.raw, &document);
            let view = resource.object.to_value().unwrap();
            prop_assert_eq!(bare(&view["metadata"]), bare(&document["metadata"]));
            prop_assert_eq!(bare(&view["spec"]), bare(&document["spec"]));
            let again = json!({"apiVersion": resource.api_version, "kind": resource.kind,
                               "metadata": view["metadata"], "spec": view["spec"]});
            prop_assert_eq!(&decode(again).unwrap().remove(0).object, &resource.object);
        });
    }
}

fn yaml_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|e| e.to_str()) {
            _ if path.is_dir() => yaml_below(&path, found),
            Some("yaml") => found.push(path),
            _ => {}
        }
    }
}

/// The resources of the corpus and of the examples, each with its document.
fn manifests() -> Vec<(PathBuf, Value, Resource)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = Vec::new();
    ["corpus/verdicts", "examples"].iter().for_each(|f| yaml_below(&root.join(f), &mut paths));
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let found = decode(document.clone()).unwrap_or_default();
            all.extend(found.into_iter().map(|r| (path.clone(), document.clone(), r)));
        }
    }
    all
}

/// Whether a view says nothing but what the document does, or what a default stands for.
fn agrees(view: &Value, document: &Value) -> bool {
    match (view, document) {
        (Value::Object(view), Value::Object(document)) => {
            view.iter().all(|(name, value)| match document.get(name) {
                Some(given) if !given.is_null() => agrees(value, given),
                _ if value == "default" => name == "namespace",
                _ if value.is_object() => agrees(value, &json!({})),
                _ => is_default(value) || *value == json!([]),
            })
        }
        (Value::Array(view), Value::Array(document)) => {
            view.len() == document.len() && view.iter().zip(document).all(|(v, d)| agrees(v, d))
        }
        (view, document) => bare(view) == bare(document),
    }
}

#[test]
fn manifests_are_kept_and_views_say_what_they_say() {
    let manifests = manifests();
    for (path, document, resource) in &manifests {
        let (name, view) = (path.display(), resource.object.to_value().unwrap());
        if document.get("items").is_none() {
            assert_eq!(&resource.raw, document, "{name}");
        }
        assert!(agrees(&view, &resource.raw), "{name}: {resource:?}\n{view:#}");
        let open = matches!(resource.object, Object::FelixConfiguration(_));
        if resource.api_version.starts_with("projectcalico.org/") && !open {
            let spec = resource.raw.get("spec").cloned().unwrap_or_else(|| json!({}));
            let seen = view.get("spec").cloned().unwrap_or(spec.clone());
            assert!(agrees(&spec, &seen), "{name}: {resource:?}\n{seen:#}");
        }
    }
    assert!(manifests.len() > 300, "only {} documents", manifests.len());
}
