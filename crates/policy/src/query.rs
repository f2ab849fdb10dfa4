//! Questions about one flow, answered for each place that decides on its way: the sender's egress
//! policy, the receiver's ingress policy, and the receiver's sidecar.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use smol_str::SmolStr;

use crate::layer4::number;
use crate::{
    Address, Applicable, Cluster, Direction, Endpoint, EndpointId, EndpointToHost, Facts, Failsafe,
    Flow, HostEndpoint, HttpAtNetwork, HttpRequest, Plane, Principal, Protocol, Request, Side,
    Step, TraceEntry, Trust, Verdict, evaluate,
};

/// One end of a flow, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// `namespace/pod`.
    Endpoint(EndpointId),
    /// `hostendpoint:NAME`.
    HostEndpoint(String),
    /// An address, which may be that of an endpoint.
    Address(IpAddr),
}

impl FromStr for Party {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Party, QueryError> {
        if let Some(name) = text.strip_prefix("hostendpoint:") {
            return Ok(Party::HostEndpoint(name.to_owned()));
        }
        match text.parse() {
            Ok(address) => Ok(Party::Address(IpAddr::to_canonical(&address))),
            Err(_) => text.parse().map(Party::Endpoint).map_err(|_| QueryError::Party(text.into())),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Endpoint(id) => id.fmt(f),
            Party::HostEndpoint(name) => write!(f, "hostendpoint:{name}"),
            Party::Address(address) => address.fmt(f),
        }
    }
}

/// The destination port, by number or by the name a container gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortName {
    /// A number.
    Number(u16),
    /// A name.
    Name(String),
}

impl FromStr for PortName {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<PortName, QueryError> {
        match number(text) {
            Some(number) if number > 0 => Ok(PortName::Number(number)),
            _ if text.bytes().any(|b| b.is_ascii_lowercase()) => Ok(PortName::Name(text.into())),
            _ => Err(QueryError::Port(text.into())),
        }
    }
}

/// A question about one flow.
#[derive(Debug, Clone)]
pub struct Query {
    /// Sender.
    pub from: Party,
    /// Receiver.
    pub to: Party,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port; absent for protocols without, or to leave it open.
    pub port: Option<PortName>,
    /// ICMP type and code.
    pub icmp: Option<(u8, Option<u8>)>,
    /// HTTP method and path, if the sidecar is asked about a request.
    pub http: Option<(String, String)>,
    /// The SPIFFE ID of the certificate the sender shows.
    pub from_identity: Option<String>,
}

impl Query {
    /// Whether the question is also one for the receiver's sidecar.
    fn asks_application(&self) -> bool {
        self.http.is_some() || self.from_identity.is_some()
    }
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No `namespace/pod` and no address.
    #[error("`{0}` is neither `namespace/pod` nor an address")]
    Party(String),
    /// No such host endpoint.
    #[error("there is no host endpoint `{0}`")]
    NoHostEndpoint(String),
    /// No ICMP type, or type and code.
    #[error("`{0}` is not an ICMP `TYPE` or `TYPE/CODE`")]
    Icmp(String),
    /// No such endpoint.
    #[error("there is no pod `{id}`{}", similar.as_ref().map(|s| format!(", did you mean `{s}`?")).unwrap_or_default())]
    NoEndpoint {
        /// As asked.
        id: EndpointId,
        /// The endpoint that may have been meant.
        similar: Option<EndpointId>,
    },
    /// The endpoint has finished and has no address.
    #[error("pod `{0}` has finished and has no address")]
    NoAddress(EndpointId),
    /// Several endpoints use the address, and their policies may differ.
    #[error("`{address}` is the address of several pods: {}", join(pods))]
    Ambiguous {
        /// As asked.
        address: IpAddr,
        /// The pods.
        pods: Vec<EndpointId>,
    },
    /// The two ends have no address family in common.
    #[error("`{0}` and `{1}` have no address family in common")]
    NoFamily(String, String),
    /// No port 1 to 65535, and no name of one.
    #[error("`{0}` is neither a port between 1 and 65535 nor the name of one")]
    Port(String),
    /// The receiver has no port of that name.
    #[error("`{to}` declares no {protocol} port named `{name}`")]
    NoNamedPort {
        /// Receiver.
        to: String,
        /// Protocol asked for.
        protocol: Protocol,
        /// Name asked for.
        name: String,
    },
}

fn join(pods: &[EndpointId]) -> String {
    pods.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The answer: a verdict for each place that decides.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `allow` only if every leg allows.
    pub verdict: Word,
    /// The sender's egress policy, if the sender is an endpoint.
    pub egress: Option<Leg>,
    /// The receiver's ingress policy, if the receiver is an endpoint.
    pub ingress: Option<Leg>,
    /// Policy of host endpoints that the traffic passes through.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward: Vec<Leg>,
    /// What the receiver's sidecar would say, if it was asked about.
    pub application: Option<Leg>,
}

/// `allow` or `deny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The traffic may pass.
    Allow,
    /// It may not.
    Deny,
}

impl From<bool> for Word {
    fn from(allowed: bool) -> Word {
        if allowed { Word::Allow } else { Word::Deny }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Allow => "allow",
            Word::Deny => "deny",
        })
    }
}

/// The verdict of one place.
#[derive(Debug, Clone, Serialize)]
pub struct Leg {
    /// Whose policy it is.
    pub endpoint: String,
    /// What it says.
    pub verdict: Word,
    /// What was asked; the last entry decided.
    pub trace: Vec<TraceEntry>,
    /// The same in one sentence.
    pub reason: String,
}

impl Explanation {
    /// The legs there are, with their names.
    pub fn legs(&self) -> impl Iterator<Item = (&'static str, &Leg)> {
        let egress = self.egress.iter().map(|leg| ("egress", leg));
        let forward = self.forward.iter().map(|leg| ("forward", leg));
        let ingress = self.ingress.iter().map(|leg| ("ingress", leg));
        let application = self.application.iter().map(|leg| ("application", leg));
        egress.chain(forward).chain(ingress).chain(application)
    }

    /// The leg that decided: the first that denies, else the last.
    pub fn deciding(&self) -> Option<(&'static str, &Leg)> {
        self.legs().find(|(_, leg)| leg.verdict == Word::Deny).or_else(|| self.legs().last())
    }
}

/// Reads `TYPE` or `TYPE/CODE`.
///
/// # Errors
/// If it is neither.
pub fn parse_icmp(text: &str) -> Result<(u8, Option<u8>), QueryError> {
    let error = |_| QueryError::Icmp(text.to_owned());
    match text.split_once('/') {
        None => Ok((text.parse().map_err(error)?, None)),
        Some((kind, code)) => {
            Ok((kind.parse().map_err(error)?, Some(code.parse().map_err(error)?)))
        }
    }
}

/// Answers a question about one flow. A pod always reaches itself.
///
/// Traffic between a pod and another host passes the host endpoints of the pod's node, if its node
/// is known: all of them are asked, since which interface it takes is not.
///
/// # Errors
/// If the question names something that does not exist.
pub fn explain(cluster: &Cluster, trust: &Trust, query: &Query) -> Result<Explanation, QueryError> {
    let (from, to) = (resolve(cluster, &query.from)?, resolve(cluster, &query.to)?);
    let (source, destination) = common_family(&from, &to)
        .ok_or_else(|| QueryError::NoFamily(query.from.to_string(), query.to.to_string()))?;
    let port = port(query, &to)?;
    let same = from.workload().is_some_and(|f| to.workload().is_some_and(|t| f.id == t.id));
    if same {
        return Ok(Explanation {
            verdict: Word::Allow,
            egress: None,
            ingress: None,
            forward: Vec::new(),
            application: None,
        });
    }
    let way = Way {
        cluster,
        trust,
        query,
        from,
        to,
        source: Address { ip: source, port: None },
        destination: Address { ip: destination, port },
    };
    Ok(way.explain())
}

/// One flow on its way.
struct Way<'c> {
    cluster: &'c Cluster,
    trust: &'c Trust,
    query: &'c Query,
    from: Resolved<'c>,
    to: Resolved<'c>,
    source: Address,
    destination: Address,
}

impl Way<'_> {
    fn explain(&self) -> Explanation {
        let (egress, ingress, forward) = (self.egress(), self.ingress(), self.forward());
        let application = self.application();
        let allows = |leg: &Leg| leg.verdict == Word::Allow;
        let allowed = [&egress, &ingress, &application].into_iter().flatten().all(allows)
            && forward.iter().all(allows);
        Explanation { verdict: allowed.into(), egress, ingress, forward, application }
    }

    fn flow(&self, http: HttpAtNetwork) -> Flow<'_> {
        Flow {
            cluster: self.cluster,
            source: self.source,
            destination: self.destination,
            protocol: self.query.protocol,
            icmp: self.query.icmp,
            http,
        }
    }

    /// Whether one end is a host and the other a workload on it.
    fn on_one_node(&self) -> bool {
        let node = self.from.node();
        node.is_some() && node == self.to.node()
    }

    fn egress(&self) -> Option<Leg> {
        let facts = self.flow(HttpAtNetwork::Unenforced);
        match &self.from.who {
            Who::Workload(e) => Some(workload_leg(self.cluster, e, Direction::Egress, &facts)),
            Who::Host(h) => {
                let planes = [Plane::Untracked, Plane::Normal];
                Some(host_leg(self.cluster, h, Direction::Egress, &planes, &facts))
            }
            Who::Node(_) | Who::Stranger => None,
        }
    }

    fn ingress(&self) -> Option<Leg> {
        let from_pod = matches!(self.from.who, Who::Workload(_));
        let from_node = matches!(self.from.who, Who::Host(_) | Who::Node(_));
        match &self.to.who {
            Who::Workload(e) if from_node && self.on_one_node() => {
                Some(fixed_leg(e.id.to_string(), "host to its own pod", true))
            }
            Who::Workload(e) => {
                let enforced = e.application_enforced;
                let http =
                    if enforced { HttpAtNetwork::Deferred } else { HttpAtNetwork::Unenforced };
                Some(workload_leg(self.cluster, e, Direction::Ingress, &self.flow(http)))
            }
            Who::Host(h) if from_pod && self.on_one_node() => {
                let action = self.cluster.settings(&h.node).endpoint_to_host;
                let allowed = action != EndpointToHost::Drop;
                let name = format!("hostendpoint:{}", h.name);
                Some(fixed_leg(name, "defaultEndpointToHostAction", allowed))
            }
            Who::Host(h) => {
                let planes = [Plane::Untracked, Plane::PreDnat, Plane::Normal];
                let facts = self.flow(HttpAtNetwork::Unenforced);
                Some(host_leg(self.cluster, h, Direction::Ingress, &planes, &facts))
            }
            Who::Node(node) if from_pod && self.on_one_node() => {
                let action = self.cluster.settings(node).endpoint_to_host;
                let allowed = action != EndpointToHost::Drop;
                Some(fixed_leg(format!("node:{node}"), "defaultEndpointToHostAction", allowed))
            }
            Who::Node(_) | Who::Stranger => None,
        }
    }

    /// The host endpoints between a workload and whatever is on another host.
    fn forward(&self) -> Vec<Leg> {
        if self.on_one_node() {
            return Vec::new();
        }
        let mut legs = Vec::new();
        if let Who::Workload(endpoint) = &self.from.who {
            self.through(endpoint, Direction::Egress, &mut legs);
        }
        if let Who::Workload(endpoint) = &self.to.who {
            self.through(endpoint, Direction::Ingress, &mut legs);
        }
        legs
    }

    fn through(&self, endpoint: &Endpoint, direction: Direction, legs: &mut Vec<Leg>) {
        let facts = self.flow(HttpAtNetwork::Unenforced);
        let gates = gates(self.cluster, endpoint, direction);
        legs.extend(gates.iter().map(|gate| gate.leg(self.cluster, &facts)));
    }

    fn application(&self) -> Option<Leg> {
        let Who::Workload(endpoint) = &self.to.who else { return None };
        if !self.query.asks_application() {
            return None;
        }
        let identity = self.query.from_identity.as_deref().unwrap_or_default();
        let http = self.query.http.as_ref().map(|(method, path)| HttpRequest::new(method, path));
        let request = Request::new(
            self.cluster,
            self.trust,
            (self.source, Principal::parse(identity)),
            (self.destination, Principal::Plaintext),
            self.query.protocol,
            http,
        );
        Some(workload_leg(self.cluster, endpoint, Direction::Ingress, &request))
    }
}

fn workload_leg(
    cluster: &Cluster,
    endpoint: &Endpoint,
    direction: Direction,
    facts: &dyn Facts,
) -> Leg {
    let applicable = cluster.applicable(endpoint, direction);
    let verdict = evaluate(&applicable, facts);
    Leg {
        endpoint: endpoint.id.to_string(),
        verdict: verdict.allowed.into(),
        trace: verdict.trace.iter().map(TraceEntry::from).collect(),
        reason: verdict.reason(facts, &applicable),
    }
}

/// What nothing but a setting or a fixed rule decides.
fn fixed_leg(endpoint: String, name: &'static str, allowed: bool) -> Leg {
    let step = Step::Fixed { name, allowed };
    let reason = format!("{} by {name}, before policy", if allowed { "allowed" } else { "denied" });
    Leg { endpoint, verdict: allowed.into(), trace: vec![TraceEntry::from(&step)], reason }
}

/// A host endpoint that traffic passes, with the policies of the planes it passes, in order.
pub(crate) struct Gate<'c> {
    host: &'c HostEndpoint,
    direction: Direction,
    planes: Vec<(Plane, Applicable)>,
}

/// The host endpoints between a workload and other hosts: those of its node, if that is known,
/// that have any policy for traffic on its way.
pub(crate) fn gates<'c>(
    cluster: &'c Cluster,
    endpoint: &Endpoint,
    direction: Direction,
) -> Vec<Gate<'c>> {
    let planes = match direction {
        Direction::Ingress => &[Plane::Untracked, Plane::PreDnat, Plane::Forward][..],
        // What is forwarded leaves no trace in the hook for untracked output.
        Direction::Egress => &[Plane::Forward][..],
    };
    let hosts = cluster.hosts().filter(|h| endpoint.node.as_ref() == Some(&h.node));
    let gates = hosts.map(|host| Gate::new(cluster, host, direction, planes));
    gates.filter(|gate| gate.planes.iter().any(|(_, a)| !a.tiers.is_empty())).collect()
}

fn host_leg(
    cluster: &Cluster,
    host: &HostEndpoint,
    direction: Direction,
    planes: &[Plane],
    facts: &Flow<'_>,
) -> Leg {
    Gate::new(cluster, host, direction, planes).leg(cluster, facts)
}

impl<'c> Gate<'c> {
    fn new(
        cluster: &Cluster,
        host: &'c HostEndpoint,
        direction: Direction,
        planes: &[Plane],
    ) -> Gate<'c> {
        let asked = |plane: &Plane| (*plane, cluster.applicable_to_host(host, direction, *plane));
        Gate { host, direction, planes: planes.iter().map(asked).collect() }
    }

    /// The planes in order, until one of them decides. Failsafe ports are open in all planes but
    /// that of forwarded traffic.
    pub(crate) fn leg(&self, cluster: &Cluster, facts: &Flow<'_>) -> Leg {
        let direction = self.direction;
        let forwarded = self.planes.iter().any(|(plane, _)| *plane == Plane::Forward);
        let failsafe = failsafe(cluster, self.host, direction, facts);
        let mut leg = Leg {
            endpoint: format!("hostendpoint:{}", self.host.name),
            verdict: Word::Allow,
            trace: Vec::new(),
            reason: String::new(),
        };
        for (plane, applicable) in &self.planes {
            if let Some(failsafe) = failsafe.filter(|_| *plane != Plane::Forward) {
                let verdict = Verdict { allowed: true, trace: vec![Step::Failsafe(failsafe)] };
                let none = Applicable { direction, tiers: vec![], end: crate::End::Continue };
                add(&mut leg, *plane, &verdict, facts, &none);
                if forwarded {
                    continue;
                }
                break;
            }
            let verdict = evaluate(applicable, facts);
            add(&mut leg, *plane, &verdict, facts, applicable);
            let goes_on = matches!(verdict.trace.last(), Some(Step::Continue));
            if !goes_on {
                break; // what an earlier plane accepts is not asked about again
            }
        }
        leg
    }
}

fn add(leg: &mut Leg, plane: Plane, verdict: &Verdict<'_>, facts: &Flow<'_>, from: &Applicable) {
    leg.verdict = verdict.allowed.into();
    leg.reason = verdict.reason(facts, from);
    leg.trace.extend(verdict.trace.iter().map(|step| {
        let mut entry = TraceEntry::from(step);
        entry.plane = Some(plane.as_str());
        entry
    }));
}

/// The failsafe that keeps the traffic's port open, if one does.
fn failsafe(
    cluster: &Cluster,
    host: &HostEndpoint,
    direction: Direction,
    flow: &Flow<'_>,
) -> Option<Failsafe> {
    let settings = cluster.settings(&host.node);
    let (list, other) = match direction {
        Direction::Ingress => (settings.failsafe_inbound, Side::Source),
        Direction::Egress => (settings.failsafe_outbound, Side::Destination),
    };
    list.into_iter().find(|failsafe| {
        let net = failsafe.net.map_or(crate::Tri::True, |net| flow.net(other, &net));
        failsafe.protocol == flow.protocol
            && flow.destination.port == Some(failsafe.port)
            && net == crate::Tri::True
    })
}

/// One end of a flow with what is known of it.
struct Resolved<'c> {
    who: Who<'c>,
    /// The addresses it may use; none known for some host endpoints.
    addresses: Vec<IpAddr>,
}

/// Who an end of a flow is.
enum Who<'c> {
    Workload(&'c Arc<Endpoint>),
    Host(&'c Arc<HostEndpoint>),
    /// A node without a host endpoint.
    Node(&'c SmolStr),
    Stranger,
}

impl Resolved<'_> {
    fn workload(&self) -> Option<&Arc<Endpoint>> {
        match self.who {
            Who::Workload(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    fn node(&self) -> Option<&SmolStr> {
        match &self.who {
            Who::Workload(endpoint) => endpoint.node.as_ref(),
            Who::Host(host) => Some(&host.node),
            Who::Node(node) => Some(node),
            Who::Stranger => None,
        }
    }
}

fn resolve<'c>(cluster: &'c Cluster, party: &Party) -> Result<Resolved<'c>, QueryError> {
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
fn common_family(
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

fn port(query: &Query, to: &Resolved<'_>) -> Result<Option<u16>, QueryError> {
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
