//! Cluster-wide settings that bear on policy: FelixConfiguration, ClusterInformation and our own
//! TortieConfiguration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IntOrString, ObjectMeta};

/// `projectcalico.org/v3` FelixConfiguration: the fields that bear on policy; all others are kept
/// in the raw document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FelixConfiguration {
    /// Name: `default`, `node.<name>`, or any other with a `nodeSelector`.
    pub metadata: ObjectMeta,
    /// The settings.
    pub spec: FelixConfigurationSpec,
}

/// The settings of a FelixConfiguration that bear on policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FelixConfigurationSpec {
    /// Nodes by label: the object counts for these alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<String>,
    /// Where per-workload Policy Sync sockets are; empty switches them off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_sync_path_prefix: Option<String>,
    /// `Drop` (when absent), `Return` or `Accept`: pod to own host after the pod's egress policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_endpoint_to_host_action: Option<String>,
    /// Ports of the host that policy never closes to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failsafe_inbound_host_ports: Option<Vec<ProtoPort>>,
    /// Ports of others that policy never closes to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failsafe_outbound_host_ports: Option<Vec<ProtoPort>>,
    /// Start of the names of workload interfaces; `cali` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_prefix: Option<String>,
    /// Interfaces whose addresses make them no host endpoint, as a list with commas; `kube-ipvs0` when
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_exclude: Option<String>,
    /// Whether packets that belong to no connection are asked about as others are, rather than
    /// dropped; not when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_conntrack_invalid_check: Option<bool>,
    /// The bits of packets' marks that are for policy; `0xffff0000` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nftables_mark_mask: Option<i64>,
    /// The same, where the field before is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iptables_mark_mask: Option<i64>,
    /// `Drop` (when absent): policy is always in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_action_override: Option<String>,
    /// Where flows are reported to; decisions are recorded if this is not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_logs_goldmane_server: Option<String>,
    /// `Enabled` or `Disabled` (when absent): whether somebody on the node reads flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_logs_local_reporter: Option<String>,
    /// Whether flows are written to files; not when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_logs_file_enabled: Option<bool>,
    /// Text of log lines; `calico-packet` when absent. `%t` stands for the tier, `%k` for the kind of
    /// policy, `%n` for its name, `%p` for namespace and name, `%%` for `%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_prefix: Option<String>,
    /// How many log lines there may be: a number, `/`, and `second`, `minute`, `hour` or `day`; any
    /// number when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_action_rate_limit: Option<String>,
    /// How many more there may be at once; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_action_rate_limit_burst: Option<i64>,
    /// `Drop` (when absent) or `Reject`: what becomes of packets that policy denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nftables_filter_deny_action: Option<String>,
    /// Whether workloads may send VXLAN packets; not when absent.
    #[serde(rename = "allowVXLANPacketsFromWorkloads", skip_serializing_if = "Option::is_none")]
    pub allow_vxlan_packets_from_workloads: Option<bool>,
    /// Whether workloads may send IP in IP; not when absent.
    #[serde(rename = "allowIPIPPacketsFromWorkloads", skip_serializing_if = "Option::is_none")]
    pub allow_ipip_packets_from_workloads: Option<bool>,
    /// Whether nodes use IP in IP among each other; found out from address pools when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipip_enabled: Option<bool>,
    /// Whether nodes use VXLAN among each other; found out from address pools when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan_enabled: Option<bool>,
    /// The UDP port of VXLAN; 4789 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan_port: Option<i64>,
    /// Whether nodes use WireGuard among each other over IPv4; not when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard_enabled: Option<bool>,
    /// The same over IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard_enabled_v6: Option<bool>,
    /// The UDP port of WireGuard over IPv4; 51820 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard_listening_port: Option<i64>,
    /// The same over IPv6; 51821 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard_listening_port_v6: Option<i64>,
}

/// A port that stays open whatever policy says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProtoPort {
    /// `TCP` when absent, `UDP` or `SCTP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<IntOrString>,
    /// Number.
    pub port: i64,
    /// Only to or from these addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<String>,
}

/// `projectcalico.org/v3` ClusterInformation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInformation {
    /// Name: `default`.
    pub metadata: ObjectMeta,
    /// What is known of the cluster.
    pub spec: ClusterInformationSpec,
}

/// What is known of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ClusterInformationSpec {
    /// Id of the cluster.
    #[serde(rename = "clusterGUID", skip_serializing_if = "Option::is_none")]
    pub cluster_guid: Option<String>,
    /// Comma list of what it is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_type: Option<String>,
    /// Version of Calico.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calico_version: Option<String>,
    /// False while the datastore is being migrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datastore_ready: Option<bool>,
    /// Product variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// `tortie.dev/v1` TortieConfiguration: what Calico's kinds have no field for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TortieConfiguration {
    /// Name: `default`.
    pub metadata: ObjectMeta,
    /// The settings.
    pub spec: TortieConfigurationSpec,
}

/// The settings of a TortieConfiguration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TortieConfigurationSpec {
    /// Names of the points in which Calico's behaviour is chosen over the strict one; `calico` for
    /// all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compat: Vec<String>,
    /// What becomes of connections that are open when a change of policy denies them: `Continue`
    /// (when absent) or `Cut`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub established_flows: Option<String>,
    /// Trust domain of the mesh; `cluster.local` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Trust domains that are believed besides it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_domain_aliases: Vec<String>,
}
