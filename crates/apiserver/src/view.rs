//! In which shape objects are shown: whole, as rows of a table, or only their metadata.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tortie_store::Object;

use crate::kinds::Kind;
use crate::object;
use crate::standing::Standing;
use crate::status::Status;
use crate::table;

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Whole,
    Table,
    Metadata,
}

/// One item of an `Accept` header: type and parameters.
fn accepted(item: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let mut parts = item.split(';').map(str::trim);
    let media = parts.next()?;
    Some((media, parts.filter_map(|part| part.split_once('=')).collect()))
}

/// The items of the `Accept` header, in the order of preference that clients write them in.
pub(crate) fn accept(headers: &HeaderMap) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
    let all = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).filter_map(accepted)
}

/// The value of a parameter.
pub(crate) fn parameter<'a>(parameters: &[(&str, &'a str)], name: &str) -> &'a str {
    parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

impl View {
    /// The first shape that the client takes and we have.
    pub(crate) fn choose(headers: &HeaderMap) -> Result<View, Status> {
        if !headers.contains_key(header::ACCEPT) {
            return Ok(View::Whole);
        }
        let json = |media: &str| ["application/json", "application/*", "*/*"].contains(&media);
        accept(headers)
            .filter(|(media, _)| json(media))
            .find_map(|(_, parameters)| match parameter(&parameters, "as") {
                "" => Some(View::Whole),
                "Table" if parameter(&parameters, "v") == "v1" => Some(View::Table),
                "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(View::Metadata),
                _ => None,
            })
            .ok_or_else(Status::not_acceptable)
    }

    /// One document in this shape.
    pub(crate) fn of(self, kind: &Kind, document: Value, include: Include<'_>, now: Now) -> Value {
        match self {
            View::Whole => document,
            View::Table => {
                let revision = object::text(&document, "/metadata/resourceVersion").to_owned();
                table::table(kind, &[document], json!({"resourceVersion": revision}), include, now)
            }
            View::Metadata => metadata_only(document),
        }
    }

    /// A list of stored objects in this shape.
    pub(crate) fn list(self, list: &Listed<'_>, include: Include<'_>, now: Now) -> Bytes {
        let documents =
            || list.objects.iter().map(|object| list.standing.document(list.kind, object));
        match self {
            View::Whole => list.whole(),
            View::Table => {
                let documents: Vec<Value> = documents().collect();
                let metadata = list.metadata();
                table::table(list.kind, &documents, metadata, include, now).to_string().into()
            }
            View::Metadata => {
                let items: Vec<Value> = documents().map(metadata_only).collect();
                let list = json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": list.metadata(), "items": items,
                });
                list.to_string().into()
            }
        }
    }
}

/// How much of an object a row carries: `None`, `Metadata` or `Object`.
pub(crate) type Include<'a> = Option<&'a str>;

/// The time by which ages are worked out.
pub(crate) type Now = OffsetDateTime;

/// A list of objects, and where it stands.
pub(crate) struct Listed<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) standing: &'a Standing,
    pub(crate) objects: &'a [std::sync::Arc<Object>],
    pub(crate) revision: u64,
    pub(crate) more: Option<String>,
}

impl Listed<'_> {
    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let (Value::Object(fields), Some(token)) = (&mut metadata, &self.more) {
            fields.insert("continue".into(), token.as_str().into());
        }
        metadata
    }

    /// Written object by object: most need not be read for it.
    fn whole(&self) -> Bytes {
        let size: usize = self.objects.iter().map(|object| object.value.len() + 40).sum();
        let mut out = Vec::with_capacity(size + 256);
        let head = json!({
            "kind": self.kind.list_kind, "apiVersion": self.kind.api_version(),
            "metadata": self.metadata(),
        });
        let head = head.to_string();
        out.extend_from_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
        out.extend_from_slice(b",\"items\":[");
        for (index, object) in self.objects.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.standing.render(self.kind, object, object.modified, &mut out);
        }
        out.extend_from_slice(b"]}");
        out.into()
    }
}

/// An object without anything but its metadata.
pub(crate) fn metadata_only(mut document: Value) -> Value {
    let metadata = document.get_mut("metadata").map(Value::take).unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// An answer in JSON.
pub(crate) fn json_response(code: StatusCode, body: impl Into<Body>) -> Response<Body> {
    with_type(code, "application/json", body)
}

/// An answer of a type.
pub(crate) fn with_type(
    code: StatusCode,
    media: &'static str,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
