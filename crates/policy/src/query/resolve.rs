//! Who the two ends of a flow are.

use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use super::{Party, PortName, Query, QueryError};
use crate::{Cluster, Endpoint, EndpointId, HostEndpoint};

/// One end of a flow with what is known of it.
pub(super) struct Resolved<'c> {
    pub(super) who: Who<'c>,
    /// The addresses it may use; none known for some host endpoints.
    pub(super) addresses: Vec<IpAddr>,
}

/// Who an end of a flow is.
pub(super) enum Who<'c> {
    Workload(&'c Arc<Endpoint>),
    Host(&'c Arc<HostEndpoint>),
    /// A node without a host endpoint.
    Node(&'c SmolStr),
    Stranger,
}

impl Resolved<'_> {
    pub(super) fn workload(&self) -> Option<&Arc<Endpoint>> {
        match self.who {
            Who::Workload(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    pub(super) fn node(&self) -> Option<&SmolStr> {
        match &self.who {
            Who::Workload(endpoint) => endpoint.node.as_ref(),
            Who::Host(host) => Some(&host.node),
            Who::Node(node) => Some(node),
            Who::Stranger => None,
        }
    }
}

pub(super) fn resolve<'c>(cluster: &'c Cluster, party: &Party) -> Result<Resolved<'c>, QueryError> {
    match party {
        Party::Address(address) => {
            let several = cluster.at(*address);
            if several.len() > 1 {
                let pods = several.iter().map(|e| e.id.clone()).collect();
                return Err(QueryError::Ambiguous { address: *address, pods });
            }
            let address = address.to_canonical();
            Ok(Resolved { who: who(cluster, address), addresses: vec![address] })
        }
        Party::Endpoint(id) => {
            let endpoint = cluster.endpoint(id).ok_or_else(|| QueryError::NoEndpoint {
                id: id.clone(),
                similar: similar(cluster, id),
            })?;
            if endpoint.addresses.is_empty() {
                return Err(QueryError::NoAddress(id.clone()));
            }
            let addresses = endpoint.addresses.clone();
            Ok(Resolved { who: Who::Workload(endpoint), addresses })
        }
        Party::HostEndpoint(name) => {
            let host =
                cluster.host(name).ok_or_else(|| QueryError::NoHostEndpoint(name.clone()))?;
            let addresses = match host.addresses.as_slice() {
                [] => cluster.node(&host.node).to_vec(),
                expected => expected.to_vec(),
            };
            Ok(Resolved { who: Who::Host(host), addresses })
        }
    }
}

/// Who uses an address: a workload before a host endpoint before a node.
fn who(cluster: &Cluster, address: IpAddr) -> Who<'_> {
    match (cluster.at(address), cluster.hosts_at(address), cluster.node_at(address)) {
        ([endpoint], ..) => Who::Workload(endpoint),
        ([], [host, ..], _) => Who::Host(host),
        ([], [], Some(node)) => match cluster.hosts().find(|h| h.node == *node) {
            Some(host) => Who::Host(host),
            None => Who::Node(node),
        },
        _ => Who::Stranger,
    }
}

/// The first pair of addresses of one family; unknown addresses fit any.
pub(super) fn common_family(
    from: &Resolved<'_>,
    to: &Resolved<'_>,
) -> Option<(Option<IpAddr>, Option<IpAddr>)> {
    match (from.addresses.as_slice(), to.addresses.as_slice()) {
        ([], to) => Some((None, to.first().copied())),
        (from, []) => Some((from.first().copied(), None)),
        (from, to) => from.iter().find_map(|a| {
            let same = to.iter().find(|b| a.is_ipv4() == b.is_ipv4());
            same.map(|b| (Some(*a), Some(*b)))
        }),
    }
}

/// The number of the destination port, if one is asked about.
pub(super) fn port(query: &Query, to: &Resolved<'_>) -> Result<Option<u16>, QueryError> {
    let name = match &query.port {
        None => return Ok(None),
        Some(PortName::Number(number)) => return Ok(Some(*number)),
        Some(PortName::Name(name)) => name,
    };
    let ports = match &to.who {
        Who::Workload(endpoint) => endpoint.ports.as_slice(),
        Who::Host(host) => host.ports.as_slice(),
        Who::Node(_) | Who::Stranger => &[],
    };
    let found = ports.iter().find(|p| p.name == *name && p.protocol == query.protocol);
    found.map(|p| Some(p.port)).ok_or_else(|| QueryError::NoNamedPort {
        to: query.to.to_string(),
        protocol: query.protocol,
        name: name.clone(),
    })
}

/// An endpoint whose name starts alike, or the same name in another namespace.
fn similar(cluster: &Cluster, id: &EndpointId) -> Option<EndpointId> {
    let alike = |e: &&Arc<Endpoint>| {
        (e.id.namespace == id.namespace && e.id.name.starts_with(id.name.as_str()))
            || e.id.name == id.name
    };
    cluster.endpoints().find(alike).map(|e| e.id.clone())
}
