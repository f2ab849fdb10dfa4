//! Who reaches whom: the verdicts between all pairs of workloads.

use std::net::IpAddr;
use std::sync::Arc;

use crate::query::{Gate, decided_before, gates, http_at};
use crate::{
    Address, BeforePolicy, Cluster, Decider, Direction, Endpoint, Engine, Flow, HttpAtNetwork,
    Plane, Protocol, Step, TraceEntry,
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
#[derive(Debug, Clone, Copy)]
pub struct Cell<'m> {
    /// Whether it may pass.
    pub allowed: bool,
    /// Whether that rests on a rule with HTTP criteria, so that a sidecar has the last word.
    pub conditional: bool,
    /// What decided: the first leg that denies, else the receiver's; absent from a pod to itself,
    /// and between two without an address family in common.
    pub decided_by: Option<Decided<'m>>,
}

/// The step that decided, and of a host endpoint the plane.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'m> {
    /// The step.
    pub step: Step<'m>,
    /// The plane, if a host endpoint decided.
    pub plane: Option<Plane>,
}

impl From<Decided<'_>> for TraceEntry {
    fn from(decided: Decided<'_>) -> TraceEntry {
        let plane = decided.plane.map(Plane::as_str);
        TraceEntry { plane, ..TraceEntry::from(&decided.step) }
    }
}

impl<'m> Cell<'m> {
    fn fixed(allowed: bool) -> Cell<'m> {
        Cell { allowed, conditional: false, decided_by: None }
    }

    fn denied(step: Option<Step<'m>>, plane: Option<Plane>) -> Cell<'m> {
        let decided_by = step.map(|step| Decided { step, plane });
        Cell { allowed: false, conditional: false, decided_by }
    }
}

/// A workload with everything that is the same for all its flows.
struct Party<'c> {
    endpoint: &'c Arc<Endpoint>,
    /// What is dropped before its egress policy is asked.
    before: Vec<BeforePolicy>,
    egress: Box<dyn Decider + 'c>,
    ingress: Box<dyn Decider + 'c>,
    /// Host endpoints on the way to other hosts, and from them.
    leaving: Vec<Gate<'c>>,
    entering: Vec<Gate<'c>>,
}

impl Party<'_> {
    fn on_one_node(&self, other: &Party<'_>) -> bool {
        self.endpoint.node.is_some() && self.endpoint.node == other.endpoint.node
    }

    /// The first pair of addresses of one family.
    fn addresses(&self, other: &Party<'_>) -> Option<(IpAddr, IpAddr)> {
        self.endpoint.addresses.iter().find_map(|a| {
            let same = other.endpoint.addresses.iter().find(|b| a.is_ipv4() == b.is_ipv4());
            same.map(|b| (*a, *b))
        })
    }
}

/// The workloads of a cluster, ready to be asked about every pair.
pub struct Matrix<'c> {
    cluster: &'c Cluster,
    parties: Vec<Party<'c>>,
}

impl<'c> Matrix<'c> {
    /// All workloads that have an address, by namespace and name, asked by the reference evaluator.
    pub fn new(cluster: &'c Cluster) -> Matrix<'c> {
        Matrix::by(cluster, cluster)
    }

    /// The same, asked by an engine.
    pub fn by(engine: &'c dyn Engine, cluster: &'c Cluster) -> Matrix<'c> {
        let party = |endpoint: &'c Arc<Endpoint>| Party {
            before: cluster.before_workload_policy(endpoint, Direction::Egress, false),
            egress: engine.at_workload(endpoint, Direction::Egress),
            ingress: engine.at_workload(endpoint, Direction::Ingress),
            leaving: gates(engine, cluster, endpoint, Direction::Egress),
            entering: gates(engine, cluster, endpoint, Direction::Ingress),
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
    pub fn row(&self, from: usize, to: PortSpec) -> Vec<Cell<'_>> {
        let Some(source) = self.parties.get(from) else { return Vec::new() };
        let cells = self.parties.iter().enumerate();
        let cell = |(column, party)| match column == from {
            true => Cell::fixed(true),
            false => self.cell(source, party, to),
        };
        cells.map(cell).collect()
    }

    fn cell<'m>(&'m self, from: &'m Party<'_>, to: &'m Party<'_>, port: PortSpec) -> Cell<'m> {
        let Some((source, destination)) = from.addresses(to) else { return Cell::fixed(false) };
        let mut flow = Flow {
            cluster: self.cluster,
            source: Address { ip: Some(source), port: None },
            destination: Address::new(destination, port.port),
            protocol: port.protocol,
            icmp: None,
            http: HttpAtNetwork::Unenforced,
        };
        let before = from.before.iter().find(|before| before.decides(Direction::Egress, &flow));
        if let Some(before) = before.filter(|before| !before.allows()) {
            return Cell::denied(Some(decided_before(*before)), None);
        }
        if let (false, step) = from.egress.decision(&flow) {
            return Cell::denied(step, None);
        }
        if let Some((plane, step)) = self.stopped(from, to, &flow) {
            return Cell::denied(step, Some(plane));
        }
        flow.http = http_at(to.endpoint);
        let (allowed, step) = to.ingress.decision(&flow);
        let conditional = allowed && step.is_some_and(rests_on_http);
        let decided_by = step.map(|step| Decided { step, plane: None });
        Cell { allowed, conditional, decided_by }
    }

    /// What stops traffic between hosts, if a host endpoint does.
    fn stopped<'m>(
        &self,
        from: &'m Party<'_>,
        to: &'m Party<'_>,
        flow: &Flow<'_>,
    ) -> Option<(Plane, Option<Step<'m>>)> {
        if from.on_one_node(to) {
            return None;
        }
        from.leaving.iter().chain(&to.entering).find_map(|gate| {
            let (plane, last) = gate.pass(flow).pop()?;
            (!last.allowed).then(|| (plane, last.trace.last().copied()))
        })
    }
}

/// Whether the rule that decided has HTTP criteria.
fn rests_on_http(step: Step<'_>) -> bool {
    matches!(step, Step::Rule { rule, .. } if rule.http.is_some())
}
