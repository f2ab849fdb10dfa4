//! The audit log: one JSON document a line, appended before anything is changed. What cannot be
//! written down is not done.

mod diff;
mod log;
mod refused;

pub use log::{Audit, Rotation};
pub(crate) use refused::Refused;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::environment::Environment;
use crate::kinds::Kind;
use crate::object::{self, text};

/// Longest description of a change, in bytes; of what is longer only the hash is kept.
const LONGEST: usize = 256 << 10;

/// What changed between two states of an object, as it may be shown.
pub(crate) fn changes(kind: &Kind, old: Option<&Value>, new: Option<&Value>) -> Value {
    let shown = |document: &Value| showable(kind, document);
    let (old, new) = (old.map(shown), new.map(shown));
    let changes = diff::diff(old.as_ref(), new.as_ref());
    let length = changes.to_string().len();
    if length <= LONGEST {
        return changes;
    }
    json!([{"op": "omitted", "bytes": length, "sha256": hash("", &changes)}])
}

/// An object without what nobody is to read in a log.
fn showable(kind: &Kind, document: &Value) -> Value {
    let mut shown = document.clone();
    let metadata = object::fields(&mut shown, "metadata");
    metadata.remove("resourceVersion");
    if !kind.is("", "Secret") {
        return shown;
    }
    // kubectl keeps what it applied, contents included, in an annotation.
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.values_mut().for_each(|value| *value = "(hidden)".into());
    }
    let salt = object::uid(document);
    let fields = ["data", "stringData"].map(|field| document.get(field));
    let hash = hash(salt, &json!(fields));
    json!({
        "metadata": shown.get("metadata"), "type": text(document, "/type"), "dataSha256": hash,
    })
}

/// The hash of a value. Two objects with equal contents have different ones, by the salt.
fn hash(salt: &str, value: &Value) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(value.to_string()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When something is written down.
pub(crate) fn stamp(environment: &Environment) -> String {
    environment.now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn secrets_are_hashes() {
        let registry = Registry::built_in();
        let kind = registry.find("", "v1", "secrets").unwrap();
        let secret = |uid: &str, data: &str| {
            json!({
                "metadata": {"name": "s", "uid": uid, "annotations": {"last": data}},
                "type": "Opaque", "data": {"key": data}, "stringData": {"other": data},
            })
        };
        let (old, new) = (secret("1", "c2VjcmV0"), secret("1", "bmV3"));
        let made = changes(kind, None, Some(&old)).to_string();
        assert!(!made.contains("c2VjcmV0") && made.contains("dataSha256"), "{made}");
        let changed = changes(kind, Some(&old), Some(&new)).to_string();
        assert!(!changed.contains("c2VjcmV0") && !changed.contains("bmV3"), "{changed}");
        assert!(changed.contains("/dataSha256"), "{changed}");
        let gone = changes(kind, Some(&new), None).to_string();
        assert!(!gone.contains("bmV3"), "{gone}");
        let other = changes(kind, None, Some(&secret("2", "c2VjcmV0"))).to_string();
        let after = |text: &str| text.split("dataSha256\":\"").nth(1).unwrap().to_owned();
        let hash = |text: &str| after(text).chars().take(64).collect::<String>();
        assert_ne!(hash(&made), hash(&other));
    }

    #[test]
    fn what_is_too_long_is_a_hash() {
        let registry = Registry::built_in();
        let kind = registry.find("", "v1", "configmaps").unwrap();
        let large = json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(LONGEST)}});
        let made = changes(kind, None, Some(&large)).to_string();
        assert!(made.len() < 200 && made.contains("omitted"), "{made}");
    }
}
