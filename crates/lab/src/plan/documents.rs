//! What the agent reads: two documents of kind `List`, each replaced as a whole.
//!
//! Tiers and policies are one document, so that a change to several of them is seen whole or not
//! at all. Secrets are in neither, and neither are the environments of containers.

use serde_json::{Value, json};
use tortie_model::{Container, Object, Pod, PodIp, Resource};

use super::{NODE_NAME, PodPlan};

/// Whether a resource is a tier or a policy.
pub(crate) fn is_policy(resource: &Resource) -> bool {
    matches!(
        resource.object,
        Object::GlobalNetworkPolicy(_) | Object::NetworkPolicy(_) | Object::Tier(_)
    )
}

/// Documents in one.
pub(crate) fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A pod as the API server of a cluster would show it while it runs.
pub(super) fn pod(given: &Pod, plan: &PodPlan) -> Value {
    let mut pod = given.clone();
    let bare = |c: &Container| Container { env: Vec::new(), ..c.clone() };
    pod.spec.containers = pod.spec.containers.iter().map(bare).collect();
    pod.spec.init_containers = pod.spec.init_containers.iter().map(bare).collect();
    pod.metadata.namespace = Some(plan.id.namespace.clone());
    pod.spec.service_account_name = Some(plan.account.clone());
    pod.spec.node_name = Some(NODE_NAME.to_owned());
    pod.status.phase = Some("Running".to_owned());
    let addresses = plan.link.addresses.iter().map(ToString::to_string);
    pod.status.pod_ips = addresses.map(|ip| PodIp { ip }).collect();
    pod.status.pod_ip = pod.status.pod_ips.first().map(|first| first.ip.clone());
    object("Pod", serde_json::to_value(pod).unwrap_or_default())
}

/// A namespace or service account that nobody wrote but the lab has.
pub(super) fn bare(kind: &str, namespace: Option<&str>, name: &str) -> Value {
    object(kind, json!({"metadata": {"name": name, "namespace": namespace}}))
}

fn object(kind: &str, mut body: Value) -> Value {
    if let Some(body) = body.as_object_mut() {
        body.insert("apiVersion".to_owned(), "v1".into());
        body.insert("kind".to_owned(), kind.into());
    }
    body
}
