//! What becomes of a document before it is stored: the fields that are the server's own affair.

use serde_json::{Value, json};

use crate::defaults;
use crate::environment::Environment;
use crate::kinds::Kind;
use crate::object::{self, child, fields, map, text};
use crate::status::Status;
use crate::{standing, strict};

/// Longest name that is made up, and how much of it is.
const GENERATED: (usize, usize) = (63, 5);

/// Checks what a document says it is against where it was sent, and gives it its namespace.
pub(crate) fn incoming(
    kind: &Kind,
    namespace: Option<&str>,
    document: &mut Value,
) -> Result<(), Status> {
    if !document.is_object() {
        return Err(Status::bad_request("the body is not an object"));
    }
    check_depth(document)?;
    check_type(kind, document)?;
    check_metadata(document)?;
    strict::check_types(kind, document)?;
    standing::forget(kind, document);
    let metadata = fields(document, "metadata");
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    match namespace {
        Some(namespace) if given.is_empty() || given == namespace => {
            metadata.insert("namespace".into(), namespace.into());
            Ok(())
        }
        None if given.is_empty() => {
            metadata.remove("namespace");
            Ok(())
        }
        None => Err(Status::invalid_field(
            kind,
            object::name(document),
            "metadata.namespace",
            "this kind has no namespace",
        )),
        Some(_) => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// How deep a document is nested, if it is no deeper than can be read again.
pub(crate) fn check_depth(document: &Value) -> Result<usize, Status> {
    object::depth(document, object::DEEPEST).ok_or_else(|| {
        let deepest = object::DEEPEST;
        Status::bad_request(format!("the object is nested deeper than {deepest} levels"))
    })
}

/// Whether a document says that it is of a kind.
pub(crate) fn check_type(kind: &Kind, document: &Value) -> Result<(), Status> {
    let expected = [("apiVersion", kind.api_version()), ("kind", kind.kind.to_string())];
    for (field, expected) in expected {
        let found = document.get(field).and_then(Value::as_str).unwrap_or_default();
        if found != expected {
            let message = format!(
                "the {field} in the data ({found}) does not match the expected {field} ({expected})"
            );
            return Err(Status::bad_request(message));
        }
    }
    Ok(())
}

/// Whether a document has the name that it was sent to, or none.
pub(crate) fn check_name(name: &str, document: &Value) -> Result<(), Status> {
    match object::name(document) {
        "" => Ok(()),
        given if given == name => Ok(()),
        given => Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))),
    }
}

/// Labels and annotations have values: clients take null for the empty text, and show another object.
fn check_metadata(document: &Value) -> Result<(), Status> {
    for field in ["labels", "annotations"] {
        let pairs = document.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        if let Some((key, _)) = pairs.into_iter().flatten().find(|(_, value)| value.is_null()) {
            return Err(Status::bad_request(format!("metadata.{field}.{key}: is not text")));
        }
    }
    Ok(())
}

/// Gives a document that asks for one a name of its own. Says whether it did.
pub(crate) fn generate_name(document: &mut Value, environment: &Environment) -> bool {
    let prefix = text(document, "/metadata/generateName");
    if !object::name(document).is_empty() || prefix.is_empty() {
        return false;
    }
    let (longest, made_up) = GENERATED;
    let mut name: String = prefix.chars().take(longest - made_up).collect();
    name.push_str(&environment.suffix(made_up));
    fields(document, "metadata").insert("name".into(), name.into());
    true
}

/// Makes a document that came to be created an object.
pub(crate) fn created(
    kind: &Kind,
    document: &mut Value,
    environment: &Environment,
) -> Result<(), Status> {
    if !text(document, "/metadata/resourceVersion").is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::bad_request(message));
    }
    if kind.status {
        map(document).remove("status");
    }
    let metadata = fields(document, "metadata");
    const SERVERS: [&str; 5] = [
        "resourceVersion",
        "selfLink",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    for field in SERVERS {
        metadata.remove(field);
    }
    metadata.retain(|_, value| !value.is_null());
    metadata.insert("uid".into(), environment.uid().into());
    metadata.insert("creationTimestamp".into(), environment.timestamp().into());
    metadata.insert("generation".into(), 1.into());
    defaults::fill(kind, document, true);
    Ok(())
}

/// Which part of an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but its status, if that is written apart.
    Main,
    Status,
}

/// What an object becomes by an update.
///
/// # Errors
/// When the update is meant for another object, or for another state of it.
pub(crate) fn updated(
    kind: &Kind,
    old: &Value,
    mut new: Value,
    part: Part,
) -> Result<Value, Status> {
    let name = object::name(old);
    check_name(name, &new)?;
    let same = |pointer: &str| {
        let given = text(&new, pointer);
        given.is_empty() || given == text(old, pointer)
    };
    if !same("/metadata/uid") {
        let why = format!("the UID in the precondition does not match: it is {}", object::uid(old));
        return Err(Status::conflict(kind, name, &why));
    }
    if !same("/metadata/resourceVersion") {
        return Err(Status::modified(kind, name));
    }
    match part {
        Part::Status => {
            let status = new.get_mut("status").map(Value::take);
            new = old.clone();
            set(&mut new, "status", status);
        }
        Part::Main => {
            if kind.status {
                set(&mut new, "status", old.get("status").cloned());
            }
            keep_metadata(old, &mut new);
            defaults::fill(kind, &mut new, false);
            count_generation(old, &mut new);
        }
    }
    Ok(new)
}

fn set(document: &mut Value, field: &str, value: Option<Value>) {
    let fields = map(document);
    match value {
        Some(value) => fields.insert(field.into(), value),
        None => fields.remove(field),
    };
}

/// Metadata that writers do not change.
fn keep_metadata(old: &Value, new: &mut Value) {
    const KEPT: [&str; 8] = [
        "name",
        "namespace",
        "generateName",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
    ];
    let metadata = fields(new, "metadata");
    for field in KEPT {
        match old.pointer("/metadata").and_then(|metadata| metadata.get(field)) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    metadata.remove("selfLink");
    metadata.remove("managedFields");
    metadata.retain(|_, value| !value.is_null());
}

/// The generation counts changes of what is wanted: everything but metadata and status.
fn count_generation(old: &Value, new: &mut Value) {
    let wanted = |document: &Value| {
        let mut document = document.clone();
        let fields = map(&mut document);
        fields.remove("metadata");
        fields.remove("status");
        document
    };
    if wanted(old) != wanted(new) {
        let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        fields(new, "metadata").insert("generation".into(), json!(generation.saturating_add(1)));
    }
}

/// Marks an object as being deleted.
pub(crate) fn terminating(document: &mut Value, environment: &Environment) {
    let fields = map(document);
    let metadata = child(fields, "metadata");
    metadata.insert("deletionTimestamp".into(), environment.timestamp().into());
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
}

/// Takes that mark away.
pub(crate) fn staying(document: &mut Value) {
    let metadata = fields(document, "metadata");
    metadata.remove("deletionTimestamp");
    metadata.remove("deletionGracePeriodSeconds");
}
