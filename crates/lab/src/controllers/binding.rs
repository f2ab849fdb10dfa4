//! The scheduler, which has one node to choose from, and what Istio's webhook does in a cluster:
//! whoever is to have a sidecar gets it in the very update that gives the pod to the node.

use serde_json::{Value, json};
use tortie_model::{Container, Object, Pod};
use tortie_policy::{asks_for_sidecars, has_sidecar};

use super::{Action, Facts, merge};
use crate::plan::{NODE_NAME, images};
use crate::world::{Kind, World, is_terminating, list, text};

/// Says that a pod has its sidecar.
const STATUS: &str = "sidecar.istio.io/status";
/// Says whose logs are meant when nobody says so.
const MEANT: &str = "kubectl.kubernetes.io/default-container";
/// Says that a pod is to have none.
const REFUSED: &str = "sidecar.istio.io/inject";

/// Gives pods to the node, in the order in which they came.
pub(super) fn actions(world: &World, _: &Facts) -> Vec<Action> {
    let waiting = world.all(Kind::Pod).filter(|pod| is_waiting(&pod.raw));
    let mut waiting: Vec<_> = waiting.collect();
    waiting.sort_by_key(|pod| text(&pod.raw, "/metadata/resourceVersion").parse::<u64>().ok());
    let bound = waiting.into_iter().filter_map(|resource| match &resource.object {
        Object::Pod(pod) => Some(bound(world, pod, &resource.raw)),
        _ => None,
    });
    bound.map(|document| Action::Replace(Kind::Pod, document)).collect()
}

fn is_waiting(pod: &Value) -> bool {
    text(pod, "/spec/nodeName").is_empty() && !is_terminating(pod)
}

fn bound(world: &World, pod: &Pod, raw: &Value) -> Value {
    let mut document = raw.clone();
    merge(&mut document, &json!({"spec": {"nodeName": NODE_NAME}}));
    let namespace = world.get(Kind::Namespace, "", text(raw, "/metadata/namespace"));
    let injected = namespace.is_some_and(|found| asks_for_sidecars(found.metadata()));
    if has_sidecar(pod, injected) {
        inject(&mut document);
    } else {
        // The namespace may ask for sidecars later: what is said of a pod then must be what it has.
        let annotations = json!({"metadata": {"annotations": {(REFUSED): "false"}}});
        merge(&mut document, &annotations);
    }
    document
}

/// Adds the sidecar's containers to a pod, unless it has them.
pub(crate) fn inject(pod: &mut Value) {
    if list(pod, "/spec/containers").any(|one| text(one, "/image") == images::SIDECAR) {
        return;
    }
    let status = json!({"initContainers": ["tortie-authz"], "containers": ["istio-proxy"]});
    let first = list(pod, "/spec/containers").next().map_or("", |one| text(one, "/name"));
    let mut annotations = json!({(MEANT): first});
    merge(&mut annotations, pod.pointer("/metadata/annotations").unwrap_or(&json!({})));
    merge(&mut annotations, &json!({(STATUS): status.to_string()}));
    merge(pod, &json!({"metadata": {"annotations": annotations}}));
    // Beside the others for as long as they run, as init containers with this policy are.
    let authorizer =
        json!({"name": "tortie-authz", "image": images::AUTHORIZER, "restartPolicy": "Always"});
    push(pod, "initContainers", authorizer);
    push(pod, "containers", sidecar());
}

fn sidecar() -> Value {
    json!({"name": "istio-proxy", "image": images::SIDECAR})
}

/// The sidecar's Envoy as a container.
pub(crate) fn sidecar_container() -> Container {
    serde_json::from_value(sidecar()).unwrap_or_default()
}

fn push(pod: &mut Value, field: &str, container: Value) {
    let mut all: Vec<Value> = list(pod, &format!("/spec/{field}")).cloned().collect();
    match field {
        "initContainers" => all.insert(0, container),
        _ => all.push(container),
    }
    merge(pod, &json!({"spec": {(field): all}}));
}
