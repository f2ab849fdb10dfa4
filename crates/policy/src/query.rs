//! Questions about one flow, answered for each place that decides on its way: the sender's egress
//! policy, the receiver's ingress policy, and the receiver's sidecar.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::layer4::number;
use crate::{
    Address, Cluster, Direction, Endpoint, EndpointId, Facts, Flow, HttpAtNetwork, HttpRequest,
    Principal, Protocol, Request, TraceEntry, Trust, evaluate,
};

/// One end of a flow, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// `namespace/pod`.
    Endpoint(EndpointId),
    /// An address, which may be that of an endpoint.
    Address(IpAddr),
}

impl FromStr for Party {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Party, QueryError> {
        if text.starts_with("hostendpoint:") {
            return Err(QueryError::HostEndpoint);
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
    /// Not in this version.
    #[error("host endpoints are not supported yet")]
    HostEndpoint,
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
        let legs = [
            ("egress", &self.egress),
            ("ingress", &self.ingress),
            ("application", &self.application),
        ];
        legs.into_iter().filter_map(|(name, leg)| leg.as_ref().map(|leg| (name, leg)))
    }

    /// The leg that decided: the first that denies, else the last.
    pub fn deciding(&self) -> Option<(&'static str, &Leg)> {
        self.legs().find(|(_, leg)| leg.verdict == Word::Deny).or_else(|| self.legs().last())
    }
}

/// Answers a question about one flow. A pod always reaches itself.
///
/// # Errors
/// If the question names something that does not exist.
pub fn explain(cluster: &Cluster, trust: &Trust, query: &Query) -> Result<Explanation, QueryError> {
    let (from, to) = (resolve(cluster, &query.from)?, resolve(cluster, &query.to)?);
    let (source, destination) = common_family(&from, &to)
        .ok_or_else(|| QueryError::NoFamily(query.from.to_string(), query.to.to_string()))?;
    let port = port(query, &to)?;
    let same = from.endpoint.is_some_and(|f| to.endpoint.is_some_and(|t| f.id == t.id));
    if same {
        let verdict = Word::Allow;
        return Ok(Explanation { verdict, egress: None, ingress: None, application: None });
    }
    let source = Address { ip: Some(source), port: None };
    let destination = Address { ip: Some(destination), port };
    let flow = |http| Flow { cluster, source, destination, protocol: query.protocol, http };
    let egress =
        from.endpoint.map(|e| leg(cluster, e, Direction::Egress, &flow(HttpAtNetwork::Unenforced)));
    let ingress = to.endpoint.map(|e| {
        let enforced = e.application_enforced;
        let http = if enforced { HttpAtNetwork::Deferred } else { HttpAtNetwork::Unenforced };
        leg(cluster, e, Direction::Ingress, &flow(http))
    });
    let application = to.endpoint.filter(|_| query.asks_application()).map(|e| {
        let principal = Principal::parse(query.from_identity.as_deref().unwrap_or_default());
        let http = query.http.as_ref().map(|(method, path)| HttpRequest::new(method, path));
        let request = Request::new(
            cluster,
            trust,
            (source, principal),
            (destination, Principal::Plaintext),
            query.protocol,
            http,
        );
        leg(cluster, e, Direction::Ingress, &request)
    });
    let legs = [&egress, &ingress, &application];
    let allowed = legs.into_iter().flatten().all(|leg| leg.verdict == Word::Allow);
    Ok(Explanation { verdict: allowed.into(), egress, ingress, application })
}

fn leg(cluster: &Cluster, endpoint: &Endpoint, direction: Direction, facts: &dyn Facts) -> Leg {
    let applicable = cluster.applicable(endpoint, direction);
    let verdict = evaluate(&applicable, facts);
    Leg {
        endpoint: endpoint.id.to_string(),
        verdict: verdict.allowed.into(),
        trace: verdict.trace.iter().map(TraceEntry::from).collect(),
        reason: verdict.reason(facts, &applicable),
    }
}

/// One end of a flow with what is known of it.
struct Resolved<'c> {
    endpoint: Option<&'c Arc<Endpoint>>,
    addresses: Vec<IpAddr>,
}

fn resolve<'c>(cluster: &'c Cluster, party: &Party) -> Result<Resolved<'c>, QueryError> {
    match party {
        Party::Address(address) => {
            let endpoint = match cluster.at(*address) {
                [] => None,
                [endpoint] => Some(endpoint),
                several => {
                    let pods = several.iter().map(|e| e.id.clone()).collect();
                    return Err(QueryError::Ambiguous { address: *address, pods });
                }
            };
            Ok(Resolved { endpoint, addresses: vec![address.to_canonical()] })
        }
        Party::Endpoint(id) => {
            let endpoint = cluster.endpoint(id).ok_or_else(|| QueryError::NoEndpoint {
                id: id.clone(),
                similar: similar(cluster, id),
            })?;
            if endpoint.addresses.is_empty() {
                return Err(QueryError::NoAddress(id.clone()));
            }
            Ok(Resolved { endpoint: Some(endpoint), addresses: endpoint.addresses.clone() })
        }
    }
}

/// An endpoint whose name starts alike, or the same name in another namespace.
fn similar(cluster: &Cluster, id: &EndpointId) -> Option<EndpointId> {
    let alike = |e: &&Arc<Endpoint>| {
        (e.id.namespace == id.namespace && e.id.name.starts_with(id.name.as_str()))
            || e.id.name == id.name
    };
    cluster.endpoints().find(alike).map(|e| e.id.clone())
}

/// The first pair of addresses of one family.
fn common_family(from: &Resolved<'_>, to: &Resolved<'_>) -> Option<(IpAddr, IpAddr)> {
    from.addresses
        .iter()
        .find_map(|a| to.addresses.iter().find(|b| a.is_ipv4() == b.is_ipv4()).map(|b| (*a, *b)))
}

fn port(query: &Query, to: &Resolved<'_>) -> Result<Option<u16>, QueryError> {
    let name = match &query.port {
        None => return Ok(None),
        Some(PortName::Number(number)) => return Ok(Some(*number)),
        Some(PortName::Name(name)) => name,
    };
    let ports = to.endpoint.map(|e| e.ports.as_slice()).unwrap_or_default();
    let found = ports.iter().find(|p| p.name == *name && p.protocol == query.protocol);
    found.map(|p| Some(p.port)).ok_or_else(|| QueryError::NoNamedPort {
        to: query.to.to_string(),
        protocol: query.protocol,
        name: name.clone(),
    })
}
