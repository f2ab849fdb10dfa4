//! What the agent reads: two documents of kind `List`, each replaced as a whole.
//!
//! What policy is, is one document, so that a change to several policies at once is seen whole or not
//! at all. Secrets are in neither, and neither are the environments of containers.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::Error;
use crate::files::replace;
use crate::state::LabDir;
use crate::world::{Kind, World, text};

/// Writes what has changed.
pub(super) fn write(dir: &LabDir, world: &World) -> Result<(), Error> {
    let around = [Kind::Namespace, Kind::ServiceAccount].into_iter();
    let around = around.flat_map(|kind| world.documents(kind).cloned());
    let placed = |pod: &&Value| !text(pod, "/spec/nodeName").is_empty();
    let pods = world.documents(Kind::Pod).filter(placed).map(bare);
    write_changed(&dir.cluster_file(), around.chain(pods).collect())?;
    let policies = Kind::POLICY.into_iter().flat_map(|kind| world.documents(kind).cloned());
    write_changed(&dir.policies_file(), policies.collect())
}

/// A pod without what is nobody's business.
fn bare(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["/spec/containers", "/spec/initContainers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            container.remove("env");
        }
    }
    let annotations = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    pod
}

fn write_changed(path: &Path, items: Vec<Value>) -> Result<(), Error> {
    let document = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    if fs::read(path).is_ok_and(|now| now == document.as_bytes()) {
        return Ok(());
    }
    replace(path, document.as_bytes(), 0o600)
}
