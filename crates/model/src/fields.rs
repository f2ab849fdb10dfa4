//! Decodes one view of a document and says of every wrong field where it is and what was expected.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::FieldError;
use crate::mapping::Mapping;

/// A document with this many wrong fields is not worth a longer list.
const MAX_ERRORS: usize = 50;

/// The most surprising of YAML's habits.
const PLAIN_WORDS: &str = "put it in quotes: without them, YAML takes `y`, `yes`, `on`, `n`, `no` \
                           and `off` for true or false";

/// Decodes; on a wrong field notes it, drops it and tries again, so that one look finds all.
pub(crate) fn decode_collecting<T: DeserializeOwned>(
    document: Cow<'_, Value>,
) -> (Option<T>, Vec<FieldError>) {
    // Keeping track of where the decoder is costs time, and few documents have errors.
    if let Ok(view) = T::deserialize(Mapping(&document)) {
        return (Some(view), Vec::new());
    }
    let mut document = document.into_owned();
    let mut errors = Vec::new();
    while errors.len() < MAX_ERRORS {
        let error = match serde_path_to_error::deserialize::<_, T>(Mapping(&document)) {
            Ok(view) => return (Some(view), errors),
            Err(error) => error,
        };
        errors.push(field_error(error.path(), error.inner(), &document));
        if !drop_field(&mut document, error.path(), error.inner()) {
            break;
        }
    }
    (None, errors)
}

/// The name in a message such as "unknown field `x`, expected one of …".
fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split_once('`').map(|(name, _)| name)
}

fn field_error(path: &Path, error: &serde_json::Error, document: &Value) -> FieldError {
    let message = error.to_string();
    let field = path_text(path);
    let Some(name) = unknown_field(&message) else {
        return wrong_type(field, &message, path, document);
    };
    let expected: Vec<&str> =
        message.split('`').skip(3).step_by(2).filter(|word| !word.is_empty()).collect();
    let parent = field.strip_suffix(name).map_or(field.as_str(), |p| p.trim_end_matches('.'));
    let full = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    let error = FieldError::new(full, "unknown field");
    match nearest(name, &expected) {
        _ if ["true", "false"].contains(&name) => error.hint(PLAIN_WORDS),
        Some(k) => error.hint(format!("did you mean `{k}`?")),
        None => error.hint(format!("known here: {}", expected.join(", "))),
    }
}

/// A value of another type than the field's, with what YAML has to do with it.
fn wrong_type(field: String, message: &str, path: &Path, document: &Value) -> FieldError {
    let reason = type_message(message, path, document);
    let hint = match reason.as_str() {
        "expected text, found true or false" => PLAIN_WORDS,
        "expected text, found a number" | "expected text, found a fraction" => "put it in quotes",
        "expected true or false, found text" => "write it without quotes",
        _ => return FieldError::new(field, reason),
    };
    FieldError::new(field, reason).hint(hint)
}

/// Serde's message without the value it quotes, which may be a secret.
fn type_message(message: &str, path: &Path, document: &Value) -> String {
    let expected = message.split_once(", expected ").map_or("another type", |(_, e)| e);
    let expected = match expected {
        "a sequence" => "a list",
        "a map" => "a mapping",
        "a string" => "text",
        "a boolean" => "true or false",
        "f64" => "a number",
        "i64" => "a whole number",
        "u32" | "usize" => "a whole number from 0 on",
        other if other.starts_with("struct ") => "a mapping",
        other if other.starts_with("any variant of untagged enum") => "a number or text",
        other => other,
    };
    if message.starts_with("data did not match any variant") {
        return format!("expected a number or text, found {}", shape_at(path, document));
    }
    format!("expected {expected}, found {}", shape_at(path, document))
}

fn shape_at(path: &Path, document: &Value) -> &'static str {
    let mut value = Some(document);
    for segment in path {
        value = match segment {
            Segment::Seq { index } => value.and_then(|v| v.get(*index)),
            Segment::Map { key } => value.and_then(|v| v.get(key)),
            _ => value,
        };
    }
    value.map_or("nothing", shape)
}

pub(crate) fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(n) if n.is_f64() => "a fraction",
        Value::Number(n) if n.is_i64() && !n.is_u64() => "a negative number",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn path_text(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } if text.is_empty() => text.push_str(key),
            Segment::Map { key } => text.push_str(&format!(".{key}")),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// Removes the mapping entry the path leads to, or the nearest one above it. False if none.
fn drop_field(document: &mut Value, path: &Path, error: &serde_json::Error) -> bool {
    let message = error.to_string();
    let mut steps: Vec<&Segment> = path.iter().collect();
    let last = Segment::Map { key: String::new() };
    let unknown = unknown_field(&message).map(str::to_owned);
    let ends_in_name = matches!(
        (steps.last(), &unknown),
        (Some(Segment::Map { key }), Some(name)) if key == name
    );
    if unknown.is_some() && !ends_in_name {
        steps.push(&last);
    }
    while let Some(step) = steps.pop() {
        let Segment::Map { key } = step else { continue };
        let key = if key.is_empty() { unknown.as_deref().unwrap_or_default() } else { key };
        let mut parent = Some(&mut *document);
        for step in &steps {
            parent = match step {
                Segment::Seq { index } => parent.and_then(|v| v.get_mut(*index)),
                Segment::Map { key } => parent.and_then(|v| v.get_mut(key)),
                Segment::Enum { .. } | Segment::Unknown => parent,
            };
        }
        if let Some(Value::Object(parent)) = parent
            && parent.remove(key).is_some()
        {
            return true;
        }
    }
    false
}

/// The candidate a word was probably meant to be: at most two letters away.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|c| (distance(&word.to_lowercase(), &c.to_lowercase()), *c))
        .filter(|(d, _)| *d <= 2)
        .min()
        .map(|(_, c)| c)
}

/// Edit distance, capped by the length of the words: both are field names or kinds.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}
