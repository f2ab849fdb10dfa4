//! Patches: what somebody wants changed, without saying all of it.

use axum::http::HeaderMap;
use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;

use crate::body::{json, media_type, yaml};
use crate::kinds::Kind;
use crate::object;
use crate::prepare::check_depth;
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

/// Applies operations one by one, as long as they neither copy nor nest too much.
fn operate(kind: &Kind, document: &mut Value, patch: &[PatchOperation]) -> Result<(), Status> {
    let name = object::name(document).to_owned();
    let mut copied = 0;
    // At least as deep as the document is, which is looked at only when this is too much.
    let mut deepest = check_depth(document)?;
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
        deepest = deepest.max(reach(operation, deepest));
        if deepest > object::DEEPEST {
            deepest = check_depth(document)?;
        }
    }
    Ok(())
}

/// How deep an operation may nest what it puts into a document that is nested so deep.
fn reach(operation: &PatchOperation, deepest: usize) -> usize {
    let inner = match operation {
        PatchOperation::Add(add) => object::depth(&add.value, usize::MAX),
        PatchOperation::Replace(replace) => object::depth(&replace.value, usize::MAX),
        PatchOperation::Move(_) | PatchOperation::Copy(_) => Some(deepest),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return 0,
    };
    operation.path().count() + inner.unwrap_or(usize::MAX)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

    use serde_json::json;

    use super::*;

    /// What becomes of `{"a": {}}` by operations.
    fn outcome(operations: Value) -> Result<Value, String> {
        let registry = crate::kinds::Registry::built_in();
        let patch = serde_json::from_value(operations).unwrap();
        let change = Change::Operations(patch);
        let changed = change.apply(&registry.kinds()[0], &json!({"a": {}}));
        changed.map_err(|status| format!("{status:?}"))
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!({ "x": inner }))
    }

    #[test]
    fn operations_neither_copy_nor_nest_too_much() {
        let wrap = [
            json!({"op": "move", "from": "/a", "path": "/b"}),
            json!({"op": "add", "path": "/a", "value": {}}),
            json!({"op": "move", "from": "/b", "path": "/a/x"}),
        ];
        let wraps = |times: usize| {
            Value::Array(std::iter::repeat_n(wrap.clone(), times).flatten().collect())
        };
        let double = json!({"op": "copy", "from": "", "path": "/a/x"});
        let text = json!({"op": "add", "path": "/a/t", "value": "x".repeat(1 << 20)});
        let there_and_back = |times| {
            let both = [
                json!({"op": "move", "from": "/a", "path": "/b"}),
                json!({"op": "move", "from": "/b", "path": "/a"}),
            ];
            Value::Array(std::iter::repeat_n(both, times).flatten().collect())
        };
        for (operations, expected) in [
            (wraps(118), None),
            (wraps(119), Some("deeper than 120 levels")),
            (wraps(3_000), Some("deeper than 120 levels")),
            (there_and_back(3_000), None),
            (json!([{"op": "add", "path": "/a/x", "value": nested(118)}]), None),
            (json!([{"op": "add", "path": "/a/x", "value": nested(119)}]), Some("deeper than 120")),
            (
                json!([{"op": "replace", "path": "/a", "value": nested(120)}]),
                Some("deeper than 120"),
            ),
            (json!([text, double]), None),
            (
                Value::Array([vec![text], vec![double; 20]].concat()),
                Some("copies more than 3145728 bytes"),
            ),
        ] {
            let about = operations.to_string();
            match (outcome(operations), expected) {
                (Ok(_), None) => {}
                (Err(why), Some(expected)) if why.contains(expected) => {}
                (outcome, _) => {
                    panic!("{}: {:?}", about.get(..200).unwrap_or(&about), outcome.map(drop))
                }
            }
        }
    }
}
