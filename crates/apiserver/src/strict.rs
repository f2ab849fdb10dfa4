//! Whether a document has the fields that its kind has, and values of their types.

use axum::http::HeaderValue;
use prost_reflect::{FieldDescriptor, Kind as Type, MessageDescriptor};
use serde_json::Value;

use crate::kinds::Kind;
use crate::messages::{MESSAGES, Shape, field_of};
use crate::status::Status;

/// Most fields that are named.
const MOST: usize = 20;

/// What becomes of fields that a kind does not have. They are kept either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Validation {
    /// Nothing is said.
    Ignore,
    /// The client is warned.
    #[default]
    Warn,
    /// They are refused.
    Strict,
}

impl Validation {
    /// As a query says it.
    pub(crate) fn parse(text: &str) -> Result<Validation, Status> {
        match text {
            "Ignore" => Ok(Validation::Ignore),
            "" | "Warn" => Ok(Validation::Warn),
            "Strict" => Ok(Validation::Strict),
            other => Err(Status::bad_request(format!(
                "fieldValidation: `{other}` is not `Ignore`, `Warn` or `Strict`"
            ))),
        }
    }
}

/// What is wrong with a document.
#[derive(Default)]
struct Found {
    /// Fields that the kind does not have.
    unknown: Vec<String>,
    /// Fields whose values cannot be what they are.
    mistyped: Vec<String>,
}

/// Refuses values that cannot be what they are.
pub(crate) fn check_types(kind: &Kind, document: &Value) -> Result<(), Status> {
    match look(kind, document).mistyped.first() {
        None => Ok(()),
        Some(first) => Err(refused(kind, first)),
    }
}

/// Refuses fields that the kind does not have, or gives what the client is to be warned of.
pub(crate) fn check_fields(
    kind: &Kind,
    document: &Value,
    validation: Validation,
) -> Result<Vec<HeaderValue>, Status> {
    if validation == Validation::Ignore {
        return Ok(Vec::new());
    }
    let unknown = look(kind, document).unknown;
    let said: Vec<String> =
        unknown.iter().take(MOST).map(|field| format!("unknown field \"{field}\"")).collect();
    if validation == Validation::Strict && !said.is_empty() {
        return Err(refused(kind, &format!("strict decoding error: {}", said.join(", "))));
    }
    let warning = |said: &String| {
        let quoted = said.replace('\\', "\\\\").replace('"', "\\\"");
        HeaderValue::from_str(&format!("299 - \"{quoted}\"")).ok()
    };
    Ok(said.iter().filter_map(warning).collect())
}

fn refused(kind: &Kind, why: &str) -> Status {
    let (name, version) = (&kind.kind, &kind.version);
    Status::bad_request(format!(
        "{name} in version {version:?} cannot be handled as a {name}: {why}"
    ))
}

fn look(kind: &Kind, document: &Value) -> Found {
    let mut found = Found::default();
    let message = MESSAGES.kind(&kind.group, &kind.version, &kind.kind);
    if let (true, Some(message), Value::Object(fields)) = (kind.built_in, message, document) {
        for (name, value) in
            fields.iter().filter(|(name, _)| !["apiVersion", "kind"].contains(&name.as_str()))
        {
            found.field(message, name, value, name);
        }
    }
    found
}

impl Found {
    fn field(&mut self, message: &MessageDescriptor, name: &str, value: &Value, path: &str) {
        match field_of(message, name) {
            None => self.unknown.push(path.to_owned()),
            Some(field) => self.values(&field, value, path),
        }
    }

    fn values(&mut self, field: &FieldDescriptor, value: &Value, path: &str) {
        match value {
            Value::Null => {}
            Value::Array(values) if field.is_list() => {
                for (index, value) in values.iter().enumerate() {
                    self.value(&field.kind(), value, &format!("{path}[{index}]"));
                }
            }
            Value::Object(entries) if field.is_map() => {
                let Type::Message(entry) = field.kind() else { return };
                for (key, value) in entries {
                    self.value(
                        &entry.map_entry_value_field().kind(),
                        value,
                        &format!("{path}.{key}"),
                    );
                }
            }
            _ if field.is_list() => self.mistyped(path, "a list"),
            _ if field.is_map() => self.mistyped(path, "an object"),
            value => self.value(&field.kind(), value, path),
        }
    }

    fn mistyped(&mut self, path: &str, what: &str) {
        self.mistyped.push(format!("`{path}` must be {what}"));
    }

    fn value(&mut self, kind: &Type, value: &Value, path: &str) {
        let (fits, what) = match kind {
            _ if value.is_null() => (true, ""),
            Type::Message(message) => return self.message(message, value, path),
            Type::Bool => (value.is_boolean(), "true or false"),
            Type::String | Type::Bytes => (value.is_string(), "text"),
            Type::Int32 => {
                let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
                (number.is_some(), "a whole number of 32 bits")
            }
            Type::Int64 => (value.is_i64(), "a whole number of 64 bits"),
            _ => (value.is_number(), "a number"),
        };
        if !fits {
            self.mistyped(path, what);
        }
    }

    fn message(&mut self, message: &MessageDescriptor, value: &Value, path: &str) {
        let (fits, what) = match (Shape::of(message), value) {
            (Shape::Object, Value::Object(fields)) => {
                for (name, value) in fields {
                    self.field(message, name, value, &format!("{path}.{name}"));
                }
                return;
            }
            (Shape::Object, _) => (false, "an object"),
            (Shape::Time | Shape::MicroTime, _) => (value.is_string(), "a time"),
            (Shape::Quantity, _) => (value.is_string() || value.is_number(), "text or a number"),
            (Shape::IntOrString, _) => {
                (value.is_string() || value.is_i64(), "text or a whole number")
            }
            (Shape::Words, _) => (value.is_array(), "a list"),
            _ => (true, ""),
        };
        if !fits {
            self.mistyped(path, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn fields_are_those_of_the_kind() {
        let registry = Registry::built_in();
        let kind = registry.find("", "v1", "pods").unwrap();
        let probe = json!({"httpGet": {"port": "web"}, "periodSeconds": 1});
        let container = json!({
            "name": "a", "livenessProbe": probe, "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "volumeMounts": null,
        });
        let good = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"a": "b"}, "creationTimestamp": "2020-01-01T00:00:00Z"},
            "spec": {"containers": [container], "volumes": [{"name": "x", "emptyDir": {}}]},
        });
        check_types(kind, &good).unwrap();
        assert!(check_fields(kind, &good, Validation::Strict).unwrap().is_empty());
        let cases = [
            ("/spec/containers/0/ports/0", json!({"port": 1}), "spec.containers[0].ports[0].port"),
            ("/spec", json!({"conta\"iners": []}), "spec.conta"),
            ("/spec/volumes/0", json!({"emptyDirs": {}}), "spec.volumes[0].emptyDirs"),
        ];
        for (place, value, field) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            check_types(kind, &bad).unwrap();
            let said = check_fields(kind, &bad, Validation::Strict).unwrap_err();
            assert!(said.document().to_string().contains(field), "{}", said.document());
            assert_eq!(check_fields(kind, &bad, Validation::Warn).unwrap().len(), 1);
            assert!(check_fields(kind, &bad, Validation::Ignore).unwrap().is_empty());
        }
        let cases = [
            ("/spec/containers", json!({}), "`spec.containers` must be a list"),
            ("/spec/containers/0/ports/0/containerPort", json!("80"), "32 bits"),
            ("/spec/containers/0/ports/0/containerPort", json!(1_u64 << 40), "32 bits"),
            ("/metadata/labels", json!([]), "an object"),
            ("/metadata/creationTimestamp", json!(7), "a time"),
            ("/spec", json!("x"), "`spec` must be an object"),
            ("/spec/containers/0/livenessProbe/httpGet/port", json!([]), "text or a whole number"),
        ];
        for (place, value, why) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            let said = check_types(kind, &bad).unwrap_err().document().to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
