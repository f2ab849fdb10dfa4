//! `projectcalico.org/v3` policy: NetworkPolicy, GlobalNetworkPolicy, their staged kinds, Tier and
//! Profile.
//!
//! Field names and shapes are those of Calico's API. Enumerations stay text here, so that a wrong
//! word is reported with its meaning by `tortie-policy` rather than as a decoding failure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Conditions, IntOrString, ObjectMeta};

/// A policy for the endpoints of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it selects and says.
    pub spec: PolicySpec,
}

/// What a NetworkPolicy would be, not enforced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StagedNetworkPolicy {
    /// Name and namespace, those of its enforced twin.
    pub metadata: ObjectMeta,
    /// What it selects and says.
    pub spec: PolicySpec,
}

/// What a GlobalNetworkPolicy would be, not enforced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StagedGlobalNetworkPolicy {
    /// Name, that of its enforced twin.
    pub metadata: ObjectMeta,
    /// What it selects and says.
    pub spec: PolicySpec,
}

/// A policy for endpoints of the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GlobalNetworkPolicy {
    /// Name.
    pub metadata: ObjectMeta,
    /// What it selects and says.
    pub spec: PolicySpec,
}

/// The spec of both policy kinds; the fields only a GlobalNetworkPolicy may have say so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PolicySpec {
    /// Tier the policy belongs to; `default` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Position within the tier, ascending; absent sorts last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// Endpoints it applies to; empty means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Namespaces it applies to (global only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<String>,
    /// Service accounts it applies to, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_selector: Option<String>,
    /// Rules for traffic to the selected endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<Rule>>,
    /// Rules for traffic from the selected endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<Rule>>,
    /// Directions it governs: `Ingress`, `Egress`; inferred when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Hints to the dataplane, without effect on meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance_hints: Option<Vec<String>>,
    /// Enforce before connection tracking (global only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub do_not_track: Option<bool>,
    /// Enforce before destination NAT (global only).
    #[serde(rename = "preDNAT", skip_serializing_if = "Option::is_none")]
    pub pre_dnat: Option<bool>,
    /// Enforce on forwarded traffic of host endpoints (global only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_on_forward: Option<bool>,
    /// What staging means (staged kinds only): `Set` when absent, `Delete`, `Learn` or `Ignore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged_action: Option<String>,
}

/// One rule of a policy: every criterion given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rule {
    /// `Allow`, `Deny`, `Log` or `Pass`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// 4 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<i64>,
    /// Protocol name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<IntOrString>,
    /// Protocol that must not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<IntOrString>,
    /// ICMP type and code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// ICMP type and code that must not be used.
    #[serde(rename = "notICMP", skip_serializing_if = "Option::is_none")]
    pub not_icmp: Option<Icmp>,
    /// Who sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<EntityRule>,
    /// Who receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<EntityRule>,
    /// HTTP request criteria.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMatch>,
    /// Annotations of the rule, without effect on meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RuleMetadata>,
}

/// ICMP type and code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Icmp {
    /// Type, 0 to 254.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<i64>,
    /// Code, 0 to 255; needs a type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
}

/// Criteria on one end of a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EntityRule {
    /// Addresses, any of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nets: Option<Vec<String>>,
    /// Addresses, none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_nets: Option<Vec<String>>,
    /// Endpoints and network sets by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Endpoints and network sets that are excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_selector: Option<String>,
    /// Namespaces by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<String>,
    /// Kubernetes Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceMatch>,
    /// Ports, any of them: number, `"first:last"` or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<IntOrString>>,
    /// Ports, none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_ports: Option<Vec<IntOrString>>,
    /// Service accounts by name and label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountMatch>,
}

/// A Kubernetes Service as the end of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceMatch {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Service accounts by name (any of them) and by label selector; both must hold where given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceAccountMatch {
    /// Names, any of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Selector over the service account's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// HTTP methods and paths; both must hold where given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpMatch {
    /// Methods, any of them; `*` is any method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Paths, any of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<HttpPath>>,
}

/// One path criterion: exactly one of the two fields is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpPath {
    /// The whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// A prefix ending at a segment boundary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// Metadata of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RuleMetadata {
    /// Free annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A tier of policies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Tier {
    /// Name.
    pub metadata: ObjectMeta,
    /// Position and default.
    pub spec: TierSpec,
    /// Whether it is ready, as a server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Conditions>,
}

/// Position and default action of a tier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TierSpec {
    /// Position, ascending; 1,000,000 is filled in when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// `Deny` (when absent) or `Pass`: what happens to traffic no rule of the tier matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_action: Option<String>,
}

/// Labels and rules that endpoints refer to by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// Name.
    pub metadata: ObjectMeta,
    /// Labels and rules.
    pub spec: ProfileSpec,
}

/// Labels and rules of a profile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProfileSpec {
    /// Labels that endpoints with the profile inherit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels_to_apply: BTreeMap<String, String>,
    /// Rules for traffic to the endpoint, asked where no policy decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<Rule>>,
    /// Rules for traffic from the endpoint, asked where no policy decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<Rule>>,
}
