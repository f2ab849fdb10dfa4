//! Bodies of requests: bounded, read whole, JSON, YAML or protobuf.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use crate::protobuf;
use crate::status::Status;

/// Largest body, in bytes: as much as API servers take.
const LARGEST: usize = 3 << 20;

/// The media types of documents.
const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The bytes of a body, which must not take longer than that.
pub(crate) async fn read(body: Incoming, patience: Duration) -> Result<Bytes, Status> {
    let collected = tokio::time::timeout(patience, Limited::new(body, LARGEST).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Status::too_large(format!("Request entity too large: limit is {LARGEST}")))
        }
        Ok(Err(_)) => Err(Status::bad_request("the body ended early")),
        Err(_) => Err(Status::timeout("the body came too slowly")),
    }
}

/// The media type of a request, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

/// A document that is to be created or to replace another one.
pub(crate) fn document(headers: &HeaderMap, body: &[u8]) -> Result<Value, Status> {
    match media_type(headers) {
        "" | "application/json" | "*/*" => json(body),
        "application/yaml" => yaml(body),
        protobuf::MEDIA => protobuf::document(body),
        other => Err(Status::unsupported(other, ACCEPTED)),
    }
}

/// JSON; its depth is bounded by the reader.
pub(crate) fn json(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("the body is not JSON: {error}")))
}

/// YAML, or JSON, which is YAML; size, depth and aliases are bounded by the reader.
pub(crate) fn yaml(body: &[u8]) -> Result<Value, Status> {
    if let Ok(document) = serde_json::from_slice(body) {
        return Ok(document);
    }
    tortie_client::document(body)
        .map_err(|reason| Status::bad_request(format!("the body cannot be read: {reason}")))
}
