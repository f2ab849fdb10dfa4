//! What the lab tells the API server of itself: the kinds it adds, its node, and that it lives.

use std::path::Path;

use serde_json::{Value, json};

use crate::controllers::{conditions, merge};
use crate::plan::{NODE_NAME, NODE_V4};
use crate::world::Kind;

/// The annotation that says where a node's kubelet listens.
const KUBELET: &str = "tortie.dev/kubelet";
/// How long the node counts as alive after it was last heard of, in seconds.
const LEASE: u64 = 40;

/// The definitions of the kinds that the lab adds. What is in their objects is checked where it is
/// used.
pub(super) fn definitions() -> Vec<Value> {
    let definition = |kind: Kind, versions: &[&str]| {
        let [group, _, name, plural] = kind.names();
        let schema = json!({"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let versions: Vec<Value> = versions
            .iter()
            .enumerate()
            .map(|(index, version)| {
                json!({"name": version, "served": true, "storage": index == 0, "schema": schema})
            })
            .collect();
        let scope = if kind.is_namespaced() { "Namespaced" } else { "Cluster" };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": scope, "versions": versions,
                "names": {"kind": name, "plural": plural, "singular": name.to_lowercase()},
            },
        })
    };
    let istio = ["v1", "v1beta1", "v1alpha3"];
    vec![
        definition(Kind::Gateway, &istio),
        definition(Kind::VirtualService, &istio),
        definition(Kind::ImageMap, &["v1"]),
    ]
}

/// The node without its status.
pub(super) fn node(kubelet: &Path) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": NODE_NAME,
            "annotations": {(KUBELET): kubelet},
            "labels": {
                "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture(),
            },
        },
    })
}

/// How the node is, as of now.
pub(super) fn status(node: &Value, now: &str) -> Value {
    let version = concat!("v", env!("CARGO_PKG_VERSION"), "-tortie");
    let mut ready = conditions(node, &[("Ready", true, "LabReady", "the lab runs pods")], now);
    ready.iter_mut().for_each(|one| merge(one, &json!({ "lastHeartbeatTime": now })));
    json!({
        "addresses": [
            {"type": "InternalIP", "address": NODE_V4}, {"type": "Hostname", "address": NODE_NAME},
        ],
        "conditions": ready,
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": "linux", "osImage": "this machine's",
            "kernelVersion": kernel(), "kubeletVersion": version, "kubeProxyVersion": "",
            "containerRuntimeVersion": "tortie-lab://", "machineID": "", "systemUUID": "",
            "bootID": "",
        },
    })
}

/// The settings of every agent, which Calico has from the start too.
pub(super) fn felix() -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
        "metadata": {"name": "default"}, "spec": {},
    })
}

/// The sign of life.
pub(super) fn lease(now: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": NODE_NAME, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": NODE_NAME, "leaseDurationSeconds": LEASE, "renewTime": now},
    })
}

/// The name Kubernetes has for this machine's processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
