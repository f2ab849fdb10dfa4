//! Kinds of CustomResourceDefinitions: those that `tortie-model` gives, and those that users
//! create.

use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;
use tortie_store::Resource;

use super::{Cell, Column, Kind, Verbs};
use crate::object::text;

/// A definition that defines nothing.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub(crate) struct InvalidDefinition {
    pub(crate) field: String,
    pub(crate) reason: String,
}

fn wrong<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T, InvalidDefinition> {
    Err(InvalidDefinition { field: field.into(), reason: reason.into() })
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn words(value: &Value, pointer: &str) -> Vec<SmolStr> {
    list(value, pointer).filter_map(Value::as_str).map(SmolStr::from).collect()
}

fn required<'a>(value: &'a Value, field: &str) -> Result<&'a str, InvalidDefinition> {
    match text(value, &format!("/{}", field.replace('.', "/"))) {
        "" => wrong(field, "is required"),
        found => Ok(found),
    }
}

/// The kinds of a definition: one for each version that is served.
pub(crate) fn from_definition(crd: &Value) -> Result<Vec<Kind>, InvalidDefinition> {
    let group = required(crd, "spec.group")?;
    let plural = required(crd, "spec.names.plural")?;
    required(crd, "spec.names.kind")?;
    let expected = format!("{plural}.{group}");
    if required(crd, "metadata.name")? != expected {
        return wrong("metadata.name", format!("must be `{expected}`: plural and group"));
    }
    if !matches!(required(crd, "spec.scope")?, "Namespaced" | "Cluster") {
        return wrong("spec.scope", "must be `Namespaced` or `Cluster`");
    }
    let resource = match Resource::new(group, plural) {
        Ok(resource) => resource,
        Err(error) => return wrong("spec.names.plural", error.to_string()),
    };
    let stored = list(crd, "/spec/versions").filter(|one| flag(one, "storage")).count();
    if stored != 1 {
        return wrong("spec.versions", "exactly one version must have `storage: true`");
    }
    let served: Vec<&Value> =
        list(crd, "/spec/versions").filter(|one| flag(one, "served")).collect();
    let many = served.len() > 1;
    served.into_iter().map(|version| kind_of(crd, version, &resource, many)).collect()
}

fn flag(version: &Value, name: &str) -> bool {
    version.get(name) == Some(&Value::Bool(true))
}

fn kind_of(
    crd: &Value,
    version: &Value,
    resource: &Resource,
    many_versions: bool,
) -> Result<Kind, InvalidDefinition> {
    let kind = required(crd, "spec.names.kind")?;
    let name = match text(version, "/name") {
        "" => return wrong("spec.versions", "each version must have a `name`"),
        name => name,
    };
    let or = |pointer: &str, other: String| match text(crd, pointer) {
        "" => SmolStr::from(other),
        given => given.into(),
    };
    let subresource = |name: &str| {
        version.pointer("/subresources").and_then(|all| all.get(name)).is_some_and(Value::is_object)
    };
    let paths = list(version, "/selectableFields").map(|one| text(one, "/jsonPath"));
    Ok(Kind {
        group: resource.group().into(),
        version: name.into(),
        plural: resource.plural().into(),
        singular: or("/spec/names/singular", kind.to_lowercase()),
        kind: kind.into(),
        list_kind: or("/spec/names/listKind", format!("{kind}List")),
        short: words(crd, "/spec/names/shortNames"),
        categories: words(crd, "/spec/names/categories"),
        namespaced: text(crd, "/spec/scope") == "Namespaced",
        verbs: Verbs::All,
        status: subresource("status"),
        scale: false,
        columns: columns(version),
        selectable: paths.map(|path| path.trim_start_matches('.').into()).collect(),
        schema: version.pointer("/schema/openAPIV3Schema").cloned().map(Arc::new),
        built_in: false,
        many_versions,
        resource: resource.clone(),
    })
}

fn columns(version: &Value) -> Vec<Column> {
    let given: Vec<Column> = list(version, "/additionalPrinterColumns")
        .map(|column| Column {
            name: text(column, "/name").into(),
            kind: text(column, "/type").into(),
            description: text(column, "/description").into(),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            cell: Cell::Path(text(column, "/jsonPath").into()),
        })
        .collect();
    if !given.is_empty() {
        return given;
    }
    vec![Column {
        name: "Age".into(),
        kind: "date".into(),
        description: SmolStr::default(),
        priority: 0,
        cell: Cell::Path(".metadata.creationTimestamp".into()),
    }]
}
