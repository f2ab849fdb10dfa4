//! What a lab runs, worked out from manifests before anything is started.
//!
//! Building a plan is pure, but for the look-up of programs which is passed in. Every mistake in
//! the input shows here, with its place; what remains can only fail because the machine refuses.

mod address;
mod build;
mod container;
mod documents;
mod gateway;
mod hosts;
mod image;
mod inventory;
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
    GATEWAY_V4, GATEWAY_V6, Link, NODE_MAC, NODE_V4, NODE_V6, SERVICE_RANGE_V4, SERVICE_RANGE_V6,
};
pub(crate) use build::{Inputs, build};
pub(crate) use container::{ContainerPlan, PATH as CONTAINER_PATH};
pub(crate) use documents::{is_policy, list};
pub(crate) use proxy::{ProxyPlan, view};
pub(crate) use service::ServicePlan;
#[cfg(test)]
pub(crate) use service::{Backend, PortPlan, Transport};
pub(crate) use volume::{Item, MountPlan, SecretVolume, VolumePlan, VolumeSource};

/// The name of the one node.
pub(crate) const NODE_NAME: &str = "node";
/// The trust domain of every lab.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";

/// Everything a lab runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// Pods, the ingress gateway's last.
    pub(crate) pods: Vec<PodPlan>,
    /// Services.
    pub(crate) services: Vec<ServicePlan>,
    /// Service accounts, each of which gets a certificate.
    pub(crate) accounts: Vec<Account>,
    /// Secrets from the manifests.
    pub(crate) secrets: Vec<SecretPlan>,
    /// What the agent reads: the cluster, without policies and without Secrets.
    pub(crate) cluster: Value,
    /// What the authorizers read: tiers and policies at the start.
    pub(crate) policies: Value,
    /// Tortie's executable.
    pub(crate) executable: PathBuf,
    /// Where Envoy is, if anything needs it.
    pub(crate) envoy: Option<PathBuf>,
    /// Lifetime of workload certificates, in seconds.
    pub(crate) certificate_seconds: u64,
    /// The gateway's port for clients outside the lab.
    pub(crate) gateway_port: Option<u16>,
    /// Whether an ordinary user started the lab, so that there is one user id only.
    pub(crate) rootless: bool,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodPlan {
    /// Namespace and name.
    pub(crate) id: PodId,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Service account.
    pub(crate) account: String,
    /// Its place in the network.
    pub(crate) link: Link,
    /// When ended containers start again.
    pub(crate) restart: Restart,
    /// Volumes.
    pub(crate) volumes: Vec<VolumePlan>,
    /// What runs before the others, one after the other.
    pub(crate) init: Vec<ContainerPlan>,
    /// What runs.
    pub(crate) containers: Vec<ContainerPlan>,
    /// Container ports by name.
    pub(crate) named_ports: BTreeMap<String, u16>,
    /// `/etc/hosts`.
    pub(crate) hosts: String,
    /// `/etc/resolv.conf`.
    pub(crate) resolv_conf: String,
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A Secret from the manifests.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretPlan {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) type_: String,
    /// Contents by key.
    pub(crate) data: BTreeMap<String, Vec<u8>>,
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

/// What a secret holds never reaches a log.
impl fmt::Debug for SecretPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}", self.namespace, self.name)
    }
}

impl PodPlan {
    /// Whether its traffic passes an Envoy with an authorizer.
    pub(crate) fn has_sidecar(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.redirect.is_some())
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
fn namespace_of(metadata: &ObjectMeta) -> &str {
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
