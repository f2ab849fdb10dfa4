//! Bodies for fuzzing: properties that must hold for any bytes.

use serde_json::Value;

use crate::protobuf;

/// A body in Kubernetes' protobuf is read as an object of a kind, or refused.
pub fn protobuf(data: &[u8]) {
    for body in [data, &[protobuf::MAGIC, data].concat()] {
        let kind =
            document(body).map(|document| document.get("kind").is_some_and(Value::is_string));
        assert!(kind != Some(false), "a document without a kind");
    }
}

/// What a body in Kubernetes' protobuf is in JSON, if it can be read.
pub fn document(body: &[u8]) -> Option<Value> {
    protobuf::document(body).ok()
}
