//! Objects as documents, and how they lie in the store.
//!
//! The store knows an object's revision and is the only one to know it: what is stored has no
//! `resourceVersion`. Metadata are stored first, so that an object can be shown as it is, with its
//! revision put in, without being read.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tortie_store::{Object, Revision};

use crate::kinds::Kind;

/// What everything that we have stored begins with.
const OURS: &[u8] = b"{\"metadata\":{\"";

/// The value at a path of field names with dots between them.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|part| !part.is_empty()).try_fold(value, |value, part| value.get(part))
}

/// The text at a JSON pointer, or nothing.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A value as one word.
pub(crate) fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

pub(crate) fn name(value: &Value) -> &str {
    text(value, "/metadata/name")
}

pub(crate) fn uid(value: &Value) -> &str {
    text(value, "/metadata/uid")
}

/// Whether its deletion has begun.
pub(crate) fn is_terminating(value: &Value) -> bool {
    !text(value, "/metadata/deletionTimestamp").is_empty()
}

/// Whether something has to happen before it may go.
pub(crate) fn has_finalizers(value: &Value) -> bool {
    let finalizers = value.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|all| !all.is_empty())
}

/// An object's field as an object, which is made if it is not one.
pub(crate) fn fields<'a>(value: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    child(map(value), name)
}

/// A field as an object, which is made if it is not one.
pub(crate) fn child<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> &'a mut Map<String, Value> {
    map(fields.entry(name).or_insert_with(|| json!({})))
}

/// A value as an object, which it becomes if it is none.
pub(crate) fn map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        #[allow(clippy::unreachable, reason = "made an object just now")]
        _ => unreachable!(),
    }
}

/// Deepest nesting of an object: readers of JSON commonly stop at 128 levels, and lists and tables
/// add some of their own.
pub(crate) const DEEPEST: usize = 120;

/// How deep a value is nested; none if that is more than so many levels.
pub(crate) fn depth(value: &Value, most: usize) -> Option<usize> {
    fn around<'a>(mut inner: impl Iterator<Item = &'a Value>, most: usize) -> Option<usize> {
        let most = most.checked_sub(1)?;
        inner.try_fold(1, |deepest, value| Some(deepest.max(1 + depth(value, most)?)))
    }
    match value {
        Value::Array(items) => around(items.iter(), most),
        Value::Object(fields) => around(fields.values(), most),
        _ => Some(0),
    }
}

/// What of a document is stored.
pub(crate) fn encode(document: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"metadata\":");
    let mut metadata = document.get("metadata").cloned().unwrap_or_default();
    map(&mut metadata).remove("resourceVersion");
    write(&mut out, &metadata);
    let others = document.as_object().into_iter().flatten();
    for (name, value) in others.filter(|(name, _)| *name != "metadata") {
        out.push(b',');
        write(&mut out, &Value::String(name.clone()));
        out.push(b':');
        write(&mut out, value);
    }
    out.push(b'}');
    out.into()
}

fn write(out: &mut Vec<u8>, value: &Value) {
    // Writing a value to memory cannot fail: its keys are text.
    let _ = serde_json::to_writer(out, value);
}

/// A stored object as a document of a kind, with its revision.
///
/// What cannot be read, because somebody else wrote it, is still there: as its name and the reason.
pub(crate) fn decode(kind: &Kind, object: &Object) -> Value {
    let mut document = match serde_json::from_slice::<Value>(&object.value) {
        Ok(document) if document.is_object() => document,
        Ok(_) => unreadable("it is no object"),
        Err(error) => unreadable(&error.to_string()),
    };
    let fields = map(&mut document);
    fields.insert("apiVersion".into(), kind.api_version().into());
    fields.insert("kind".into(), kind.kind.as_str().into());
    let metadata = child(fields, "metadata");
    if !metadata.contains_key("name") {
        metadata.insert("name".into(), object.key.name().into());
        if let Some(namespace) = object.key.namespace() {
            metadata.insert("namespace".into(), namespace.into());
        }
    }
    stamp(&mut document, object.modified);
    document
}

/// The annotation that says why an object cannot be read.
pub(crate) const UNREADABLE: &str = "tortie.dev/unreadable";

fn unreadable(reason: &str) -> Value {
    json!({"metadata": {"annotations": {UNREADABLE: reason}}})
}

/// Writes a revision into a document.
pub(crate) fn stamp(document: &mut Value, revision: Revision) {
    fields(document, "metadata").insert("resourceVersion".into(), revision.to_string().into());
}

/// A stored object as the text of a document, with a revision.
pub(crate) fn render(kind: &Kind, object: &Object, revision: Revision, out: &mut Vec<u8>) {
    match object.value.strip_prefix(OURS) {
        Some(rest) if !kind.many_versions => {
            out.extend_from_slice(b"{\"metadata\":{\"resourceVersion\":\"");
            out.extend_from_slice(revision.to_string().as_bytes());
            out.extend_from_slice(b"\",\"");
            out.extend_from_slice(rest);
        }
        _ => {
            let mut document = decode(kind, object);
            stamp(&mut document, revision);
            write(out, &document);
        }
    }
}
