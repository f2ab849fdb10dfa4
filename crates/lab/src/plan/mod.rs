//! What the lab runs of what the API server holds: pure, but for the look-up of programs, which is
//! passed in.
//!
//! The same code works out a pod when its time has come and checks manifests before anything is
//! started, so every mistake in them shows with its place.

mod address;
mod check;
mod container;
mod gateway;
mod hosts;
mod image;
mod inventory;
mod planner;
mod proxy;
mod service;
mod volume;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tortie_model::ObjectMeta;

pub(crate) use address::{
    Addresses, GATEWAY_V4, GATEWAY_V6, Link, NODE_MAC, NODE_V4, NODE_V6, SERVICE_RANGE_V4,
    SERVICE_RANGE_V6, cluster_addresses,
};
pub(crate) use check::check;
pub(crate) use container::{ContainerPlan, PATH as CONTAINER_PATH};
pub(crate) use gateway::{
    ACCOUNT as GATEWAY_ACCOUNT, LABELS as GATEWAY_LABELS, NAME as GATEWAY_NAME,
    NAMESPACE as GATEWAY_NAMESPACE,
};
pub(crate) use hosts::{hosts, resolv_conf};
pub(crate) use inventory::Inventory;
pub(crate) use planner::{Machine, Planner};
pub(crate) use proxy::{
    ProxyPlan, gateway as gateway_proxy, images, sidecar as sidecar_proxy, view,
};
#[cfg(test)]
pub(crate) use service::{Backend, PortPlan, Transport};
pub(crate) use service::{ServicePlan, families};
pub(crate) use volume::{Chosen, Item, MountPlan, VolumePlan, number_modes};

/// The name of the one node.
pub(crate) const NODE_NAME: &str = "node";
/// The trust domain of every lab.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";

/// What holds for a lab from its start to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    /// What is given to the API server at the start, in order.
    pub(crate) documents: Vec<Value>,
    /// Image maps that come before those of the API server.
    pub(crate) images: Vec<Value>,
    /// Tortie's executable.
    pub(crate) executable: PathBuf,
    /// Where Envoy is, if it was found.
    pub(crate) envoy: Option<PathBuf>,
    /// Whether sidecars serve clients without a certificate.
    pub(crate) permissive: bool,
    /// Lifetime of workload certificates, in seconds.
    pub(crate) certificate_seconds: u64,
    /// The API server's port for clients outside the lab.
    pub(crate) api_port: u16,
    /// Whether an ordinary user started the lab, so that there is one user id only.
    pub(crate) rootless: bool,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodPlan {
    /// Namespace and name.
    pub(crate) id: PodId,
    /// What tells it from others of its name, before and after it.
    pub(crate) uid: String,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Service account.
    pub(crate) account: String,
    /// Its place in the network.
    pub(crate) link: Link,
    /// When ended containers start again.
    pub(crate) restart: Restart,
    /// How long it may take to end when it is asked to, in seconds.
    pub(crate) grace: u64,
    /// Volumes.
    pub(crate) volumes: Vec<VolumePlan>,
    /// What runs before the others, one after the other.
    pub(crate) init: Vec<ContainerPlan>,
    /// What runs.
    pub(crate) containers: Vec<ContainerPlan>,
    /// Container ports by name.
    pub(crate) named_ports: BTreeMap<String, u16>,
    /// Its Envoy, if any.
    pub(crate) proxy: Option<ProxyPlan>,
}

/// A pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PodId {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// When an ended container starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Restart {
    /// Always.
    Always,
    /// Unless its exit status is 0.
    OnFailure,
    /// Never.
    Never,
}

impl PodPlan {
    /// Whether its traffic passes an Envoy with an authorizer.
    pub(crate) fn has_sidecar(&self) -> bool {
        matches!(self.proxy, Some(ProxyPlan::Sidecar { .. }))
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `NAMESPACE/NAME`.
impl FromStr for PodId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if is_label(namespace) && is_subdomain(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("`{text}` is not of the form NAMESPACE/POD")),
        }
    }
}

impl TryFrom<String> for PodId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PodId> for String {
    fn from(id: PodId) -> Self {
        id.to_string()
    }
}

/// The Secret that holds a service account's certificate, by Istio's rule.
pub(crate) fn certificate_secret(account: &str) -> String {
    format!("istio.{account}")
}

/// The namespace of an object that has one; the API server's default otherwise.
pub(crate) fn namespace_of(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or("default")
}

/// A DNS label: safe as a file name.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len()) && is_part(text)
}

/// A DNS subdomain: safe as a file name.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_ids() {
        let id: PodId = "default/customer-0".parse().unwrap();
        assert_eq!(id.to_string(), "default/customer-0");
        for bad in ["", "a", "a/", "/a", "a/../b", "a/b/c", "A/b"] {
            assert!(bad.parse::<PodId>().is_err(), "{bad}");
        }
    }
}
