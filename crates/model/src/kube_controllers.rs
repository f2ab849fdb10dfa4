//! `projectcalico.org/v3` KubeControllersConfiguration, as far as it makes host endpoints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ObjectMeta;

/// Settings of Calico's controllers; what bears on policy is whether nodes get host endpoints. All
/// other fields are kept in the raw document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeControllersConfiguration {
    /// Name: `default`.
    pub metadata: ObjectMeta,
    /// The settings.
    pub spec: KubeControllersConfigurationSpec,
}

/// The settings of a KubeControllersConfiguration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeControllersConfigurationSpec {
    /// Settings by controller.
    pub controllers: Controllers,
}

/// Settings by controller; only the one of nodes is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Controllers {
    /// The controller of nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeController>,
}

/// The controller of nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeController {
    /// Host endpoints it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_endpoint: Option<AutoHostEndpoints>,
}

/// Host endpoints that are made for nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoHostEndpoints {
    /// `Enabled` or `Disabled` (when absent).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_create: Option<String>,
    /// Whether each node gets one for all interfaces: `Enabled` (when absent) or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_default_host_endpoint: Option<String>,
    /// Further ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<HostEndpointTemplate>,
}

/// A host endpoint for each node that a selector chooses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostEndpointTemplate {
    /// The middle of its name.
    pub generate_name: String,
    /// Only addresses of the node in these blocks are its own.
    #[serde(rename = "interfaceCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub interface_cidrs: Vec<String>,
    /// A regular expression of the interfaces it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_pattern: Option<String>,
    /// Nodes by label; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<String>,
    /// Labels besides those of the node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}
