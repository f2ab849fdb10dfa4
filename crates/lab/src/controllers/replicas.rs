//! ReplicaSets: as many pods as are asked for.

use serde_json::{Value, json};

use super::{Action, Facts, document, merge, owner, status};
use crate::world::{Kind, World, is_terminating, key, list, number, text};

pub(super) fn actions(world: &World, _: &Facts) -> Vec<Action> {
    let sets = world.documents(Kind::ReplicaSet).filter(|set| !is_terminating(set));
    sets.flat_map(|set| replica_set(world, set)).collect()
}

fn replica_set(world: &World, set: &Value) -> Vec<Action> {
    let pods = active(world, text(set, "/metadata/uid"));
    let mut actions = scale(Kind::ReplicaSet, set, &pods, wanted(set), None);
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let found = json!({
        "replicas": pods.len(), "fullyLabeledReplicas": pods.len(), "readyReplicas": ready,
        "availableReplicas": ready, "observedGeneration": number(set, "/metadata/generation"),
    });
    actions.extend(status(Kind::ReplicaSet, set, found));
    actions
}

/// How many pods a set is to have; one if it does not say.
pub(super) fn wanted(set: &Value) -> u64 {
    set.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
}

/// The pods of an owner that run or will run.
pub(super) fn active<'a>(world: &'a World, owner: &'a str) -> Vec<&'a Value> {
    let ended = |pod: &Value| matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    world.owned(Kind::Pod, owner).filter(|pod| !is_terminating(pod) && !ended(pod)).collect()
}

/// Whether Services lead to a pod.
pub(super) fn is_ready(pod: &Value) -> bool {
    list(pod, "/status/conditions")
        .any(|one| text(one, "/type") == "Ready" && text(one, "/status") == "True")
}

/// Makes as many pods as are missing, or deletes those that are too many: first those that are not
/// ready, then the youngest.
pub(super) fn scale(
    kind: Kind,
    set: &Value,
    pods: &[&Value],
    wanted: u64,
    hash: Option<(&str, &str)>,
) -> Vec<Action> {
    let have = pods.len() as u64;
    if have < wanted {
        let prefix = format!("{}-", text(set, "/metadata/name"));
        let name = json!({ "generateName": prefix });
        return (have..wanted)
            .map(|_| Action::Create(Kind::Pod, pod(kind, set, name.clone(), hash)))
            .collect();
    }
    let mut pods = pods.to_vec();
    pods.sort_by_key(|pod| {
        let age = text(pod, "/metadata/creationTimestamp").to_owned();
        (is_ready(pod), std::cmp::Reverse(age))
    });
    let many = usize::try_from(have - wanted).unwrap_or_default();
    pods.into_iter().take(many).map(delete).collect()
}

/// The deletion of a pod.
pub(super) fn delete(pod: &Value) -> Action {
    Action::Delete(Kind::Pod, key(pod), text(pod, "/metadata/uid").to_owned())
}

/// A pod as an owner's template has it, with one more label.
pub(super) fn pod(kind: Kind, set: &Value, name: Value, label: Option<(&str, &str)>) -> Value {
    let template = set.pointer("/spec/template").cloned().unwrap_or_default();
    let of = |field: &str| template.pointer(&format!("/metadata/{field}")).cloned();
    let mut metadata = json!({
        "namespace": text(set, "/metadata/namespace"),
        "labels": of("labels").unwrap_or(json!({})),
        "annotations": of("annotations").unwrap_or(json!({})),
        "ownerReferences": owner(kind, set),
    });
    merge(&mut metadata, &name);
    if let Some((key, value)) = label {
        merge(&mut metadata, &json!({"labels": {(key): value}}));
    }
    let spec = template.get("spec").cloned().unwrap_or(json!({}));
    document(Kind::Pod, metadata, json!({ "spec": spec }))
}
