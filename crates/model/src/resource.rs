//! A resource: the document as written, and a typed view of it.

use serde_json::Value;

use crate::{
    FieldError, GlobalNetworkPolicy, Namespace, NetworkPolicy, ObjectMeta, Pod, PolicyTest, Secret,
    Service, ServiceAccount, Tier, Workload,
};

/// One document of a manifest.
#[derive(Clone, PartialEq)]
pub struct Resource {
    /// `apiVersion` as written.
    pub api_version: String,
    /// `kind` as written.
    pub kind: String,
    /// The whole document as written.
    pub raw: Value,
    /// What Tortie understands of it.
    pub object: Object,
}

/// The typed view of a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// `projectcalico.org/v3` GlobalNetworkPolicy.
    GlobalNetworkPolicy(Box<GlobalNetworkPolicy>),
    /// `projectcalico.org/v3` NetworkPolicy.
    NetworkPolicy(Box<NetworkPolicy>),
    /// `projectcalico.org/v3` Tier.
    Tier(Box<Tier>),
    /// `v1` Namespace.
    Namespace(Box<Namespace>),
    /// `v1` ServiceAccount.
    ServiceAccount(Box<ServiceAccount>),
    /// `v1` Pod.
    Pod(Box<Pod>),
    /// A kind that stands for pods.
    Workload(Box<Workload>),
    /// `v1` Service.
    Service(Box<Service>),
    /// `v1` Secret.
    Secret(Box<Secret>),
    /// `tortie.dev/v1` PolicyTest.
    PolicyTest(Box<PolicyTest>),
    /// A kind without a typed view, of a group that may hold anything.
    Foreign(Box<Foreign>),
}

/// A resource without a typed view: only its metadata is read.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Foreign {
    /// Name and namespace.
    pub metadata: ObjectMeta,
}

impl Resource {
    /// Metadata of the typed view, with the API server's defaults.
    pub fn metadata(&self) -> &ObjectMeta {
        match &self.object {
            Object::GlobalNetworkPolicy(o) => &o.metadata,
            Object::NetworkPolicy(o) => &o.metadata,
            Object::Tier(o) => &o.metadata,
            Object::Namespace(o) => &o.metadata,
            Object::ServiceAccount(o) => &o.metadata,
            Object::Pod(o) => &o.metadata,
            Object::Workload(o) => &o.metadata,
            Object::Service(o) => &o.metadata,
            Object::Secret(o) => &o.metadata,
            Object::PolicyTest(o) => &o.metadata,
            Object::Foreign(o) => &o.metadata,
        }
    }

    /// API group: the part of `apiVersion` before the slash, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// Shows kind and name only: a document may hold secrets.
impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.metadata().name)
    }
}

/// A document that is no resource Tortie can accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// `kind` as far as it could be read, else empty.
    pub kind: String,
    /// Namespace as far as it could be read.
    pub namespace: Option<String>,
    /// Name as far as it could be read, else empty.
    pub name: String,
    /// Everything found wrong, in document order where known.
    pub errors: Vec<FieldError>,
}
