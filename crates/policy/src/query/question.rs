//! A question about one flow as a user puts it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::layer4::number;
use crate::{EndpointId, Protocol};

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
    pub(super) fn asks_application(&self) -> bool {
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
