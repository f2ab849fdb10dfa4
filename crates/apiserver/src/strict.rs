//! Whether a document has the fields that its kind has, and values of their types. One value that typed
//! clients cannot read would keep them from reading any object of its kind.

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{FieldDescriptor, Kind as Type, MessageDescriptor};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::kinds::Kind;
use crate::messages::{MESSAGES, METADATA, Shape, field_of};
use crate::object;
use crate::status::Status;

/// Most fields that are named.
const MOST: usize = 20;

/// The message of the options of a deletion.
const OPTIONS: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions";

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
    said_of(kind, &look(kind, document).unknown, validation)
}

/// As [`check_fields`], of what a patch makes of a document: what was there before is no news.
pub(crate) fn check_new_fields(
    kind: &Kind,
    old: &Value,
    new: &Value,
    validation: Validation,
) -> Result<Vec<HeaderValue>, Status> {
    let before = look(kind, old).unknown;
    let mut unknown = look(kind, new).unknown;
    unknown.retain(|field| !before.contains(field));
    said_of(kind, &unknown, validation)
}

fn said_of(
    kind: &Kind,
    unknown: &[String],
    validation: Validation,
) -> Result<Vec<HeaderValue>, Status> {
    if validation == Validation::Ignore {
        return Ok(Vec::new());
    }
    let said: Vec<String> =
        unknown.iter().take(MOST).map(|field| format!("unknown field \"{field}\"")).collect();
    if validation == Validation::Strict && !said.is_empty() {
        return Err(refused(kind, &format!("strict decoding error: {}", said.join(", "))));
    }
    Ok(said.iter().filter_map(|said| warning(said)).collect())
}

/// What a client is told beside its answer.
pub(crate) fn warning(text: &str) -> Option<HeaderValue> {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_str(&format!("299 - \"{quoted}\"")).ok()
}

/// Refuses options of a deletion whose values cannot be what they are: what was meant as a condition
/// must not be passed over.
pub(crate) fn check_options(options: &Value) -> Result<(), Status> {
    let mut found = Found::default();
    if let Some(message) = MESSAGES.named(OPTIONS) {
        found.value(&Type::Message(message), options, "options");
    }
    match found.mistyped.first() {
        None => Ok(()),
        Some(first) => Err(Status::bad_request(format!("the options of the deletion: {first}"))),
    }
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
    } else if let (Some(message), Some(metadata)) =
        (MESSAGES.named(METADATA), document.get("metadata"))
    {
        found.value(&Type::Message(message), metadata, "metadata");
    }
    found
}

/// A number with a unit, as in `500m`, `1.5Gi` and `1e3`.
fn is_quantity(text: &str) -> bool {
    const UNITS: [&str; 16] =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, unit) = unsigned.split_at(end);
    let exponent = unit.strip_prefix(['e', 'E']).and_then(|rest| rest.parse::<i32>().ok());
    number.contains(|c: char| c.is_ascii_digit())
        && number.matches('.').count() < 2
        && (exponent.is_some() || UNITS.contains(&unit))
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// Lines may end wherever they like.
fn is_base64(text: &str) -> bool {
    STANDARD.decode(text.replace(['\r', '\n'], "")).is_ok()
}

fn is_time(text: &str) -> bool {
    OffsetDateTime::parse(text, &Rfc3339).is_ok()
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
            Type::String => (value.is_string(), "text"),
            Type::Bytes => (value.as_str().is_some_and(is_base64), "base64"),
            Type::Int32 => (is_int32(value), "a whole number of 32 bits"),
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
            (Shape::Time | Shape::MicroTime, _) => {
                (value.as_str().is_some_and(is_time), "a time like 2006-01-02T15:04:05Z")
            }
            (Shape::Quantity, _) => {
                (is_quantity(&object::shown(value)), "a quantity like 500m or 1Gi")
            }
            (Shape::IntOrString, _) => {
                (value.is_string() || is_int32(value), "text or a whole number of 32 bits")
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
            ("/metadata/creationTimestamp", json!("yesterday"), "a time"),
            ("/spec/containers/0/resources/limits/cpu", json!("half"), "a quantity"),
            ("/spec/containers/0/resources/limits/cpu", json!([1]), "a quantity"),
            ("/spec/containers/0/livenessProbe/httpGet/port", json!(1_u64 << 40), "32 bits"),
            ("/spec/containers/0/livenessProbe/httpGet/port", json!([]), "text or a whole number"),
        ];
        for (place, value, why) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value;
            let said = check_types(kind, &bad).unwrap_err().document().to_string();
            assert!(said.contains(why), "{said}");
        }
        let of = |plural, group| {
            registry.find(group, if group.is_empty() { "v1" } else { "v3" }, plural).unwrap()
        };
        let secret = |data: &str| check_types(of("secrets", ""), &json!({"data": {"a": data}}));
        assert!(secret("YQ\n==\n").is_ok() && secret("a").is_err());
        // The metadata of every kind are read by all clients.
        let pool = |metadata: Value| {
            check_types(of("ippools", "projectcalico.org"), &json!({"metadata": metadata}))
        };
        assert!(pool(json!({"finalizers": ["a"]})).is_ok());
        for bad in [json!({"finalizers": [1]}), json!({"ownerReferences": [1]}), json!(1)] {
            assert!(pool(bad.clone()).is_err(), "{bad}");
        }
        for (text, fits) in [
            ("500m", true),
            ("1.5Gi", true),
            ("-1e3", true),
            (".5", true),
            ("1E", true),
            ("", false),
            ("Gi", false),
            ("1.2.3", false),
            ("1x", false),
            ("1 ", false),
        ] {
            assert_eq!(is_quantity(text), fits, "{text}");
        }
    }
}
