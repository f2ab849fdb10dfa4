//! A sidecar's view of a request, in which the peer may hold a certificate.

use std::fmt;

use ipnet::IpNet;
use tortie_selector::Selector;

use super::{Address, Facts, family, traffic};
use crate::{
    Account, Cluster, Compat, CompatPoint, IcmpMatch, InvalidPath, IpVersion, Labels, NormalPath,
    PathMatch, Peers, Protocol, Scope, ServiceRef, Side, SpiffeId, Tri,
};

/// What a peer's certificate states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// No certificate: plain text, or TLS that was not terminated.
    Plaintext,
    /// A workload's SPIFFE ID.
    Workload(SpiffeId),
    /// A certificate that names no workload: a DNS name, a subject, a foreign SPIFFE layout.
    Foreign,
}

impl Principal {
    /// From Envoy's text, empty for plain text.
    pub fn parse(text: &str) -> Principal {
        match SpiffeId::parse(text) {
            _ if text.is_empty() => Principal::Plaintext,
            Ok(id) => Principal::Workload(id),
            Err(_) => Principal::Foreign,
        }
    }
}

/// Which trust domains' certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The trust domain where the destination has no certificate of its own.
    pub domain: smol_str::SmolStr,
    /// Trust domains that are believed besides the destination's.
    pub aliases: Vec<smol_str::SmolStr>,
}

impl Default for Trust {
    fn default() -> Self {
        Trust { domain: "cluster.local".into(), aliases: Vec::new() }
    }
}

/// How a certificate and the address it is used from go together (house rule 9).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Binding {
    /// No certificate: the address speaks for itself.
    Plaintext,
    /// The certificate is that of the workload at the address.
    Bound,
    /// The address belongs to no known workload: certificate and address must both fit.
    Stranger(Account),
    /// The address is not known, so nobody can tell whether the certificate is used where it may.
    Unplaced(Account),
    /// The certificate is not that of the workload at the address.
    Stolen(Account),
    /// The certificate names no workload.
    Foreign,
    /// The certificate is of a trust domain that is not believed.
    Untrusted(SpiffeId),
}

impl Binding {
    fn new(cluster: &Cluster, address: &Address, principal: Principal, trusted: bool) -> Binding {
        let lax = |point| cluster.compat().has(point);
        let id = match principal {
            Principal::Plaintext => return Binding::Plaintext,
            Principal::Foreign if lax(CompatPoint::ForeignPrincipal) => return Binding::Plaintext,
            Principal::Foreign => return Binding::Foreign,
            Principal::Workload(id) if !trusted && !lax(CompatPoint::ForeignTrustDomain) => {
                return Binding::Untrusted(id);
            }
            Principal::Workload(id) => id,
        };
        match address.endpoints(cluster) {
            _ if address.ip.is_none() && !lax(CompatPoint::UnknownIdentity) => {
                Binding::Unplaced(id.account)
            }
            [] => Binding::Stranger(id.account),
            endpoints if endpoints.iter().all(|e| e.account == id.account) => Binding::Bound,
            // Apart from each other, as if nobody knew whose address it is.
            _ if lax(CompatPoint::StolenCertificate) => Binding::Stranger(id.account),
            _ => Binding::Stolen(id.account),
        }
    }
}

/// The HTTP part of a request as a sidecar sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest<'a> {
    /// Method, as sent.
    pub method: &'a str,
    path: Result<NormalPath<'a>, InvalidPath>,
}

impl<'a> HttpRequest<'a> {
    /// A request of that method and path. The path may have a query.
    ///
    /// A path that does not start with `/` as sent is not one the application would read the same.
    pub fn new(method: &'a str, path: &'a str) -> HttpRequest<'a> {
        let path = if path.starts_with('/') {
            NormalPath::parse(path)
        } else {
            Err(InvalidPath::NotAbsolute)
        };
        HttpRequest { method, path }
    }

    /// Why no path criterion can be answered, if so.
    pub fn invalid_path(&self) -> Option<InvalidPath> {
        self.path.as_ref().err().copied()
    }

    /// The path, if it has a normal form.
    pub fn path(&self) -> Option<&NormalPath<'a>> {
        self.path.as_ref().ok()
    }
}

/// A sidecar's view of a request or connection to the workload it guards.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    cluster: &'a Cluster,
    source: Address,
    destination: Address,
    principals: (Principal, Principal),
    source_binding: Binding,
    destination_binding: Binding,
    protocol: Protocol,
    http: Option<HttpRequest<'a>>,
}

impl<'a> Request<'a> {
    /// Puts a request together: a certificate is bound to the address it is used from.
    ///
    /// The trust domain of the destination's own certificate is believed, or else the configured
    /// one; and the configured aliases.
    pub fn new(
        cluster: &'a Cluster,
        trust: &Trust,
        source: (Address, Principal),
        destination: (Address, Principal),
        protocol: Protocol,
        http: Option<HttpRequest<'a>>,
    ) -> Request<'a> {
        let domain = match &destination.1 {
            Principal::Workload(id) => id.trust_domain.clone(),
            Principal::Plaintext | Principal::Foreign => trust.domain.clone(),
        };
        let trusted = match &source.1 {
            Principal::Workload(id) => {
                id.trust_domain == domain || trust.aliases.contains(&id.trust_domain)
            }
            Principal::Plaintext | Principal::Foreign => true,
        };
        Request {
            cluster,
            source_binding: Binding::new(cluster, &source.0, source.1.clone(), trusted),
            destination_binding: Binding::new(cluster, &destination.0, destination.1.clone(), true),
            principals: (source.1, destination.1),
            source: source.0,
            destination: destination.0,
            protocol,
            http,
        }
    }

    /// Why no path criterion can be answered, if so.
    pub fn invalid_path(&self) -> Option<InvalidPath> {
        self.http.as_ref().and_then(HttpRequest::invalid_path)
    }

    /// The address of a side, and what its certificate says.
    pub fn end(&self, side: Side) -> (Address, &Principal) {
        match side {
            Side::Source => (self.source, &self.principals.0),
            Side::Destination => (self.destination, &self.principals.1),
        }
    }

    /// The protocol the request came by.
    pub fn transport(&self) -> Protocol {
        self.protocol
    }

    /// The HTTP part, if there is one.
    pub fn http_request(&self) -> Option<&HttpRequest<'a>> {
        self.http.as_ref()
    }

    fn side(&self, side: Side) -> (&Address, &Binding) {
        match side {
            Side::Source => (&self.source, &self.source_binding),
            Side::Destination => (&self.destination, &self.destination_binding),
        }
    }
}

impl Facts for Request<'_> {
    fn ip_version(&self, version: IpVersion) -> Tri {
        if self.compat().has(CompatPoint::IpVersionIgnored) {
            return Tri::True;
        }
        family(&self.source, &self.destination, version)
    }

    fn protocol(&self, protocol: Protocol) -> Tri {
        (self.protocol == protocol).into()
    }

    fn net(&self, side: Side, net: &IpNet) -> Tri {
        self.side(side).0.net(self.cluster, net)
    }

    fn port(&self, side: Side, first: u16, last: u16) -> Tri {
        self.side(side).0.port(self.cluster, first, last)
    }

    fn named_port(&self, side: Side, name: &str) -> Tri {
        self.side(side).0.named_port(self.cluster, name, self.protocol)
    }

    fn icmp(&self, _: &IcmpMatch) -> Tri {
        Tri::False // Envoy carries no ICMP
    }

    fn service(&self, side: Side, service: &ServiceRef) -> Tri {
        match side {
            Side::Source => self.source.source_of(self.cluster, service),
            Side::Destination => {
                self.destination.destination_of(self.cluster, service, self.protocol)
            }
        }
    }

    fn peers(&self, side: Side, peers: &Peers) -> Tri {
        let (address, binding) = self.side(side);
        let by_address = address.peers(self.cluster, peers);
        match binding {
            Binding::Plaintext | Binding::Bound => by_address,
            Binding::Stranger(account) => by_address & certificate(self.cluster, account, peers),
            Binding::Unplaced(_)
            | Binding::Stolen(_)
            | Binding::Foreign
            | Binding::Untrusted(_) => Tri::Unknown,
        }
    }

    fn http(&self) -> Tri {
        let lax = self.compat().has(CompatPoint::RawTcpMeetsHttp);
        if self.http.is_some() || lax { Tri::True } else { Tri::Unknown }
    }

    fn method(&self, method: &str) -> Tri {
        let Some(http) = &self.http else { return self.http() };
        (method == "*" || http.method == method).into()
    }

    fn path(&self, path: &PathMatch) -> Tri {
        let Some(http) = &self.http else { return self.http() };
        match &http.path {
            Ok(known) => path.matches(known).into(),
            Err(_) if self.compat().has(CompatPoint::BadPath) => Tri::False,
            Err(_) => Tri::Unknown,
        }
    }

    fn describe(&self, side: Side) -> String {
        let (address, binding) = self.side(side);
        let who = address.describe(self.cluster);
        match binding {
            Binding::Plaintext | Binding::Bound => who,
            Binding::Stranger(account) | Binding::Unplaced(account) => {
                format!("{who} with the certificate of {account}")
            }
            Binding::Stolen(account) => {
                format!("{who} with the certificate of {account}, which is not its own")
            }
            Binding::Foreign => format!("{who} with a certificate that names no workload"),
            Binding::Untrusted(id) => {
                format!(
                    "{who} with a certificate of the foreign trust domain `{}`",
                    id.trust_domain
                )
            }
        }
    }

    fn describe_traffic(&self) -> String {
        match &self.http {
            Some(http) => match &http.path {
                Ok(path) => format!("{} {path}", printable(http.method)),
                Err(reason) => {
                    format!("{} of a path that is refused: {reason}", printable(http.method))
                }
            },
            None => format!("{} without HTTP", traffic(self.protocol, self.destination.port)),
        }
    }

    fn compat(&self) -> Compat {
        self.cluster.compat()
    }
}

/// A method as it may stand in a log: any text may come from the network.
fn printable(method: &str) -> impl fmt::Display + '_ {
    method.chars().take(32).flat_map(char::escape_default).collect::<String>()
}

/// The criteria a certificate can answer: namespace and service account.
fn certificate(cluster: &Cluster, account: &Account, peers: &Peers) -> Tri {
    let scope = match &peers.scope {
        None => Tri::True,
        Some(Scope::Own(namespace)) => (account.namespace == *namespace).into(),
        Some(Scope::Selected(selector)) if selector.uses_global() => Tri::False,
        Some(Scope::Selected(selector)) => {
            labelled(cluster, cluster.namespace(&account.namespace), selector)
        }
    };
    let Some(accounts) = &peers.accounts else { return scope };
    let named = accounts.names.is_empty() || accounts.names.contains(&account.name);
    let selected = match &accounts.selector {
        None => Tri::True,
        Some(selector) => labelled(cluster, cluster.account(account), selector),
    };
    scope & Tri::from(named) & selected
}

/// Whether labels match, if they are known; where that is chosen, unknown labels are none.
fn labelled(cluster: &Cluster, labels: Option<&Labels>, selector: &Selector) -> Tri {
    let none = Labels::new();
    let lax = cluster.compat().has(CompatPoint::UnknownIdentity);
    labels.or(lax.then_some(&none)).map(|labels| selector.matches(labels)).into()
}
