//! Server-side apply, by what each manager applied last: a field that a manager no longer wants
//! goes, unless somebody else wants it too; a field that somebody else wants otherwise is a
//! conflict, unless the manager insists.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::{Api, target_key};
use crate::object::{self, fields};
use crate::path::Target;
use crate::prepare;
use crate::query::Query;
use crate::status::Status;
use crate::strategic;

/// Who applied what, by manager: an annotation, as these are not the managed fields of Kubernetes.
pub(crate) const APPLIED: &str = "tortie.dev/applied";

impl Api {
    /// Creates an object, or changes it to what a manager wants.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        target: &Target,
        query: &Query,
        wanted: &Value,
    ) -> Result<(StatusCode, Value), Status> {
        let manager = query.field_manager.clone().unwrap_or_default();
        if manager.is_empty() {
            return Err(Status::bad_request("fieldManager is required for apply patch"));
        }
        prepare::check_type(&target.kind, wanted)?;
        let mut wanted = wanted.clone();
        fields(&mut wanted, "metadata").remove("managedFields");
        let name = target.name.as_deref().unwrap_or_default();
        prepare::check_name(name, &wanted)?;
        fields(&mut wanted, "metadata").insert("name".into(), name.into());
        let key = target_key(target)?;
        match self.find(&target.kind, &key).await {
            Err(status) if status.code() == 404 && target.subresource.is_none() => {
                query.author.may_create(target)?;
                let list = Target { name: None, ..target.clone() };
                let new = with_record(wanted.clone(), &Value::Null, &manager, &wanted);
                Ok((StatusCode::CREATED, self.create(&list, query, new).await?))
            }
            Err(status) => Err(status),
            Ok(_) => {
                let change = |old: &Value| applied(query, &manager, old, &wanted);
                Ok((StatusCode::OK, self.change(target, query, change).await?))
            }
        }
    }
}

fn record(old: &Value) -> Value {
    let text = old.pointer("/metadata/annotations").and_then(|all| all.get(APPLIED));
    let text = text.and_then(Value::as_str).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn owned(record: &Value, manager: &str) -> HashSet<String> {
    let paths = record.get(manager).and_then(Value::as_array).into_iter().flatten();
    paths.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The fields that a manager cares for.
fn cares(wanted: &Value) -> HashSet<String> {
    let mut paths = strategic::leaves(wanted);
    let fixed = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];
    paths.retain(|path| !fixed.contains(&path.as_str()));
    paths
}

fn with_record(mut new: Value, record: &Value, manager: &str, wanted: &Value) -> Value {
    let mut record = record.clone();
    let mut paths: Vec<String> = cares(wanted).into_iter().collect();
    paths.sort();
    object::map(&mut record).insert(manager.to_owned(), json!(paths));
    let metadata = fields(&mut new, "metadata");
    object::child(metadata, "annotations").insert(APPLIED.into(), record.to_string().into());
    new
}

fn applied(query: &Query, manager: &str, old: &Value, wanted: &Value) -> Result<Value, Status> {
    let mut record = record(old);
    let mine = cares(wanted);
    let mut new = old.clone();
    strategic::apply(&mut new, wanted);
    let others: Vec<(String, HashSet<String>)> = record
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(other, _)| *other != manager)
        .map(|(other, _)| (other.clone(), owned(&record, other)))
        .collect();
    let differs = |path: &&String| old.pointer(path) != new.pointer(path);
    let taken_from = |paths: &HashSet<String>| {
        let mut taken: Vec<String> = paths.intersection(&mine).filter(differs).cloned().collect();
        taken.sort();
        taken
    };
    let conflicts: Vec<(&str, String)> = others
        .iter()
        .flat_map(|(other, paths)| {
            taken_from(paths).into_iter().map(|path| (other.as_str(), shown(&path)))
        })
        .collect();
    if !conflicts.is_empty() && !query.force {
        return Err(Status::applied_otherwise(&conflicts));
    }
    for (other, paths) in &others {
        let taken = taken_from(paths);
        let left: Vec<&String> = paths.iter().filter(|path| !taken.contains(*path)).collect();
        object::map(&mut record).insert(other.clone(), json!(left));
    }
    for gone in owned(&record, manager).difference(&mine) {
        if !others.iter().any(|(_, paths)| paths.contains(gone)) {
            remove(&mut new, gone);
        }
    }
    Ok(with_record(new, &record, manager, wanted))
}

/// A JSON pointer as conflicts name it: `.spec.replicas`.
fn shown(pointer: &str) -> String {
    pointer.replace('/', ".").replace("~1", "/").replace("~0", "~")
}

fn remove(document: &mut Value, pointer: &str) {
    if let Some((parent, field)) = pointer.rsplit_once('/') {
        let field = field.replace("~1", "/").replace("~0", "~");
        if let Some(Value::Object(fields)) = document.pointer_mut(parent) {
            fields.remove(&field);
        }
    }
}
