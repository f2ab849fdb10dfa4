//! Who reaches whom: the verdicts between all pairs of workloads.

use std::sync::Arc;

use crate::query::{Gate, gates};
use crate::{
    Address, Applicable, Cluster, Direction, Endpoint, Flow, HttpAtNetwork, Protocol, Step,
    TraceEntry, Word, evaluate,
};

/// A protocol with a port, as in `tcp/80`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSpec {
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
}

/// Text that is no `protocol/port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form `tcp/80`")]
pub struct InvalidPortSpec(String);

impl std::str::FromStr for PortSpec {
    type Err = InvalidPortSpec;

    fn from_str(text: &str) -> Result<PortSpec, InvalidPortSpec> {
        let parsed = text.split_once('/').and_then(|(protocol, port)| {
            let protocol = Protocol::parse(protocol).filter(|p| p.has_ports())?;
            Some(PortSpec { protocol, port: port.parse().ok().filter(|p| *p > 0)? })
        });
        parsed.ok_or_else(|| InvalidPortSpec(text.to_owned()))
    }
}

impl std::fmt::Display for PortSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.protocol.to_string().to_lowercase(), self.port)
    }
}

/// What comes of one flow between two workloads, for any source port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Whether it may pass.
    pub allowed: bool,
    /// Whether that rests on a rule with HTTP criteria, so that a sidecar has the last word.
    pub conditional: bool,
    /// What decided: the first leg that denies, else the receiver's; absent from a pod to itself.
    pub decided_by: Option<TraceEntry>,
}

/// A workload with everything that is the same for all its flows.
struct Party<'c> {
    endpoint: &'c Arc<Endpoint>,
    egress: Applicable,
    ingress: Applicable,
    /// Host endpoints on the way to other hosts, and from them.
    leaving: Vec<Gate<'c>>,
    entering: Vec<Gate<'c>>,
}

impl Party<'_> {
    fn on_one_node(&self, other: &Party<'_>) -> bool {
        self.endpoint.node.is_some() && self.endpoint.node == other.endpoint.node
    }
}

/// The workloads of a cluster, ready to be asked about every pair.
pub struct Matrix<'c> {
    cluster: &'c Cluster,
    parties: Vec<Party<'c>>,
}

impl<'c> Matrix<'c> {
    /// All workloads that have an address, by namespace and name.
    pub fn new(cluster: &'c Cluster) -> Matrix<'c> {
        let party = |endpoint: &'c Arc<Endpoint>| Party {
            egress: cluster.applicable(endpoint, Direction::Egress),
            ingress: cluster.applicable(endpoint, Direction::Ingress),
            leaving: gates(cluster, endpoint, Direction::Egress),
            entering: gates(cluster, endpoint, Direction::Ingress),
            endpoint,
        };
        let endpoints = cluster.endpoints().filter(|e| !e.addresses.is_empty());
        Matrix { cluster, parties: endpoints.map(party).collect() }
    }

    /// How many workloads there are.
    pub fn len(&self) -> usize {
        self.parties.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parties.is_empty()
    }

    /// The workloads, in the order of rows and columns.
    pub fn endpoints(&self) -> impl Iterator<Item = &'c Arc<Endpoint>> + '_ {
        self.parties.iter().map(|party| party.endpoint)
    }

    /// One row: from the workload at a position to every workload. Empty if there is no such row.
    pub fn row(&self, from: usize, to: PortSpec) -> Vec<Cell> {
        let Some(source) = self.parties.get(from) else { return Vec::new() };
        let cells = self.parties.iter().enumerate();
        cells.map(|(column, party)| self.cell(source, party, from == column, to)).collect()
    }

    fn cell(&self, from: &Party<'_>, to: &Party<'_>, same: bool, port: PortSpec) -> Cell {
        if same {
            return Cell { allowed: true, conditional: false, decided_by: None };
        }
        let common = from.endpoint.addresses.iter().find_map(|a| {
            to.endpoint.addresses.iter().find(|b| a.is_ipv4() == b.is_ipv4()).map(|b| (*a, *b))
        });
        let Some((source, destination)) = common else {
            return Cell { allowed: false, conditional: false, decided_by: None };
        };
        let flow = |http| Flow {
            cluster: self.cluster,
            source: Address { ip: Some(source), port: None },
            destination: Address::new(destination, port.port),
            protocol: port.protocol,
            icmp: None,
            http,
        };
        let egress = evaluate(&from.egress, &flow(HttpAtNetwork::Unenforced));
        if !egress.allowed {
            let decided_by = egress.trace.last().map(TraceEntry::from);
            return Cell { allowed: false, conditional: false, decided_by };
        }
        if !from.on_one_node(to) {
            let gates = from.leaving.iter().chain(&to.entering);
            let mut legs = gates.map(|g| g.leg(self.cluster, &flow(HttpAtNetwork::Unenforced)));
            if let Some(leg) = legs.find(|leg| leg.verdict == Word::Deny) {
                let decided_by = leg.trace.last().cloned();
                return Cell { allowed: false, conditional: false, decided_by };
            }
        }
        let enforced = to.endpoint.application_enforced;
        let http = if enforced { HttpAtNetwork::Deferred } else { HttpAtNetwork::Unenforced };
        let ingress = evaluate(&to.ingress, &flow(http));
        let conditional = match ingress.trace.last() {
            Some(Step::Rule { policy, index, .. }) => {
                policy.ingress.get(*index).is_some_and(|rule| rule.http.is_some())
            }
            _ => false,
        };
        Cell {
            allowed: ingress.allowed,
            conditional: ingress.allowed && conditional,
            decided_by: ingress.trace.last().map(TraceEntry::from),
        }
    }
}
