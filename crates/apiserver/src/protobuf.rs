//! Bodies in Kubernetes' protobuf, as the JSON that Go would have written.
//!
//! Fields that JSON would leave out for their zero have no presence in our messages, so they are
//! left out here as well.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, UnknownField, Value as Wire};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::messages::{MESSAGES, Shape};
use crate::status::Status;

/// The media type.
pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";

/// What such a body begins with.
pub(crate) const MAGIC: &[u8] = b"k8s\0";

/// What follows: what is within, and its bytes.
const ENVELOPE: &str = "k8s.io.apimachinery.pkg.runtime.Unknown";

const SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const MICROSECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Why a message is no document.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it does not begin as Kubernetes' messages do")]
    Magic,
    #[error("it cannot be decoded: {0}")]
    Decode(#[from] prost_reflect::prost::DecodeError),
    #[error("its encoding is `{0}`, which is not known")]
    Encoding(String),
    #[error("field {number} of {message} is not known to this server")]
    Field { number: u32, message: String },
    #[error("a {message} is not JSON: {error}")]
    Json { message: String, error: serde_json::Error },
    #[error("a time cannot be written: {0} seconds")]
    Time(i64),
}

/// Reads a body.
///
/// # Errors
/// 415 for a kind that is not known here, 400 for what cannot be read.
pub(crate) fn document(body: &[u8]) -> Result<Value, Status> {
    let refuse = |problem: Problem| {
        Status::bad_request(format!("the body is not Kubernetes' protobuf: {problem}"))
    };
    let envelope = envelope(body).map_err(refuse)?;
    let (version, kind) = (envelope.api_version.as_str(), envelope.kind.as_str());
    // Options of a deletion say the version of what is deleted.
    let of = if kind == "DeleteOptions" { "v1" } else { version };
    let Some(message) = MESSAGES.of_object(of, kind) else {
        return Err(Status::unsupported_kind(version, kind));
    };
    let read = DynamicMessage::decode(message.clone(), envelope.raw.as_slice());
    let mut document = read.map_err(Problem::from).and_then(|m| object(&m)).map_err(refuse)?;
    document.insert("apiVersion".into(), version.into());
    document.insert("kind".into(), kind.into());
    Ok(document.into())
}

struct Envelope {
    api_version: String,
    kind: String,
    raw: Vec<u8>,
}

fn envelope(body: &[u8]) -> Result<Envelope, Problem> {
    let rest = body.strip_prefix(MAGIC).ok_or(Problem::Magic)?;
    let message = MESSAGES.named(ENVELOPE).ok_or(Problem::Magic)?;
    let message = DynamicMessage::decode(message, rest)?;
    let encoding = text(&message, "contentEncoding");
    if !encoding.is_empty() {
        return Err(Problem::Encoding(encoding));
    }
    let typed = message.get_field_by_name("typeMeta");
    let typed = typed.as_deref().and_then(Wire::as_message);
    let word = |name| typed.map(|typed| text(typed, name)).unwrap_or_default();
    let raw = message.get_field_by_name("raw");
    let raw = raw.as_deref().and_then(Wire::as_bytes).map(|raw| raw.to_vec()).unwrap_or_default();
    Ok(Envelope { api_version: word("apiVersion"), kind: word("kind"), raw })
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_deref().and_then(Wire::as_str).unwrap_or_default().to_owned()
}

fn number(message: &DynamicMessage, field: &str) -> i64 {
    let value = message.get_field_by_name(field);
    let value = value.as_deref();
    value.and_then(|value| value.as_i64().or(value.as_i32().map(i64::from))).unwrap_or(0)
}

/// The fields of a message.
fn object(message: &DynamicMessage) -> Result<Map<String, Value>, Problem> {
    if let Some(field) = message.unknown_fields().find(|field| !is_zero(field)) {
        let message = message.descriptor().full_name().to_owned();
        return Err(Problem::Field { number: field.number(), message });
    }
    let mut fields = Map::new();
    for (field, value) in message.fields() {
        match value {
            Wire::Message(inner) if MESSAGES.is_inline(&field) => fields.extend(object(inner)?),
            value => {
                let value = shown(value)?;
                if !value.is_null() {
                    fields.insert(field.json_name().to_owned(), value);
                }
            }
        }
    }
    Ok(fields)
}

/// Whether a field that is not known says nothing: later versions send what they have no use for.
fn is_zero(field: &UnknownField) -> bool {
    let mut bytes = Vec::new();
    field.encode(&mut bytes);
    let key = bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    bytes.iter().skip(key).all(|byte| *byte == 0)
}

fn shown(value: &Wire) -> Result<Value, Problem> {
    Ok(match value {
        Wire::Bool(value) => (*value).into(),
        Wire::I32(value) => (*value).into(),
        Wire::I64(value) => (*value).into(),
        Wire::U32(value) => (*value).into(),
        Wire::U64(value) => (*value).into(),
        Wire::F32(value) => (*value).into(),
        // What is no number is null, which is left out.
        Wire::F64(value) => float(*value),
        Wire::EnumNumber(value) => (*value).into(),
        Wire::String(value) => value.as_str().into(),
        Wire::Bytes(value) => STANDARD.encode(value).into(),
        Wire::Message(inner) => message(inner)?,
        Wire::List(values) => values.iter().map(shown).collect::<Result<Vec<_>, _>>()?.into(),
        Wire::Map(entries) => {
            let entry = |(key, value): (&MapKey, &Wire)| {
                Ok((key.as_str().unwrap_or_default().to_owned(), shown(value)?))
            };
            entries.iter().map(entry).collect::<Result<Map<_, _>, Problem>>()?.into()
        }
    })
}

/// A number as Go writes it: without a fraction if it has none.
#[allow(clippy::cast_possible_truncation, reason = "checked to be a whole number in range")]
fn float(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

fn message(message: &DynamicMessage) -> Result<Value, Problem> {
    let field = |name| message.get_field_by_name(name).filter(|_| message.has_field_by_name(name));
    let inner = |name| match field(name).as_deref() {
        Some(Wire::Message(inner)) => self::message(inner),
        _ => Ok(Value::Null),
    };
    let list = |name| field(name).as_deref().map(shown).transpose();
    Ok(match Shape::of(&message.descriptor()) {
        Shape::Object => object(message)?.into(),
        Shape::Time => time(message, SECONDS)?,
        Shape::MicroTime => time(message, MICROSECONDS)?,
        Shape::Quantity => match text(message, "string") {
            empty if empty.is_empty() => "0".into(),
            quantity => quantity.into(),
        },
        Shape::IntOrString if number(message, "type") == 0 => number(message, "intVal").into(),
        Shape::IntOrString => text(message, "strVal").into(),
        Shape::Words => list("items")?.unwrap_or_default(),
        Shape::Raw => raw(message)?,
        Shape::SchemaOrList => list("jSONSchemas")?.map_or_else(|| inner("schema"), Ok)?,
        Shape::SchemaOrNames => list("property")?.map_or_else(|| inner("schema"), Ok)?,
        Shape::SchemaOrBool => match inner("schema")? {
            Value::Null => field("allows").and_then(|allows| allows.as_bool()).into(),
            schema => schema,
        },
    })
}

/// A time, or null for none.
fn time(message: &DynamicMessage, format: &[BorrowedFormatItem<'_>]) -> Result<Value, Problem> {
    if message.fields().next().is_none() {
        return Ok(Value::Null);
    }
    let seconds = number(message, "seconds");
    let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(number(message, "nanos"));
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    let written = time.ok().and_then(|time| time.format(format).ok());
    written.map(Value::from).ok_or(Problem::Time(seconds))
}

/// JSON within protobuf, in the only field.
fn raw(message: &DynamicMessage) -> Result<Value, Problem> {
    let Some(Wire::Bytes(bytes)) = message.fields().next().map(|(_, value)| value) else {
        return Ok(Value::Null);
    };
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::Json { message: message.descriptor().name().to_owned(), error })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_reflect::prost::Message as _;

    use super::*;

    /// A body with these bytes as a kind.
    fn framed(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let mut envelope = DynamicMessage::new(MESSAGES.named(ENVELOPE).unwrap());
        let mut typed = DynamicMessage::new(
            MESSAGES.named("k8s.io.apimachinery.pkg.runtime.TypeMeta").unwrap(),
        );
        typed.set_field_by_name("apiVersion", Wire::String(version.into()));
        typed.set_field_by_name("kind", Wire::String(kind.into()));
        envelope.set_field_by_name("typeMeta", Wire::Message(typed));
        envelope.set_field_by_name("raw", Wire::Bytes(raw.to_vec().into()));
        [MAGIC, &envelope.encode_to_vec()].concat()
    }

    fn said(body: &[u8]) -> (u16, String) {
        let status = document(body).unwrap_err();
        (status.code().as_u16(), status.document().pointer("/message").unwrap().to_string())
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let cases: [(&[u8], u16, &str); 6] = [
            (b"{}", 400, "begin"),
            (b"k8s\0\xff", 400, "decoded"),
            (b"k8s\0", 415, "no kind"),
            (&framed("v1", "Gadget", b""), 415, "`Gadget` of `v1`"),
            (&framed("v1", "Namespace", b"\x0a\xff"), 400, "decoded"),
            (&framed("v1", "Namespace", b"\xc2\x3e\x01x"), 400, "field 1000 of k8s.io.api.core.v1"),
        ];
        for (body, code, message) in cases {
            let (found, said) = said(body);
            assert!(found == code && said.contains(message), "{found} {said}");
        }
        let zero = framed("v1", "Namespace", b"\xc2\x3e\x00\x0a\x03\x0a\x01a");
        let expected = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"},
        });
        assert_eq!(document(&zero).unwrap(), expected);
    }

    #[test]
    fn depth_is_bounded() {
        // A schema within a schema within …
        let mut raw = Vec::new();
        for _ in 0..2_000 {
            let mut outer = vec![0xe2, 0x01]; // `not`
            prost_reflect::prost::encoding::encode_varint(raw.len() as u64, &mut outer);
            outer.extend_from_slice(&raw);
            raw = outer;
        }
        let schema = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let schema = MESSAGES.named(schema).unwrap();
        assert!(DynamicMessage::decode(schema, raw.as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(body: Vec<u8>, kind in 0..3_usize) {
            crate::fuzz::protobuf(&body);
            let kind = ["Pod", "Namespace", "Event"].get(kind).unwrap();
            drop(document(&framed("v1", kind, &body)));
        }
    }
}
