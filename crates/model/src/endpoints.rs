//! `projectcalico.org/v3` sets and endpoints: GlobalNetworkSet, NetworkSet, HostEndpoint and
//! WorkloadEndpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IntOrString, ObjectMeta};

/// Addresses with labels, for the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GlobalNetworkSet {
    /// Name and the labels that selectors match.
    pub metadata: ObjectMeta,
    /// The addresses.
    pub spec: NetworkSetSpec,
}

/// Addresses with labels, of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkSet {
    /// Name, namespace and the labels that selectors match.
    pub metadata: ObjectMeta,
    /// The addresses.
    pub spec: NetworkSetSpec,
}

/// The addresses of a network set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NetworkSetSpec {
    /// CIDRs or addresses; bits beyond the prefix may be set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<String>,
}

/// An interface of a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostEndpoint {
    /// Name and the labels that selectors match.
    pub metadata: ObjectMeta,
    /// Which interface.
    pub spec: HostEndpointSpec,
}

/// Which interface of which host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HostEndpointSpec {
    /// Host.
    pub node: String,
    /// Interface, `*` for all that no other host endpoint names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// Addresses of the interface.
    #[serde(rename = "expectedIPs", skip_serializing_if = "Vec::is_empty")]
    pub expected_ips: Vec<String>,
    /// Profiles, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Ports that rules may refer to by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// A port with a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EndpointPort {
    /// Name.
    pub name: String,
    /// Protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<IntOrString>,
    /// Number.
    pub port: i64,
}

/// A workload that no pod describes: a VM or a container of another orchestrator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEndpoint {
    /// Name, namespace and the labels that selectors match.
    pub metadata: ObjectMeta,
    /// What and where it is.
    pub spec: WorkloadEndpointSpec,
}

/// What and where a workload is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct WorkloadEndpointSpec {
    /// What made it: `k8s`, `cni`, `libnetwork`, `openstack`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orchestrator: String,
    /// Its name for the orchestrator.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// Host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Container.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Endpoint of the workload.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Service account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// Addresses, each a whole-length CIDR.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_networks: Vec<String>,
    /// Addresses that are translated to these.
    #[serde(rename = "ipNATs", skip_serializing_if = "Vec::is_empty")]
    pub ip_nats: Vec<IpNat>,
    /// IPv4 gateway.
    #[serde(rename = "ipv4Gateway", skip_serializing_if = "String::is_empty")]
    pub ipv4_gateway: String,
    /// IPv6 gateway.
    #[serde(rename = "ipv6Gateway", skip_serializing_if = "String::is_empty")]
    pub ipv6_gateway: String,
    /// Profiles, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Interface on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// Hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Ports that rules may refer to by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<WorkloadEndpointPort>,
    /// Sources it may use besides its own addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_spoofed_source_prefixes: Vec<String>,
    /// Rate limits, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<serde_json::Value>,
}

/// An address that is translated to one of a workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IpNat {
    /// Address of the workload.
    #[serde(rename = "internalIP")]
    pub internal_ip: String,
    /// Address others use.
    #[serde(rename = "externalIP")]
    pub external_ip: String,
}

/// A port of a workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct WorkloadEndpointPort {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<IntOrString>,
    /// Number.
    pub port: i64,
    /// Port on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<i64>,
    /// Address on the host.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
}
