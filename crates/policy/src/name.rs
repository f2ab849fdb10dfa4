//! What policies and endpoints are called.

use std::fmt;

use smol_str::SmolStr;
use tortie_model::{FieldError, ObjectMeta};

/// Labels or annotations as written.
type TextMap = std::collections::BTreeMap<String, String>;

/// Most bytes that the keys and values of an object's annotations have together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// What one DNS label is made of.
pub(crate) const LABEL_HINT: &str = "use lower-case letters, digits and `-`";

const KEY_HINT: &str =
    "a key is up to 63 letters, digits, `-`, `_` and `.`, after an optional DNS name and `/`";

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
        let error = FieldError::new("metadata.namespace", not_a_label(namespace));
        errors.push(error.hint(LABEL_HINT));
    }
}

/// Refuses a name of a namespace that no API server would have.
pub(crate) fn check_namespace_name(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) {
    if !is_dns_label(&metadata.name) {
        let error = FieldError::new("metadata.name", not_a_label(&metadata.name));
        errors.push(error.hint(LABEL_HINT));
    }
    check_texts(metadata, errors);
}

/// A key of a label or annotation as Kubernetes has them: a name of up to 63 bytes, which may stand
/// behind a DNS name and a slash.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && !name.is_empty() && is_value(name),
        None => !text.is_empty() && is_value(text),
    }
}

/// A value of a label as Kubernetes has them: empty, or up to 63 letters, digits, `-`, `_` and `.`,
/// with a letter or digit at either end.
fn is_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= 63
        && text.bytes().all(inner)
        && ends.iter().flatten().all(u8::is_ascii_alphanumeric)
}

/// Why a text is no key of a label.
pub(crate) fn bad_key(key: &str) -> Option<FieldError> {
    let error = || FieldError::new("", format!("`{key}` is not the key of a label")).hint(KEY_HINT);
    (!is_key(key)).then(error)
}

/// Why a text is no value of a label.
pub(crate) fn bad_value(key: &str, value: &str) -> Option<FieldError> {
    let reason = || format!("`{value}` of label `{key}` is not the value of a label");
    let hint = "a value is up to 63 letters, digits, `-`, `_` and `.`, or empty";
    (!is_value(value)).then(|| FieldError::new("", reason()).hint(hint))
}

/// Refuses labels that no API server would have.
pub(crate) fn check_labels(field: &str, labels: &TextMap, errors: &mut Vec<FieldError>) {
    let found = labels.iter().flat_map(|(key, value)| [bad_key(key), bad_value(key, value)]);
    errors.extend(found.flatten().map(|error| FieldError { field: field.into(), ..error }));
}

/// Refuses annotations that no API server would have.
pub(crate) fn check_annotations(field: &str, annotations: &TextMap, errors: &mut Vec<FieldError>) {
    for key in annotations.keys().filter(|key| !is_key(&key.to_lowercase())) {
        let reason = format!("`{key}` is not the key of an annotation");
        errors.push(FieldError::new(field, reason).hint(KEY_HINT));
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        let reason = format!("annotations of {size} bytes in all, more than {MAX_ANNOTATIONS}");
        errors.push(FieldError::new(field, reason).hint("keep large texts in a ConfigMap"));
    }
}

/// Refuses labels and annotations of an object that no API server would have.
pub(crate) fn check_texts(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) {
    check_labels("metadata.labels", &metadata.labels, errors);
    check_annotations("metadata.annotations", &metadata.annotations, errors);
}

pub(crate) fn not_a_label(text: &str) -> String {
    format!("`{text}` is not one DNS label of at most 63 bytes")
}

/// Refuses a name, a namespace, labels and annotations that no API server would have.
pub(crate) fn check_names(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) {
    check_namespace(metadata, errors);
    check_texts(metadata, errors);
    if !is_dns_subdomain(&metadata.name) {
        let reason = format!("`{}` is not a DNS name of at most 253 bytes", metadata.name);
        let hint = "use lower-case letters, digits, `-` and `.`";
        errors.push(FieldError::new("metadata.name", reason).hint(hint));
    }
}
