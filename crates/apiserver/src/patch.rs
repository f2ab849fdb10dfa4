//! Patches: what somebody wants changed, without saying all of it.

use axum::http::HeaderMap;
use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;

use crate::body::{json, media_type, yaml};
use crate::kinds::Kind;
use crate::object;
use crate::status::Status;
use crate::strategic;

/// The media types of patches.
const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, \
                        application/apply-patch+yaml";

/// Most operations of a JSON patch.
const MOST_OPERATIONS: usize = 10_000;

/// Most that the operations of a JSON patch may copy, in bytes: each could double what there is.
const MOST_COPIED: usize = 3 << 20;

/// A patch of one of the three kinds.
pub(crate) enum Change {
    /// RFC 6902.
    Operations(Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own: lists merge by the key of their elements.
    Strategic(Value),
    /// Server-side apply: what the writer wants to see.
    Apply(Value),
}

impl Change {
    /// Reads the body of a patch.
    pub(crate) fn read(kind: &Kind, headers: &HeaderMap, body: &[u8]) -> Result<Change, Status> {
        match media_type(headers) {
            "application/json-patch+json" => operations(body).map(Change::Operations),
            "application/merge-patch+json" => object(json(body)?).map(Change::Merge),
            "application/strategic-merge-patch+json" if kind.built_in => {
                object(json(body)?).map(Change::Strategic)
            }
            "application/apply-patch+yaml" | "application/apply-patch+json" => {
                object(yaml(body)?).map(Change::Apply)
            }
            other if kind.built_in => {
                let strategic = "application/strategic-merge-patch+json";
                Err(Status::unsupported(other, &format!("{ACCEPTED}, {strategic}")))
            }
            other => Err(Status::unsupported(other, ACCEPTED)),
        }
    }

    /// What an object becomes by it.
    pub(crate) fn apply(&self, kind: &Kind, old: &Value) -> Result<Value, Status> {
        let mut new = old.clone();
        match self {
            Change::Operations(patch) => operate(kind, &mut new, patch)?,
            Change::Merge(patch) => json_patch::merge(&mut new, patch),
            Change::Strategic(patch) => strategic::merge(&mut new, patch).map_err(|problem| {
                Status::bad_request(format!("invalid strategic merge patch: {problem}"))
            })?,
            Change::Apply(wanted) => strategic::apply(&mut new, wanted),
        }
        Ok(new)
    }
}

/// Applies operations one by one, as long as they do not copy too much.
fn operate(kind: &Kind, document: &mut Value, patch: &[PatchOperation]) -> Result<(), Status> {
    let name = object::name(document).to_owned();
    let mut copied = 0;
    for operation in patch {
        if let PatchOperation::Copy(copy) = operation {
            let source = document.pointer(copy.from.as_str());
            copied += source.map_or(0, |value| value.to_string().len());
            if copied > MOST_COPIED {
                let message = format!("the patch copies more than {MOST_COPIED} bytes");
                return Err(Status::too_large(message));
            }
        }
        json_patch::patch(document, std::slice::from_ref(operation)).map_err(|error| {
            let path = error.path.to_string();
            let message = match error.kind {
                PatchErrorKind::TestFailed => format!("testing value {path} failed"),
                other => format!("{path}: {other}"),
            };
            Status::invalid_field(kind, &name, "patch", &message)
        })?;
    }
    Ok(())
}

fn object(patch: Value) -> Result<Value, Status> {
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(Status::bad_request("the patch is not an object"))
    }
}

fn operations(body: &[u8]) -> Result<Patch, Status> {
    let patch: Patch = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("the body is not a JSON patch: {error}")))?;
    if patch.len() > MOST_OPERATIONS {
        let message = format!("the patch has more than {MOST_OPERATIONS} operations");
        return Err(Status::too_large(message));
    }
    Ok(patch)
}
