//! What policies and endpoints are called.

use std::fmt;

use smol_str::SmolStr;
use tortie_model::{FieldError, ObjectMeta};

/// Labels of an endpoint, a namespace or a service account.
pub type Labels = std::collections::BTreeMap<SmolStr, SmolStr>;

/// The kind of a policy, part of its identity (house rule 12).
///
/// Kubernetes' own kinds have the names Calico gives them, which also order policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `GlobalNetworkPolicy`.
    GlobalNetworkPolicy,
    /// `NetworkPolicy` of `projectcalico.org/v3`.
    NetworkPolicy,
    /// `NetworkPolicy` of `networking.k8s.io/v1`.
    KubernetesNetworkPolicy,
    /// `ClusterNetworkPolicy` of `policy.networking.k8s.io`.
    KubernetesClusterNetworkPolicy,
    /// `StagedGlobalNetworkPolicy`.
    StagedGlobalNetworkPolicy,
    /// `StagedNetworkPolicy`.
    StagedNetworkPolicy,
    /// `StagedKubernetesNetworkPolicy`.
    StagedKubernetesNetworkPolicy,
}

impl PolicyKind {
    /// The kind in words of Calico's API.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyKind::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            PolicyKind::NetworkPolicy => "NetworkPolicy",
            PolicyKind::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
            PolicyKind::KubernetesClusterNetworkPolicy => "KubernetesClusterNetworkPolicy",
            PolicyKind::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            PolicyKind::StagedNetworkPolicy => "StagedNetworkPolicy",
            PolicyKind::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
        }
    }

    /// The kind a staged policy has once it is enforced; an enforced kind itself.
    pub fn enforced(self) -> PolicyKind {
        match self {
            PolicyKind::StagedGlobalNetworkPolicy => PolicyKind::GlobalNetworkPolicy,
            PolicyKind::StagedNetworkPolicy => PolicyKind::NetworkPolicy,
            PolicyKind::StagedKubernetesNetworkPolicy => PolicyKind::KubernetesNetworkPolicy,
            enforced => enforced,
        }
    }

    /// Whether policies of the kind are not enforced.
    pub fn is_staged(self) -> bool {
        self.enforced() != self
    }
}

/// Identity of a policy: kind, namespace (none for a global one) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Kind.
    pub kind: PolicyKind,
    /// Namespace.
    pub namespace: Option<SmolStr>,
    /// Name.
    pub name: SmolStr,
}

impl PolicyId {
    /// The text by which policies of equal order are sorted, bytewise: `name/namespace/kind`.
    ///
    /// It is the joined text that is compared, so `a-b` precedes `a` (`-` sorts before `/`). A
    /// staged policy sorts where it will be once it is enforced.
    pub fn tie_key(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        format!("{}/{namespace}/{}", self.name, self.kind.enforced().as_str())
    }

    /// The policy that a staged one would replace; an enforced one itself.
    pub fn enforced(&self) -> PolicyId {
        PolicyId { kind: self.kind.enforced(), ..self.clone() }
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.as_str(), self.name),
            None => write!(f, "{} {}", self.kind.as_str(), self.name),
        }
    }
}

/// Identity of a workload endpoint: namespace and pod name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId {
    /// Namespace.
    pub namespace: SmolStr,
    /// Pod name.
    pub name: SmolStr,
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Text that is no `namespace/pod`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form `namespace/pod`")]
pub struct InvalidEndpointId(String);

impl std::str::FromStr for EndpointId {
    type Err = InvalidEndpointId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(EndpointId { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(InvalidEndpointId(text.to_owned())),
        }
    }
}

/// A Kubernetes service account: namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// Namespace.
    pub namespace: SmolStr,
    /// Name.
    pub name: SmolStr,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One label of a DNS name: up to 63 of `a-z`, `0-9` and `-`, which is neither first nor last.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let charset = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(charset)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS name of up to 253 bytes.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Refuses a namespace that no API server would have.
pub(crate) fn check_namespace(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) {
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    if !is_dns_label(namespace) {
        errors.push(FieldError::new("metadata.namespace", not_a_label(namespace)));
    }
}

/// Refuses a name of a namespace that no API server would have.
pub(crate) fn check_namespace_name(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) {
    if !is_dns_label(&metadata.name) {
        errors.push(FieldError::new("metadata.name", not_a_label(&metadata.name)));
    }
}

pub(crate) fn not_a_label(text: &str) -> String {
    format!("`{text}` is not one DNS label of at most 63 bytes")
}

/// Refuses a name, and a namespace, that no API server would have.
pub(crate) fn check_names(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) {
    check_namespace(metadata, errors);
    if !is_dns_subdomain(&metadata.name) {
        let reason = format!("`{}` is not a DNS name of at most 253 bytes", metadata.name);
        let hint = "use lower-case letters, digits, `-` and `.`";
        errors.push(FieldError::new("metadata.name", reason).hint(hint));
    }
}
