//! The controllers of the lab: from what the API server holds to what is to be written.
//!
//! Each is a pure function of the whole state. What is written comes back as part of the state, so
//! they are asked again and again until none of them wants anything.

mod binding;
mod deployment;
mod ingress;
mod replicas;
mod service;
mod sets;
mod slices;

use serde_json::{Value, json};

pub(crate) use self::binding::{inject, sidecar_container};
use crate::world::{Key, Kind, World, text};

/// Something to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// A new object.
    Create(Kind, Value),
    /// An object as a whole, in place of the state it was made from.
    Replace(Kind, Value),
    /// The status of an object.
    Status(Kind, Value),
    /// An object, by its uid, is to go.
    Delete(Kind, Key, String),
}

/// What controllers know besides the state.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The time, as timestamps have it.
    pub(crate) now: String,
    /// Whether the machine has IPv6.
    pub(crate) v6: bool,
    /// The port of this machine that leads to the ingress gateway.
    pub(crate) gateway_port: u16,
}

/// What is to be written now.
pub(crate) fn actions(world: &World, facts: &Facts) -> Vec<Action> {
    let controllers = [
        ingress::actions,
        deployment::actions,
        replicas::actions,
        sets::actions,
        binding::actions,
        service::actions,
        slices::actions,
    ];
    controllers.iter().flat_map(|controller| controller(world, facts)).collect()
}

/// A document of a kind.
fn document(kind: Kind, metadata: Value, fields: Value) -> Value {
    let mut document = json!({
        "apiVersion": kind.api_version(), "kind": kind.name(), "metadata": metadata,
    });
    merge(&mut document, &fields);
    document
}

/// Says who controls an object.
fn owner(kind: Kind, owner: &Value) -> Value {
    json!([{
        "apiVersion": kind.api_version(), "kind": kind.name(),
        "name": text(owner, "/metadata/name"), "uid": text(owner, "/metadata/uid"),
        "controller": true, "blockOwnerDeletion": true,
    }])
}

/// Puts the fields of one document over those of another; lists are one value.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (field, value) in over {
                merge(base.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// What makes an object be as it is to be: nothing if it is, also with more fields.
fn ensure(world: &World, kind: Kind, wanted: Value) -> Option<Action> {
    let (namespace, name) = crate::world::key(&wanted);
    let Some(found) = world.get(kind, &namespace, &name) else {
        return Some(Action::Create(kind, wanted));
    };
    let mut merged = found.raw.clone();
    merge(&mut merged, &wanted);
    (merged != found.raw).then_some(Action::Replace(kind, merged))
}

/// The write of a status that differs from what is there.
pub(crate) fn status(kind: Kind, object: &Value, status: Value) -> Option<Action> {
    let differs = object.get("status") != Some(&status);
    let mut document = object.clone();
    if let Some(fields) = document.as_object_mut() {
        fields.insert("status".to_owned(), status);
    }
    differs.then_some(Action::Status(kind, document))
}

/// Conditions (type, whether it holds, reason, message), each with the time since when it is so.
pub(crate) fn conditions(
    object: &Value,
    wanted: &[(&str, bool, &str, &str)],
    now: &str,
) -> Vec<Value> {
    let condition = |(kind, holds, reason, message): &(&str, bool, &str, &str)| {
        let word = if *holds { "True" } else { "False" };
        let mut before = crate::world::list(object, "/status/conditions")
            .filter(|one| text(one, "/type") == *kind && text(one, "/status") == word);
        let since = before.next().map_or("", |one| text(one, "/lastTransitionTime"));
        let since = if since.is_empty() { now } else { since };
        let mut condition = json!({"type": kind, "status": word, "lastTransitionTime": since});
        for (field, value) in [("reason", reason), ("message", message)] {
            if !value.is_empty() {
                merge(&mut condition, &json!({ (field): value }));
            }
        }
        condition
    };
    wanted.iter().map(condition).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
