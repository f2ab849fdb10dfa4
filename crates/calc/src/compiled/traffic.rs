//! A piece of traffic as an engine is asked about it: borrowed, with nothing looked up yet.

use std::fmt;

use tortie_policy::{
    Address, Flow, HttpAtNetwork, HttpRequest, Principal, Protocol, Request, Side, SpiffeId,
};

/// A flow as the network sees it, or a request as a sidecar does.
#[derive(Debug, Clone)]
pub struct Traffic<'a> {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: Protocol,
    pub(super) view: View<'a>,
}

/// What is known besides addresses.
#[derive(Debug, Clone)]
pub(super) enum View<'a> {
    /// All there is to know of a packet.
    Network {
        /// ICMP type and code, if it is ICMP and they are known.
        icmp: Option<(u8, Option<u8>)>,
        /// What becomes of HTTP criteria.
        http: HttpAtNetwork,
    },
    /// What a sidecar knows.
    Sidecar {
        /// The sender's certificate.
        source: Certificate<'a>,
        /// The receiver's own.
        destination: Certificate<'a>,
        /// The request, if it is one.
        http: Option<HttpRequest<'a>>,
    },
}

/// What a certificate says of its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificate<'a> {
    /// There is none.
    Plaintext,
    /// A workload's.
    Workload(Workload<'a>),
    /// It names no workload.
    Foreign,
}

/// A workload as its certificate names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Workload<'a> {
    pub(super) domain: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl<'a> Traffic<'a> {
    /// A flow as the network sees it. Ports are absent where the protocol has none.
    pub fn network(
        source: Address,
        destination: Address,
        protocol: Protocol,
        icmp: Option<(u8, Option<u8>)>,
        http: HttpAtNetwork,
    ) -> Traffic<'a> {
        Traffic { source, destination, protocol, view: View::Network { icmp, http } }
    }

    /// A request or connection as a sidecar sees it: each end with the principal of its certificate
    /// as Envoy writes it, empty for plain text.
    pub fn sidecar(
        source: (Address, &'a str),
        destination: (Address, &'a str),
        protocol: Protocol,
        http: Option<HttpRequest<'a>>,
    ) -> Traffic<'a> {
        let view = View::Sidecar {
            source: Certificate::parse(source.1),
            destination: Certificate::parse(destination.1),
            http,
        };
        Traffic { source: source.0, destination: destination.0, protocol, view }
    }

    /// Whether it is a request of a path that has no safe normal form.
    pub(super) fn has_invalid_path(&self) -> bool {
        match &self.view {
            View::Sidecar { http: Some(http), .. } => http.invalid_path().is_some(),
            View::Sidecar { http: None, .. } | View::Network { .. } => false,
        }
    }
}

impl<'a> Certificate<'a> {
    fn parse(text: &'a str) -> Certificate<'a> {
        match SpiffeId::split(text) {
            _ if text.is_empty() => Certificate::Plaintext,
            Ok((domain, namespace, name)) => {
                Certificate::Workload(Workload { domain, namespace, name })
            }
            Err(_) => Certificate::Foreign,
        }
    }

    fn of(principal: &'a Principal) -> Certificate<'a> {
        match principal {
            Principal::Plaintext => Certificate::Plaintext,
            Principal::Foreign => Certificate::Foreign,
            Principal::Workload(id) => Certificate::Workload(Workload {
                domain: &id.trust_domain,
                namespace: &id.account.namespace,
                name: &id.account.name,
            }),
        }
    }
}

impl From<&Flow<'_>> for Traffic<'_> {
    fn from(flow: &Flow<'_>) -> Self {
        Traffic::network(flow.source, flow.destination, flow.protocol, flow.icmp, flow.http)
    }
}

impl<'a> From<&'a Request<'a>> for Traffic<'a> {
    fn from(request: &'a Request<'a>) -> Self {
        let (source, of_source) = request.end(Side::Source);
        let (destination, of_destination) = request.end(Side::Destination);
        let view = View::Sidecar {
            source: Certificate::of(of_source),
            destination: Certificate::of(of_destination),
            http: request.http_request().cloned(),
        };
        Traffic { source, destination, protocol: request.transport(), view }
    }
}

/// Port, method or path in words. Methods are shown escaped and cut: any text may come from the
/// network.
impl fmt::Display for Traffic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let View::Sidecar { http: Some(http), .. } = &self.view {
            for character in http.method.chars().take(32).flat_map(char::escape_default) {
                write!(f, "{character}")?;
            }
            return match (http.path(), http.invalid_path()) {
                (Some(path), _) => write!(f, " {path}"),
                (None, Some(reason)) => write!(f, " of a path that is refused: {reason}"),
                (None, None) => Ok(()),
            };
        }
        write!(f, "{}", self.protocol)?;
        if let Some(port) = self.destination.port {
            write!(f, " to port {port}")?;
        }
        match self.view {
            View::Sidecar { .. } => f.write_str(" without HTTP"),
            View::Network { .. } => Ok(()),
        }
    }
}
