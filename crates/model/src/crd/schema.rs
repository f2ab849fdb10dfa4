//! From a type to a structural schema, the subset of JSON Schema that API servers take.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Words of JSON Schema that a structural schema cannot have, or that would mean something else
/// there: a `default` would be written into every object.
const DROPPED: [&str; 5] = ["$schema", "title", "default", "minProperties", "additionalProperties"];

/// The schema of a type, without constraints. Its metadata are the server's own affair; a spec that
/// is left out is an empty one, as it is for [`crate::decode()`].
pub(super) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = structural(settings.into_generator().into_root_schema_for::<T>().to_value());
    let mut root = Schema::new(&mut schema);
    root.at("apiVersion").replace(json!({"type": "string"}));
    root.at("kind").replace(json!({"type": "string"}));
    root.at("metadata").replace(json!({"type": "object"}));
    root.at("spec").set("default", json!({}));
    schema
}

/// Rewrites one schema and those in it.
fn structural(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return anything(Map::new()) };
    if is_number_or_text(&schema) {
        let description = schema.remove("description");
        let mut schema = json!({"x-kubernetes-int-or-string": true});
        if let (Some(text), Some(place)) = (description, schema.as_object_mut()) {
            place.insert("description".to_owned(), text);
        }
        return schema;
    }
    unwrap_option(&mut schema);
    let values = schema.remove("additionalProperties").filter(Value::is_object);
    schema.retain(|key, _| !DROPPED.contains(&key.as_str()));
    if let Some(values) = values {
        schema.insert("additionalProperties".to_owned(), structural(values));
    }
    if let Some(items) = schema.remove("items") {
        schema.insert("items".to_owned(), structural(items));
    }
    if let Some(Value::Object(properties)) = schema.remove("properties") {
        let properties: Map<_, _> =
            properties.into_iter().map(|(name, value)| (name, structural(value))).collect();
        schema.insert("properties".to_owned(), properties.into());
    }
    if schema.contains_key("type") { schema.into() } else { anything(schema) }
}

/// A value that is kept as it is.
fn anything(mut schema: Map<String, Value>) -> Value {
    schema.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
    schema.into()
}

/// The alternatives of a schema, null apart.
fn alternatives(schema: &Map<String, Value>) -> Vec<&Value> {
    let all = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    all.filter(|one| one.get("type").and_then(Value::as_str) != Some("null")).collect()
}

/// Whether it is the schema of [`crate::IntOrString`], optional or not.
fn is_number_or_text(schema: &Map<String, Value>) -> bool {
    match alternatives(schema).as_slice() {
        [Value::Object(one)] => is_number_or_text(one),
        [one, other] => {
            let kind = |value: &Value| value.get("type").and_then(Value::as_str).map(str::to_owned);
            let kinds = [kind(one), kind(other)];
            kinds == [Some("integer".to_owned()), Some("string".to_owned())]
        }
        _ => false,
    }
}

/// An optional field may be absent; that it may be null, too, is not said.
fn unwrap_option(schema: &mut Map<String, Value>) {
    if let [Value::Object(one)] = alternatives(schema).as_slice() {
        let one = one.clone();
        schema.remove("anyOf");
        for (key, value) in one {
            schema.entry(key).or_insert(value);
        }
    }
    if let Some(Value::Array(kinds)) = schema.get("type") {
        let kind = kinds.iter().find(|kind| kind.as_str() != Some("null")).cloned();
        schema.insert("type".to_owned(), kind.unwrap_or_default());
    }
}

/// A schema that constraints are added to.
pub(super) struct Schema<'a>(&'a mut Value);

impl<'a> Schema<'a> {
    pub(super) fn new(schema: &'a mut Value) -> Self {
        Schema(schema)
    }

    /// The schema of a field below this one, as in `spec.ingress[].source`. A field that does not
    /// exist is added without a type, which no API server takes and a test would find.
    pub(super) fn at(&mut self, path: &str) -> Schema<'_> {
        let mut schema = &mut *self.0;
        for step in path.split('.') {
            let name = step.trim_end_matches("[]");
            schema = child(child(schema, "properties"), name);
            for _ in 0..step.matches("[]").count() {
                schema = child(schema, "items");
            }
        }
        Schema(schema)
    }

    /// This schema itself, to be refined and kept.
    pub(super) fn whole(&mut self) -> Schema<'_> {
        Schema(self.0)
    }

    /// Adds the same to several fields.
    pub(super) fn each(&mut self, fields: &[&str], refine: impl Fn(Schema<'_>)) -> &mut Self {
        fields.iter().for_each(|field| refine(self.at(field)));
        self
    }

    pub(super) fn set(self, key: &str, value: impl Into<Value>) -> Self {
        *child(self.0, key) = value.into();
        self
    }

    /// Adds a rule in CEL, with what to say when it does not hold.
    pub(super) fn rule(self, rule: &str, message: &str) -> Self {
        let rules = child(self.0, "x-kubernetes-validations");
        let added = json!({"rule": rule, "message": message});
        match rules {
            Value::Array(rules) => rules.push(added),
            none => *none = json!([added]),
        }
        self
    }

    /// One of some words.
    pub(super) fn words(self, words: &[&str]) -> Self {
        self.set("enum", words)
    }

    /// A number within bounds, both included.
    pub(super) fn between(self, least: i64, most: i64) -> Self {
        self.set("minimum", least).set("maximum", most)
    }

    /// Removes fields that a kind does not have.
    pub(super) fn without(&mut self, fields: &[&str]) -> &mut Self {
        if let Value::Object(properties) = child(self.0, "properties") {
            properties.retain(|name, _| !fields.contains(&name.as_str()));
        }
        self
    }

    /// Makes a spec obligatory, of which something must be given.
    pub(super) fn needs_spec(&mut self) {
        if let Value::Object(spec) = child(child(self.0, "properties"), "spec") {
            spec.remove("default");
        }
        self.whole().set("required", ["spec"].as_slice());
    }

    fn replace(self, schema: Value) {
        *self.0 = schema;
    }
}

/// What is under a key, which is added if it is not there.
fn child<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    if value.is_null() {
        *value = json!({});
    }
    match value {
        Value::Object(object) => object.entry(key).or_insert(Value::Null),
        other => other,
    }
}
