//! Workload endpoints: what policies select and what traffic comes from and goes to.

use std::net::IpAddr;

use smol_str::SmolStr;

use crate::{Account, EndpointId, Labels, Protocol};

/// A pod as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Namespace and pod name.
    pub id: EndpointId,
    /// Addresses, at most one of each family; none once the pod has finished.
    pub addresses: Vec<IpAddr>,
    /// Service account.
    pub account: Account,
    /// Own labels, generated ones, and those inherited from namespace (`pcns.`) and service
    /// account (`pcsa.`).
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
