//! OpenAPI v3: what `kubectl explain` shows, and by which clients find out what they may ask.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::kinds::{Kind, Registry, Verbs};
use crate::messages::{MESSAGES, METADATA};
use crate::schema;
use crate::status::Status;
use crate::swagger;
use crate::view::json_response;

/// Answers a request below `/openapi/`.
pub(crate) fn answer(
    registry: &Registry,
    path: &str,
    head: &Parts,
) -> Result<Response<Body>, Status> {
    if head.method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    if path == "/openapi/v2" {
        return Ok(swagger::answer(registry, &head.headers));
    }
    let rest = path.strip_prefix("/openapi/v3").ok_or_else(Status::no_such_path)?;
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let document = match parts.as_slice() {
        [] => index(registry),
        ["api", version] => document(registry, "", version)?,
        ["apis", group, version] => document(registry, group, version)?,
        _ => return Err(Status::no_such_path()),
    };
    Ok(json_response(StatusCode::OK, document.to_string()))
}

/// The patches that Kubernetes' own kinds take, and those that others do.
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/strategic-merge-patch+json",
];

fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path = base(&group, &version);
            let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
            paths.insert(path, url);
        }
    }
    json!({"paths": paths})
}

/// The document of one version of a group.
///
/// # Errors
/// If it is not served.
pub(crate) fn document(registry: &Registry, group: &str, version: &str) -> Result<Value, Status> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    if let Some(message) = MESSAGES.named(METADATA) {
        schema::insert(&message, &mut schemas);
    }
    for kind in registry.of_version(group, version) {
        let described = described(kind, &mut schemas);
        schemas.insert(name(kind), described);
        describe(kind, &mut paths);
    }
    if paths.is_empty() {
        return Err(Status::no_such_path());
    }
    Ok(json!({
        "openapi": "3.0.0",
        "info": {"title": "Tortie", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

/// The name of a kind's schema: its group backwards, version and kind.
fn name(kind: &Kind) -> String {
    if let Some(message) = MESSAGES.kind(&kind.group, &kind.version, &kind.kind) {
        return schema::name(message.full_name());
    }
    let group: Vec<&str> = kind.group.rsplit('.').filter(|part| !part.is_empty()).collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

fn group_version_kind(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// The schema of a kind: of its message if Kubernetes has one, of its definition if there is one.
fn described(kind: &Kind, schemas: &mut Map<String, Value>) -> Value {
    let message = MESSAGES.kind(&kind.group, &kind.version, &kind.kind);
    let mut schema = match (&kind.schema, message.filter(|_| kind.built_in)) {
        (Some(schema), _) => (**schema).clone(),
        (None, Some(message)) => schema::of(message, schemas),
        (None, None) => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    let text = |about: &str| json!({"type": "string", "description": about});
    let fields = crate::object::map(&mut schema);
    fields.insert("x-kubernetes-group-version-kind".into(), json!([group_version_kind(kind)]));
    let properties = crate::object::child(fields, "properties");
    properties.insert("apiVersion".into(), text("API group and version of the kind."));
    properties.insert("kind".into(), text("Kind of the object."));
    let metadata = json!({
        "description": "Name, namespace, labels and what else all objects have.",
        "allOf": [{"$ref": schema::reference(METADATA)}],
    });
    properties.insert("metadata".into(), metadata);
    schema
}

/// The paths of a kind: what clients look for is which parameters its verbs take.
fn describe(kind: &Kind, paths: &mut Map<String, Value>) {
    let namespace = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
    let list = format!("/{}/{namespace}{}", base(&kind.group, &kind.version), kind.plural);
    let parameters = |names: &[&str]| -> Vec<Value> {
        let one = |name: &&str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        names.iter().map(one).collect()
    };
    let writing = parameters(&["dryRun", "fieldManager", "fieldValidation"]);
    let body = |media: &[&str]| {
        let schema = json!({"schema": {"$ref": format!("#/components/schemas/{}", name(kind))}});
        let content: Map<String, Value> =
            media.iter().map(|media| ((*media).to_owned(), schema.clone())).collect();
        json!({"content": content})
    };
    let operation = |action: &str, parameters: &[Value], body: Option<Value>| {
        let mut operation = json!({
            "x-kubernetes-action": action, "parameters": parameters,
            "x-kubernetes-group-version-kind": group_version_kind(kind),
            "responses": {"200": {"description": "OK"}},
        });
        if let Some(body) = body {
            crate::object::map(&mut operation).insert("requestBody".into(), body);
        }
        operation
    };
    let json_body = || Some(body(&["application/json"]));
    let create = operation("post", &writing, json_body());
    if kind.verbs == Verbs::Create {
        paths.insert(list, json!({"post": create}));
        return;
    }
    let reading = parameters(&["labelSelector", "fieldSelector", "limit", "continue", "watch"]);
    let patch = body(PATCHES.get(..if kind.built_in { 4 } else { 3 }).unwrap_or_default());
    paths.insert(
        format!("{list}/{{name}}"),
        json!({
            "get": operation("get", &[], None),
            "put": operation("put", &writing, json_body()),
            "patch": operation("patch", &writing, Some(patch)),
            "delete": operation("delete", &parameters(&["dryRun", "propagationPolicy"]), None),
        }),
    );
    paths.insert(list, json!({"get": operation("list", &reading, None), "post": create}));
}
