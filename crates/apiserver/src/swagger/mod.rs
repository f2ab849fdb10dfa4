//! OpenAPI v2: where clients look for a kind that they did not find in v3, and old ones for every kind.
//!
//! It is v3 in v2's words. What v2 cannot say is left out, and so are bounds of values: the server
//! checks them.

mod wire;

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::kinds::Registry;
use crate::object;
use crate::openapi;
use crate::view::{json_response, with_type};

/// The media type of the document in protobuf. What it was called before is no media type for Go.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTOBUF_BEFORE: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Answers with the document, in protobuf for who asks for it.
pub(crate) fn answer(registry: &Registry, headers: &HeaderMap) -> Response<Body> {
    let document = document(registry);
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut accepted = accepted.flat_map(|value| value.split([',', ';'])).map(str::trim);
    if accepted.any(|media| [PROTOBUF, PROTOBUF_BEFORE].contains(&media)) {
        return with_type(StatusCode::OK, PROTOBUF, wire::document(&document));
    }
    json_response(StatusCode::OK, document.to_string())
}

fn document(registry: &Registry) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for (group, versions) in registry.groups() {
        for version in versions {
            let Ok(part) = openapi::document(registry, &group, &version) else { continue };
            paths.extend(each(part.pointer("/paths"), |item| each(Some(item), operation).into()));
            definitions.extend(each(part.pointer("/components/schemas"), schema));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Tortie", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "definitions": definitions,
    })
}

fn each(map: Option<&Value>, change: impl Fn(&Value) -> Value) -> Map<String, Value> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), change(value))).collect()
}

/// The body is a parameter among others, and its media types are those of the operation.
fn operation(v3: &Value) -> Value {
    let mut v2 = v3.clone();
    let fields = object::map(&mut v2);
    let parameters = fields.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let mut parameters: Vec<Value> = parameters
        .map(|one| {
            let kind = one.pointer("/schema/type");
            json!({"name": one.get("name"), "in": one.get("in"), "type": kind})
        })
        .collect();
    if let Some(body) = fields.remove("requestBody") {
        let content = body.get("content").and_then(Value::as_object).into_iter().flatten();
        let mut schemas = content.clone().map(|(_, one)| schema(one.get("schema").unwrap_or(one)));
        let media: Vec<&String> = content.map(|(media, _)| media).collect();
        let schema = schemas.next_back();
        parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        fields.insert("consumes".into(), json!(media));
    }
    fields.insert("parameters".into(), parameters.into());
    v2
}

fn schema(v3: &Value) -> Value {
    let mut v2 = Map::new();
    for (name, value) in v3.as_object().into_iter().flatten() {
        let said = match name.as_str() {
            "properties" => each(Some(value), schema).into(),
            "items" => schema(value),
            "additionalProperties" if value.is_object() => schema(value),
            "$ref" => value
                .as_str()
                .unwrap_or_default()
                .replace("components/schemas", "definitions")
                .into(),
            "description" | "type" | "format" | "title" | "required" | "additionalProperties" => {
                value.clone()
            }
            extension if extension.starts_with("x-") => value.clone(),
            _ => continue,
        };
        v2.insert(name.clone(), said);
    }
    // What v3 needs so that a reference can have a description.
    if let Some(reference) = v3.pointer("/allOf/0").filter(|one| one.get("$ref").is_some()) {
        v2.extend(each(Some(&schema(reference)), Value::clone));
    }
    let of_text = |one: &Value| one.get("type").is_some_and(|kind| kind == "string");
    let one_of = v3.get("oneOf").and_then(Value::as_array);
    if !v2.contains_key("type") && one_of.is_some_and(|any| any.iter().any(of_text)) {
        v2.insert("type".into(), "string".into());
    }
    if v2.get("type").is_some_and(|kind| kind == "array") {
        v2.entry("items").or_insert_with(|| json!({}));
    }
    v2.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_said_in_other_words() {
        let text = json!({"type": "string"});
        let cases = [
            (
                json!({"type": "integer", "minimum": 1, "x-a": 1}),
                json!({"type": "integer", "x-a": 1}),
            ),
            (
                json!({"description": "d", "allOf": [{"$ref": "#/components/schemas/a.B"}]}),
                json!({"description": "d", "$ref": "#/definitions/a.B"}),
            ),
            (json!({"oneOf": [text, {"type": "number"}]}), text.clone()),
            (json!({"type": "array"}), json!({"type": "array", "items": {}})),
            (
                json!({"type": "object", "additionalProperties": {"oneOf": [text]}}),
                json!({"type": "object", "additionalProperties": text}),
            ),
            (json!({"additionalProperties": true}), json!({"additionalProperties": true})),
            // A field may be called as a word of schemas is.
            (
                json!({"properties": {"oneOf": {"type": "array", "items": text}}}),
                json!({"properties": {"oneOf": {"type": "array", "items": text}}}),
            ),
        ];
        for (v3, v2) in cases {
            assert_eq!(schema(&v3), v2, "{v3}");
        }
    }

    #[test]
    fn operations_have_their_body_among_their_parameters() {
        let v3 = json!({
            "x-kubernetes-action": "patch", "responses": {"200": {"description": "OK"}},
            "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string"}}],
            "requestBody": {"content": {
                "a/b": {"schema": {"$ref": "#/components/schemas/X"}},
                "c/d": {"schema": {"$ref": "#/components/schemas/X"}},
            }},
        });
        let body = json!({"name": "body", "in": "body", "required": true,
            "schema": {"$ref": "#/definitions/X"}});
        let v2 = json!({
            "x-kubernetes-action": "patch", "responses": {"200": {"description": "OK"}},
            "parameters": [{"name": "dryRun", "in": "query", "type": "string"}, body],
            "consumes": ["a/b", "c/d"],
        });
        assert_eq!(operation(&v3), v2);
    }
}
