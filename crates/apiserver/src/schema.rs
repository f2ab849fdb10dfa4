//! Messages as schemas of OpenAPI.

use prost_reflect::{FieldDescriptor, Kind as Type, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::messages::{MESSAGES, Shape};
use crate::object::map;

/// The name of a message's schema, as Kubernetes calls it: the domain backwards.
pub(crate) fn name(message: &str) -> String {
    match message.strip_prefix("k8s.io.") {
        Some(rest) => format!("io.k8s.{rest}"),
        None => message.to_owned(),
    }
}

/// What refers to a message's schema.
pub(crate) fn reference(message: &str) -> String {
    format!("#/components/schemas/{}", name(message))
}

/// Adds the schema of a message, and of those that it refers to.
pub(crate) fn insert(message: &MessageDescriptor, schemas: &mut Map<String, Value>) {
    let name = name(message.full_name());
    if !schemas.contains_key(&name) {
        // Messages may refer to themselves.
        schemas.insert(name.clone(), Value::Null);
        let schema = of(message, schemas);
        schemas.insert(name, schema);
    }
}

/// The schema of a message; those that it refers to are added.
pub(crate) fn of(message: &MessageDescriptor, schemas: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    collect(message, &mut properties, schemas);
    json!({"type": "object", "properties": properties})
}

fn collect(
    message: &MessageDescriptor,
    properties: &mut Map<String, Value>,
    schemas: &mut Map<String, Value>,
) {
    for field in message.fields() {
        match field.kind() {
            Type::Message(inner) if MESSAGES.is_inline(&field) => {
                collect(&inner, properties, schemas);
            }
            _ => {
                properties.insert(field.json_name().to_owned(), property(&field, schemas));
            }
        }
    }
}

fn property(field: &FieldDescriptor, schemas: &mut Map<String, Value>) -> Value {
    let mut schema = match field.kind() {
        Type::Message(entry) if field.is_map() => {
            let values = value(&entry.map_entry_value_field().kind(), schemas);
            json!({"type": "object", "additionalProperties": values})
        }
        kind if field.is_list() => json!({"type": "array", "items": value(&kind, schemas)}),
        kind => value(&kind, schemas),
    };
    if let Some(merge) = MESSAGES.merge(field) {
        let fields = map(&mut schema);
        fields.insert("x-kubernetes-patch-strategy".into(), merge.strategy.as_str().into());
        if !merge.key.is_empty() {
            fields.insert("x-kubernetes-patch-merge-key".into(), merge.key.as_str().into());
        }
    }
    schema
}

fn value(kind: &Type, schemas: &mut Map<String, Value>) -> Value {
    match kind {
        Type::Message(message) => self::message(message, schemas),
        Type::Bool => json!({"type": "boolean"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Double => json!({"type": "number", "format": "double"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        _ => json!({"type": "string"}),
    }
}

fn message(message: &MessageDescriptor, schemas: &mut Map<String, Value>) -> Value {
    let (text, list) =
        (json!({"type": "string"}), json!({"type": "array", "items": {"type": "string"}}));
    match Shape::of(message) {
        Shape::Object => {
            insert(message, schemas);
            json!({"allOf": [{"$ref": reference(message.full_name())}]})
        }
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Quantity => json!({"oneOf": [text, {"type": "number"}]}),
        Shape::IntOrString => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, text]})
        }
        Shape::Words => list,
        Shape::Raw => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Shape::SchemaOrList | Shape::SchemaOrBool | Shape::SchemaOrNames => {
            json!({"description": "A schema, or what stands for one."})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_somewhere() {
        let mut schemas = Map::new();
        insert(MESSAGES.of_object("v1", "Pod").unwrap(), &mut schemas);
        insert(
            MESSAGES.of_object("apiextensions.k8s.io/v1", "CustomResourceDefinition").unwrap(),
            &mut schemas,
        );
        let text = Value::from(schemas.clone()).to_string();
        let references = text.split("\"#/components/schemas/").skip(1);
        let mut names = references.filter_map(|rest| rest.split('"').next());
        assert!(names.clone().count() > 100);
        assert_eq!(names.find(|name| !schemas.contains_key(*name)), None);
        let containers = "/io.k8s.api.core.v1.PodSpec/properties/containers";
        let schemas = Value::from(schemas);
        let containers = schemas.pointer(containers).unwrap();
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        let probe = schemas.pointer("/io.k8s.api.core.v1.Probe/properties").unwrap();
        assert!(probe.get("httpGet").is_some() && probe.get("handler").is_none());
    }
}
