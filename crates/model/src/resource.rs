//! A resource: the document as written, and a typed view of it.

use serde_json::Value;

use crate::{
    ClusterInformation, ClusterNetworkPolicy, EndpointSlice, FelixConfiguration, FieldError,
    GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint, KubeControllersConfiguration,
    KubernetesNetworkPolicy, Namespace, NetworkPolicy, NetworkSet, Node, ObjectMeta, Pod,
    PolicyTest, Profile, Secret, Service, ServiceAccount, StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy, StagedNetworkPolicy, Tier, TortieConfiguration, Workload,
    WorkloadEndpoint,
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

/// Defines [`Object`] and the access to its metadata, so that no kind is forgotten in either.
macro_rules! objects {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// The typed view of a resource.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Object {
            $($(#[$doc])* $kind(Box<$kind>),)*
        }

        impl Object {
            /// Metadata of the typed view, with the API server's defaults.
            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Object::$kind(object) => &object.metadata,)*
                }
            }

            /// The typed view as JSON, without `apiVersion` and `kind`, and without the fields of
            /// the document that it does not show.
            ///
            /// # Errors
            /// None in practice: every view is made of what JSON has.
            pub fn to_value(&self) -> serde_json::Result<Value> {
                match self {
                    $(Object::$kind(object) => serde_json::to_value(object),)*
                }
            }
        }
    };
}

objects! {
    /// `projectcalico.org/v3` GlobalNetworkPolicy.
    GlobalNetworkPolicy,
    /// `projectcalico.org/v3` NetworkPolicy.
    NetworkPolicy,
    /// `projectcalico.org/v3` StagedGlobalNetworkPolicy.
    StagedGlobalNetworkPolicy,
    /// `projectcalico.org/v3` StagedNetworkPolicy.
    StagedNetworkPolicy,
    /// `projectcalico.org/v3` StagedKubernetesNetworkPolicy.
    StagedKubernetesNetworkPolicy,
    /// `projectcalico.org/v3` Tier.
    Tier,
    /// `projectcalico.org/v3` GlobalNetworkSet.
    GlobalNetworkSet,
    /// `projectcalico.org/v3` NetworkSet.
    NetworkSet,
    /// `projectcalico.org/v3` HostEndpoint.
    HostEndpoint,
    /// `projectcalico.org/v3` WorkloadEndpoint.
    WorkloadEndpoint,
    /// `projectcalico.org/v3` Profile.
    Profile,
    /// `projectcalico.org/v3` FelixConfiguration.
    FelixConfiguration,
    /// `projectcalico.org/v3` ClusterInformation.
    ClusterInformation,
    /// `projectcalico.org/v3` KubeControllersConfiguration.
    KubeControllersConfiguration,
    /// `networking.k8s.io/v1` NetworkPolicy.
    KubernetesNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy.
    ClusterNetworkPolicy,
    /// `v1` Namespace.
    Namespace,
    /// `v1` ServiceAccount.
    ServiceAccount,
    /// `v1` Pod.
    Pod,
    /// `v1` Node.
    Node,
    /// A kind that stands for pods.
    Workload,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Secret.
    Secret,
    /// `tortie.dev/v1` TortieConfiguration.
    TortieConfiguration,
    /// `tortie.dev/v1` PolicyTest.
    PolicyTest,
    /// A kind without a typed view, of a group that may hold anything.
    Foreign,
}

/// A resource without a typed view: only its metadata is read.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Foreign {
    /// Name and namespace.
    pub metadata: ObjectMeta,
}

impl Resource {
    /// Metadata of the typed view, with the API server's defaults.
    pub fn metadata(&self) -> &ObjectMeta {
        self.object.metadata()
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
