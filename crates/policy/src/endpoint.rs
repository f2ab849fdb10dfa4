//! What policy is about: workloads, host interfaces, sets of addresses, and settings of hosts.

use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::SmolStr;

use crate::{Account, EndpointId, Labels, Protocol, Tunnel};

/// A workload as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Namespace and name: of the pod, or of the WorkloadEndpoint.
    pub id: EndpointId,
    /// Host, if known.
    pub node: Option<SmolStr>,
    /// Addresses; none once the pod has finished.
    pub addresses: Vec<IpAddr>,
    /// Service account.
    pub account: Account,
    /// Own labels, generated ones, and those inherited from namespace (`pcns.`), service account
    /// (`pcsa.`) and profiles.
    pub labels: Labels,
    /// Declared ports that have a name.
    pub ports: Vec<NamedPort>,
    /// Names of its profiles, in order.
    pub profiles: Vec<SmolStr>,
    /// Whether a sidecar is known to enforce HTTP criteria for it (house rule 10).
    pub application_enforced: bool,
}

/// A declared port that rules may refer to by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Name.
    pub name: SmolStr,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub port: u16,
}

/// An interface of a host as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEndpoint {
    /// Name.
    pub name: SmolStr,
    /// Host.
    pub node: SmolStr,
    /// Which interface.
    pub interface: Interface,
    /// Addresses the interface is expected to have.
    pub addresses: Vec<IpAddr>,
    /// Own labels, and those inherited from profiles.
    pub labels: Labels,
    /// Ports that have a name.
    pub ports: Vec<NamedPort>,
    /// Names of its profiles, in order.
    pub profiles: Vec<SmolStr>,
}

/// Which interface of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface {
    /// Every one that no other host endpoint is about.
    All,
    /// One by name.
    Named(SmolStr),
    /// The one that has an expected address.
    ByAddress,
}

/// Addresses with labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSet {
    /// Namespace; absent for a global one.
    pub namespace: Option<SmolStr>,
    /// Name.
    pub name: SmolStr,
    /// Own labels, and those inherited from the namespace (`pcns.`).
    pub labels: Labels,
    /// The addresses.
    pub nets: Vec<IpNet>,
}

/// Settings of hosts that bear on policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// What becomes of traffic from a pod to its own host that the pod's policy allows.
    pub endpoint_to_host: EndpointToHost,
    /// Ports of the host that stay open to others whatever policy says.
    pub failsafe_inbound: Vec<Failsafe>,
    /// Ports of others that stay open to the host whatever policy says.
    pub failsafe_outbound: Vec<Failsafe>,
    /// Whether workloads may send VXLAN packets.
    pub vxlan_from_workloads: bool,
    /// Whether workloads may send IP in IP.
    pub ip_in_ip_from_workloads: bool,
    /// The UDP port of VXLAN.
    pub vxlan_port: u16,
    /// Tunnels the host is known to use to others.
    pub tunnels: Vec<Tunnel>,
    /// Below which directory sidecars get their policy; none is served if absent.
    pub policy_sync_prefix: Option<SmolStr>,
    /// What becomes of packets that policy denies.
    pub deny: DenyAction,
    /// What is logged of packets that a Log rule matches.
    pub log: LogSettings,
    /// What the names of workloads' interfaces begin with; not said if empty.
    pub interface_prefixes: Vec<SmolStr>,
    /// Interfaces whose addresses make them no host endpoint.
    pub interface_exclude: Vec<SmolStr>,
    /// Whether packets are dropped that belong to no connection and cannot begin one.
    pub drop_invalid: bool,
    /// The bits of packets' marks that are for policy, if it is said which.
    pub mark_mask: Option<u32>,
    /// Who reads what was decided about flows.
    pub flow_readers: FlowReaders,
}

/// Who reads what was decided about flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowReaders {
    /// A server that they are reported to.
    pub server: bool,
    /// Somebody on the node.
    pub local: bool,
    /// A file.
    pub file: bool,
}

impl FlowReaders {
    /// Whether there is one.
    pub fn any(self) -> bool {
        self.server || self.local || self.file
    }
}

/// What becomes of packets that policy denies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DenyAction {
    /// They are dropped without a word.
    #[default]
    Drop,
    /// The sender is told, where that is possible.
    Reject,
}

/// What is logged of packets that a Log rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// What lines begin with; `%t`, `%k`, `%n` and `%p` stand for the policy's tier, kind, name, and
    /// namespace with name.
    pub prefix: SmolStr,
    /// How many lines there may be; any number if absent.
    pub limit: Option<LogLimit>,
}

/// How many log lines there may be for each rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimit {
    /// Lines in each of [`LogLimit::seconds`].
    pub lines: u32,
    /// 1, 60, 3600 or 86400.
    pub seconds: u32,
    /// Lines beyond the rate that may come at once.
    pub burst: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { prefix: SmolStr::new_static("calico-packet"), limit: None }
    }
}

/// What becomes of connections that are open when a change of policy denies them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EstablishedFlows {
    /// They go on: policy is asked when a connection begins.
    #[default]
    Continue,
    /// They are cut.
    Cut,
}

/// What becomes of traffic from a pod to its own host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointToHost {
    /// It is dropped.
    Drop,
    /// It goes on to whatever else the host's firewall says: not for policy to refuse.
    Return,
    /// It is accepted.
    Accept,
}

/// A port that stays open whatever policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failsafe {
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// Only to or from these addresses.
    pub net: Option<IpNet>,
}

impl Failsafe {
    const fn new(protocol: Protocol, port: u16) -> Failsafe {
        Failsafe { protocol, port, net: None }
    }
}

/// Calico's defaults.
impl Default for HostSettings {
    fn default() -> Self {
        let tcp = |ports: &[u16]| {
            ports.iter().map(|p| Failsafe::new(Protocol::TCP, *p)).collect::<Vec<_>>()
        };
        let mut failsafe_inbound = tcp(&[22, 179, 2379, 2380, 5473, 6443, 6666, 6667]);
        failsafe_inbound.push(Failsafe::new(Protocol::UDP, 68));
        let mut failsafe_outbound = tcp(&[179, 2379, 2380, 5473, 6443, 6666, 6667]);
        failsafe_outbound.push(Failsafe::new(Protocol::UDP, 53));
        failsafe_outbound.push(Failsafe::new(Protocol::UDP, 67));
        HostSettings {
            endpoint_to_host: EndpointToHost::Drop,
            failsafe_inbound,
            failsafe_outbound,
            vxlan_from_workloads: false,
            ip_in_ip_from_workloads: false,
            vxlan_port: 4789,
            tunnels: Vec::new(),
            policy_sync_prefix: None,
            deny: DenyAction::default(),
            log: LogSettings::default(),
            interface_prefixes: Vec::new(),
            interface_exclude: vec![SmolStr::new_static("kube-ipvs0")],
            drop_invalid: true,
            mark_mask: None,
            flow_readers: FlowReaders::default(),
        }
    }
}
