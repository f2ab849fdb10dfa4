//! Refusals, as every Kubernetes client reads them.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use tortie_model::FieldError;

use crate::kinds::Kind;

/// Why a request was refused: a Kubernetes Status.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Map<String, Value>,
    /// The answer may be another one by then.
    retry_after: Option<u32>,
}

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Status {
        let message = message.into();
        Status { code, reason, message, details: Map::new(), retry_after: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Status {
        self.details.insert("name".into(), name.into());
        if !kind.group.is_empty() {
            self.details.insert("group".into(), kind.group.as_str().into());
        }
        self.details.insert("kind".into(), kind.plural.as_str().into());
        self
    }

    /// A refusal about a resource that need not be a kind of ours.
    pub(crate) fn of(mut self, group: &str, resource: &str, name: &str) -> Status {
        for (field, value) in [("group", group), ("kind", resource), ("name", name)] {
            if !value.is_empty() {
                self.details.insert(field.into(), value.into());
            }
        }
        self
    }

    fn causes(mut self, causes: Vec<Value>) -> Status {
        self.details.insert("causes".into(), causes.into());
        self
    }

    /// The request makes no sense, whatever there is.
    pub(crate) fn bad_request(message: impl Into<String>) -> Status {
        Status::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// It is not known who asks.
    pub(crate) fn unauthorized(why: &str) -> Status {
        Status::new(StatusCode::UNAUTHORIZED, "Unauthorized", format!("Unauthorized: {why}"))
    }

    /// There is nothing under this path.
    pub(crate) fn no_such_path() -> Status {
        let message = "the server could not find the requested resource";
        Status::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// Something that is no object is not there.
    pub(crate) fn missing(message: impl Into<String>) -> Status {
        Status::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Status::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    pub(crate) fn exists(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Status::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let resource = kind.qualified();
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Status::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name)
    }

    /// What other managers applied otherwise: each manager with a path.
    pub(crate) fn applied_otherwise(conflicts: &[(&str, String)]) -> Status {
        let cause = |(manager, path): &(&str, String)| {
            let message = format!("conflict with {manager:?}");
            json!({"reason": "FieldManagerConflict", "message": message, "field": path})
        };
        let said = match conflicts {
            [(manager, path)] => format!("1 conflict: conflict with {manager:?}: {path}"),
            all => {
                let lines = all.iter().enumerate().map(|(index, (manager, path))| {
                    let known = index.checked_sub(1).and_then(|before| all.get(before));
                    let same = known.is_some_and(|(before, _)| before == manager);
                    let head =
                        if same { String::new() } else { format!("conflicts with {manager:?}:\n") };
                    format!("{head}- {path}")
                });
                format!("{} conflicts: {}", all.len(), lines.collect::<Vec<_>>().join("\n"))
            }
        };
        Status::new(StatusCode::CONFLICT, "Conflict", format!("Apply failed with {said}"))
            .causes(conflicts.iter().map(cause).collect())
    }

    /// Somebody else was faster.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Status::conflict(kind, name, why)
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
        Status::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    /// Whoever asks may not do it.
    pub(crate) fn denied(message: impl Into<String>) -> Status {
        Status::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// Fields that cannot be as they are, each with its reason.
    pub(crate) fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Status {
        let texts: Vec<String> = errors.iter().map(said).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {list}", kind.qualified_kind());
        let cause = |error: &FieldError| {
            let message = match &error.hint {
                Some(hint) => format!("{} ({hint})", error.reason),
                None => error.reason.clone(),
            };
            json!({"reason": "FieldValueInvalid", "message": message, "field": error.field})
        };
        let mut status = Status::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
            .about(kind, name)
            .causes(errors.iter().map(cause).collect());
        status.details.insert("kind".into(), kind.kind.as_str().into());
        status
    }

    pub(crate) fn invalid_field(kind: &Kind, name: &str, field: &str, reason: &str) -> Status {
        Status::invalid(kind, name, &[FieldError::new(field, reason)])
    }

    pub(crate) fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(crate) fn not_acceptable() -> Status {
        let message = "only the following media types are accepted: application/json";
        Status::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn unsupported(media: &str, accepted: &str) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {accepted}; not {media:?}"
        );
        Status::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// A body of a kind that only JSON has here.
    pub(crate) fn unsupported_kind(version: &str, kind: &str) -> Status {
        let message = format!(
            "there is no kind `{kind}` of `{version}` in protobuf here: send it as application/json"
        );
        Status::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Status {
        Status::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// The history asked for is gone.
    pub(crate) fn expired(message: impl Into<String>) -> Status {
        Status::new(StatusCode::GONE, "Expired", message)
    }

    /// A revision was asked for that has not been reached.
    pub(crate) fn future(asked: u64, current: u64) -> Status {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let cause =
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        let mut status = Status::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        status.retry_after = Some(1);
        status.causes(vec![cause])
    }

    pub(crate) fn too_many() -> Status {
        let message = "too many requests at a time, try again";
        let mut status = Status::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        status.retry_after = Some(1);
        status
    }

    pub(crate) fn timeout(message: impl Into<String>) -> Status {
        Status::new(StatusCode::REQUEST_TIMEOUT, "Timeout", message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Status {
        Status::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    /// The store cannot be read or written; nothing of the request's making.
    pub(crate) fn unavailable(message: impl Into<String>) -> Status {
        let message = message.into();
        let mut status =
            Status::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message);
        status.retry_after = Some(1);
        status
    }

    /// Nothing is done until an operator has done something: asking again is of no use.
    pub(crate) fn halted(message: impl Into<String>) -> Status {
        Status { retry_after: None, ..Status::unavailable(message) }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Status {
        let message = format!("Internal error occurred: {}", message.into());
        Status::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.code
    }

    /// The Status as a document.
    pub(crate) fn document(&self) -> Value {
        let mut document = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            details.insert("retryAfterSeconds".into(), seconds.into());
        }
        // kubectl looks into the details of what was not found.
        let none = details.is_empty() && self.code != StatusCode::NOT_FOUND;
        if let (Value::Object(fields), false) = (&mut document, none) {
            fields.insert("details".into(), details.into());
        }
        document
    }

    /// The answer to the request.
    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.document().to_string()));
        *response.status_mut() = self.code;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn said(error: &FieldError) -> String {
    match &error.hint {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

/// A success that has nothing else to show.
pub(crate) fn success(kind: &Kind, name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "group": kind.group, "kind": kind.plural, "uid": uid},
    })
}
