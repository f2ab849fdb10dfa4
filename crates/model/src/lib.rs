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
mod decode;
mod error;
mod fields;
mod kubernetes;
mod mapping;
mod meta;
mod resource;
mod test;

pub use calico::{
    EntityRule, GlobalNetworkPolicy, HttpMatch, HttpPath, NetworkPolicy, PolicySpec, Rule,
    RuleMetadata, ServiceAccountMatch, ServiceMatch, Tier, TierSpec,
};
pub use decode::decode;
pub use error::FieldError;
pub use kubernetes::{
    Container, ContainerPort, EnvVar, Namespace, Pod, PodIp, PodSpec, PodStatus, Secret, Service,
    ServiceAccount, ServicePort, ServiceSpec, Volume, VolumeMount, Workload, WorkloadSpec,
};
pub use meta::{IntOrString, ObjectMeta};
pub use resource::{DecodeError, Foreign, Object, Resource};
pub use test::{ExpectedDecision, PolicyTest, PolicyTestCase};
