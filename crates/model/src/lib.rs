//! Resources exactly as on the wire: `projectcalico.org/v3` policy and the Kubernetes kinds
//! Tortie reads, with the defaults an API server would fill in.
//!
//! A [`Resource`] keeps the document it came from ([`Resource::raw`]), so nothing a user wrote is
//! lost, beside a typed view of the fields Tortie uses. The views say what a document *contains*;
//! what it *means*, and whether it makes sense, is decided in `tortie-policy`.
//!
//! Unknown fields are errors inside policy and tier specs, where ignoring one could open a hole,
//! and are kept untouched everywhere else.

mod calico;
mod config;
pub mod crd;
mod decode;
mod endpoints;
mod error;
mod fields;
mod kube_controllers;
mod kubernetes;
mod mapping;
mod meta;
mod network_policy;
mod resource;
mod test;

pub use calico::{
    EntityRule, GlobalNetworkPolicy, HttpMatch, HttpPath, Icmp, NetworkPolicy, PolicySpec, Profile,
    ProfileSpec, Rule, RuleMetadata, ServiceAccountMatch, ServiceMatch, StagedGlobalNetworkPolicy,
    StagedNetworkPolicy, Tier, TierSpec,
};
pub use config::{
    ClusterInformation, ClusterInformationSpec, FelixConfiguration, FelixConfigurationSpec,
    ProtoPort, TortieConfiguration, TortieConfigurationSpec,
};
pub use decode::{decode, items};
pub use endpoints::{
    EndpointPort, GlobalNetworkSet, HostEndpoint, HostEndpointSpec, IpNat, NetworkSet,
    NetworkSetSpec, WorkloadEndpoint, WorkloadEndpointPort, WorkloadEndpointSpec,
};
pub use error::FieldError;
pub use fields::nearest;
pub use kube_controllers::{
    AutoHostEndpoints, Controllers, HostEndpointTemplate, KubeControllersConfiguration,
    KubeControllersConfigurationSpec, NodeController,
};
pub use kubernetes::{
    Container, ContainerPort, EndpointSlice, EnvVar, Namespace, Node, NodeAddress, NodeStatus, Pod,
    PodIp, PodSpec, PodStatus, Secret, Service, ServiceAccount, ServicePort, ServiceSpec,
    SliceEndpoint, SlicePort, Volume, VolumeMount, Workload, WorkloadSpec,
};
pub use meta::{Condition, Conditions, IntOrString, ObjectMeta};
pub use network_policy::{
    ClusterEgressRule, ClusterIngressRule, ClusterNetworkPolicy, ClusterNetworkPolicySpec,
    ClusterPeer, ClusterPort, ClusterPortRange, ClusterPorts, ClusterProtocol, ClusterSubject,
    IpBlock, KubernetesEgressRule, KubernetesIngressRule, KubernetesNetworkPolicy,
    KubernetesNetworkPolicySpec, KubernetesPeer, KubernetesPort, LabelRequirement, LabelSelector,
    NamespacedPods, StagedKubernetesNetworkPolicy,
};
pub use resource::{DecodeError, Foreign, Object, Resource};
pub use test::{ExpectedDecision, PolicyTest, PolicyTestCase};
