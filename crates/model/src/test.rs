//! `tortie.dev/v1` PolicyTest: expectations on flows.

use serde::{Deserialize, Serialize};

use crate::{IntOrString, ObjectMeta};

/// Expectations on flows, for `tortie test` and for the corpus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyTest {
    /// Name, if it has one.
    pub metadata: ObjectMeta,
    /// The expectations.
    pub cases: Vec<PolicyTestCase>,
}

/// One expectation on a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PolicyTestCase {
    /// What it is about; made from the two ends when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `namespace/pod` or an address.
    pub from: String,
    /// `namespace/pod` or an address.
    pub to: String,
    /// Destination port, by number or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrString>,
    /// `TCP` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// ICMP `TYPE` or `TYPE/CODE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<String>,
    /// Whether staged policies count as enforced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub staged: bool,
    /// Points in which Calico's behaviour is chosen for this case, besides those of the resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compat: Vec<String>,
    /// HTTP method; asks the receiver's sidecar, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// HTTP path; asks the receiver's sidecar, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// SPIFFE ID of the sender's certificate; asks the receiver's sidecar, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_identity: Option<String>,
    /// `allow` or `deny`.
    pub expect: String,
    /// What must decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ExpectedDecision>,
}

/// The decision expected; only the fields given are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ExpectedDecision {
    /// `egress`, `ingress` or `application`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<String>,
    /// Tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Kind of the policy, or `Profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Namespace of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the policy or profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `allow`, `deny`, `pass`, `tier-default` or `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Position of the rule, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
}
