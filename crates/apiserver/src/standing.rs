//! Whether policies are enforced, as a condition of their status: `Accepted`, and if not, why not.
//!
//! It is worked out when a policy is shown, by what admission asks as well. So it holds for those that
//! others wrote into the store or that were stored under earlier rules, and nothing is ever written
//! for it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use smol_str::SmolStr;
use tortie_policy::Compat;
use tortie_store::{Object, Revision};

use crate::admission::wrong_with;
use crate::defaults::is_tiered;
use crate::kinds::{Cell, Column, Kind};
use crate::object;

/// The condition's type.
const ACCEPTED: &str = "Accepted";

/// Most judgements that are remembered: a few bytes each, for policies that have not changed.
const MOST: usize = 1 << 18;

/// What is remembered of a policy as it is stored.
#[derive(Clone)]
struct Judgement {
    /// Why it is not enforced, if it is not.
    why: Option<Arc<str>>,
    /// Whether its text may have a status of its own.
    has_status: bool,
    /// When it was created, as it says.
    created: SmolStr,
}

/// Judges policies, and remembers it.
#[derive(Default)]
pub(crate) struct Standing {
    /// The points of compatibility that the cluster has chosen, as last read.
    compat: ArcSwap<Compat>,
    /// By the hash of what was judged: the object, as which kind, with which compatibility.
    judged: Mutex<HashMap<u64, Judgement>>,
    hasher: RandomState,
}

/// Whether a kind's objects have the condition.
pub(crate) fn is_judged(kind: &Kind) -> bool {
    is_tiered(kind) || (kind.group == "policy.networking.k8s.io" && !kind.built_in)
}

/// Shows the condition in the table of a kind, before the age.
pub(crate) fn add_column(kind: &mut Kind) {
    if is_judged(kind) {
        let column = Column {
            name: ACCEPTED.into(),
            kind: "string".into(),
            description: "Whether the policy is enforced.".into(),
            priority: 0,
            cell: Cell::Path(".status.conditions[?(@.type==\"Accepted\")].status".into()),
        };
        kind.columns.insert(kind.columns.len().saturating_sub(1), column);
    }
}

/// What a client sent without what is worked out.
pub(crate) fn forget(kind: &Kind, document: &mut Value) {
    if is_judged(kind) && !kind.status {
        object::map(document).remove("status");
    }
}

impl Standing {
    /// Notes which points of compatibility the cluster has chosen.
    pub(crate) fn choose(&self, compat: Compat) {
        if **self.compat.load() != compat {
            self.compat.store(Arc::new(compat));
        }
    }

    /// Adds the condition to a document, if its kind has it.
    pub(crate) fn complete(&self, kind: &Kind, document: &mut Value) {
        if is_judged(kind) {
            let why = self.judge(document);
            set(document, why.as_deref());
        }
    }

    /// A stored object as a document with all that is shown of it.
    pub(crate) fn document(&self, kind: &Kind, object: &Object) -> Value {
        let mut document = object::decode(kind, object);
        if is_judged(kind) {
            set(&mut document, self.remembered(kind, object).why.as_deref());
        }
        document
    }

    /// A stored object as the text of a document with all that is shown of it, and a revision.
    pub(crate) fn render(
        &self,
        kind: &Kind,
        object: &Object,
        revision: Revision,
        out: &mut Vec<u8>,
    ) {
        if !is_judged(kind) {
            return object::render(kind, object, revision, out);
        }
        let judgement = self.remembered(kind, object);
        let start = out.len();
        object::render(kind, object, revision, out);
        if judgement.has_status || out.pop_if(|last| *last == b'}').is_none() {
            out.truncate(start);
            let mut document = object::decode(kind, object);
            object::stamp(&mut document, revision);
            set(&mut document, judgement.why.as_deref());
            out.extend_from_slice(document.to_string().as_bytes());
        } else {
            let condition = condition(judgement.why.as_deref(), &judgement.created);
            let status = json!({"conditions": [condition]});
            out.extend_from_slice(b",\"status\":");
            out.extend_from_slice(status.to_string().as_bytes());
            out.push(b'}');
        }
    }

    /// Judges many objects without holding up others for long; what follows remembers it.
    pub(crate) async fn prepare(&self, kind: &Kind, objects: &[Arc<Object>]) {
        if is_judged(kind) {
            for some in objects.chunks(64) {
                some.iter().for_each(|object| drop(self.remembered(kind, object)));
                tokio::task::yield_now().await;
            }
        }
    }

    /// Remembers an object that admission has just let in: it need not be judged again.
    pub(crate) fn admitted(&self, kind: &Kind, object: &Object, document: &Value) {
        if is_judged(kind) {
            let (has_status, created) = (has_status(&object.value), created(document));
            self.remember(self.place(kind, object), Judgement { why: None, has_status, created });
        }
    }

    fn place(&self, kind: &Kind, object: &Object) -> u64 {
        let compat = **self.compat.load();
        self.hasher.hash_one((&object.key, &object.value, compat, &kind.version))
    }

    fn remembered(&self, kind: &Kind, object: &Object) -> Judgement {
        let place = self.place(kind, object);
        let known = self.judged.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        known.unwrap_or_else(|| {
            let document = object::decode(kind, object);
            let (why, has_status) = (self.judge(&document), has_status(&object.value));
            let judgement = Judgement { why, has_status, created: created(&document) };
            self.remember(place, judgement.clone());
            judgement
        })
    }

    fn remember(&self, place: u64, judgement: Judgement) {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.len() >= MOST {
            judged.clear();
        }
        judged.insert(place, judgement);
    }

    fn judge(&self, document: &Value) -> Option<Arc<str>> {
        let annotations = document.pointer("/metadata/annotations");
        if let Some(why) = annotations.and_then(|all| all.get(object::UNREADABLE)) {
            return Some(
                format!("the stored object cannot be read: {}", object::shown(why)).into(),
            );
        }
        let errors = wrong_with(document, **self.compat.load());
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        (!said.is_empty()).then(|| said.join("; ").into())
    }
}

/// Whether the text of an object may have a status of its own.
fn has_status(value: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"status\"";
    value.windows(FIELD.len()).any(|window| window == FIELD)
}

fn created(document: &Value) -> SmolStr {
    object::text(document, "/metadata/creationTimestamp").into()
}

/// The condition. Nothing remembers when it began to hold: its time is that of the policy.
fn condition(judgement: Option<&str>, created: &str) -> Value {
    let mut condition = match judgement {
        None => json!({
            "type": ACCEPTED, "status": "True", "reason": "Enforceable",
            "message": "the policy is enforced as written",
        }),
        Some(why) => json!({
            "type": ACCEPTED, "status": "False", "reason": "Invalid", "message": why,
        }),
    };
    if !created.is_empty() {
        object::map(&mut condition).insert("lastTransitionTime".into(), created.into());
    }
    condition
}

/// Sets the condition among those that there are.
fn set(document: &mut Value, judgement: Option<&str>) {
    let created = created(document);
    let status = object::fields(document, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Value::Array(conditions) = conditions {
        conditions.retain(|one| object::text(one, "/type") != ACCEPTED);
        conditions.push(condition(judgement, &created));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tortie_store::{Key, Local, Options, Store, When};

    use super::*;
    use crate::kinds::Registry;

    async fn stored(kind: &Kind, text: &str) -> Arc<Object> {
        let store = Local::in_memory(Options::default()).await.unwrap();
        let key = Key::new(kind.resource.clone(), None, "p").unwrap();
        store.put(&key, Bytes::copy_from_slice(text.as_bytes()), When::Absent).await.unwrap()
    }

    #[tokio::test]
    async fn policies_say_whether_they_are_enforced() {
        let registry = Registry::built_in();
        let kind = registry.find("projectcalico.org", "v3", "globalnetworkpolicies").unwrap();
        let standing = Standing::default();
        let cases = [
            // As we store it, and as others do.
            (
                r#"{"metadata":{"name":"p","creationTimestamp":"2026-01-02T03:04:05Z"},OURS,"spec":{"selector":"a == 'b'"}}"#,
                "True",
                "as written",
            ),
            (
                r#"{"metadata":{"name":"p"},OURS,"spec":{"selector":"a = b"}}"#,
                "False",
                "spec.selector",
            ),
            (r#"{"metadata":{"name":"p"},OURS,"spec":{},"status":{"x":1}}"#, "True", "as written"),
            (r#"{"kind":"x","metadata":{"name":"p"},"spec":{"order":1}}"#, "True", "as written"),
            (r#"{"kind":"x","metadata":{"name":"p"},"spec":{"ordre":1}}"#, "False", "spec.ordre"),
            ("not JSON", "False", "cannot be read"),
        ];
        let ours = r#""apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy""#;
        for (text, status, message) in cases {
            let object = stored(kind, &text.replace("OURS", ours)).await;
            let mut out = Vec::new();
            standing.render(kind, &object, object.modified, &mut out);
            let rendered: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(rendered, standing.document(kind, &object), "{text}");
            let condition = rendered.pointer("/status/conditions/0").unwrap();
            assert_eq!(condition["status"], status, "{text}");
            let created =
                rendered["metadata"].get("creationTimestamp").filter(|one| !one.is_null());
            assert_eq!(condition.get("lastTransitionTime"), created, "{text}");
            assert!(condition["message"].as_str().unwrap().contains(message), "{condition}");
        }
    }
}
