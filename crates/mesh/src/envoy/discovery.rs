//! What changes in a running Envoy: listeners and clusters in files that it watches.
//!
//! A change counts when a file is renamed into the directory, which must hold nothing else.

use std::path::Path;

use serde_json::{Value, json};

use super::bootstrap::typed;

/// The file of listeners.
pub(super) const LISTENERS: &str = "listeners.json";
/// The file of clusters.
pub(super) const CLUSTERS: &str = "clusters.json";

/// A file of the discovery directory: its name, and what it holds.
pub type DiscoveryFile = (&'static str, Value);

/// Listeners as a file.
pub(super) fn listeners(all: Vec<Value>) -> DiscoveryFile {
    (LISTENERS, response("envoy.config.listener.v3.Listener", all))
}

/// Clusters as a file.
pub(super) fn clusters(all: Vec<Value>) -> DiscoveryFile {
    (CLUSTERS, response("envoy.config.cluster.v3.Cluster", all))
}

fn response(kind: &str, resources: Vec<Value>) -> Value {
    let resources: Vec<Value> = resources.into_iter().map(|one| typed(kind, one)).collect();
    json!({ "resources": resources })
}

/// Where an Envoy finds one of the files.
pub(super) fn source(dir: &Path, file: &str) -> Value {
    json!({
        "resource_api_version": "V3",
        "path_config_source": {"path": dir.join(file), "watched_directory": {"path": dir}},
    })
}
