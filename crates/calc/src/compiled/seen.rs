//! Traffic with everything about it looked up once: what the criteria of rules are held against.
//!
//! Each answer is that of `policy`'s facts, with IP sets in the place of labels.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tortie_policy::{
    Account, Address, Compat, CompatPoint, HttpAtNetwork, HttpRequest, IcmpMatch, IpVersion,
    PathMatch, Peers, Protocol, Scope, Side, Tri, Trust,
};

use super::rule::SideSlots;
use super::sets::{Found, Slot};
use super::traffic::{Certificate, Traffic, View, Workload};
use super::world::World;

/// A piece of traffic in the light of a snapshot.
#[derive(Debug)]
pub(super) struct Seen<'s> {
    pub(super) world: &'s World,
    pub(super) traffic: &'s Traffic<'s>,
    source: End<'s>,
    destination: End<'s>,
}

/// One end of it.
#[derive(Debug)]
pub(super) struct End<'s> {
    /// Address, IPv4 in IPv6 form as IPv4.
    pub(super) ip: Option<IpAddr>,
    /// Port; where that is chosen, an absent one is 0.
    pub(super) port: Option<u16>,
    /// Sets that hold the address.
    pub(super) found: Found<'s>,
    /// Accounts of the workloads that claim the address.
    pub(super) claims: &'s [Account],
    pub(super) binding: Binding<'s>,
}

/// How a certificate and the address it is used from go together (house rule 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding<'s> {
    /// The address speaks for itself: there is no certificate, or it is that of the workload there.
    Address,
    /// Certificate and address must both fit: the address belongs to no known workload, or nobody
    /// told which.
    Both(Workload<'s>),
    /// The address is not known.
    Unplaced(Workload<'s>),
    /// The certificate is not that of the workload at the address.
    Stolen(Workload<'s>),
    /// The certificate names no workload.
    Foreign,
    /// The certificate is of a trust domain that is not believed.
    Untrusted(Workload<'s>),
}

impl Binding<'_> {
    /// Whether no identity criterion can be answered.
    pub(super) fn is_doubtful(self) -> bool {
        !matches!(self, Binding::Address | Binding::Both(_))
    }
}

impl<'s> Seen<'s> {
    pub(super) fn new(world: &'s World, traffic: &'s Traffic<'s>) -> Seen<'s> {
        let (source, destination) = match traffic.view {
            View::Network { .. } => (Certificate::Plaintext, Certificate::Plaintext),
            View::Sidecar { source, destination, .. } => (source, destination),
        };
        let trusted = is_trusted(&world.settings.trust, &source, &destination);
        Seen {
            world,
            traffic,
            source: End::new(world, &traffic.source, source, trusted),
            destination: End::new(world, &traffic.destination, destination, true),
        }
    }

    pub(super) fn end(&self, side: Side) -> &End<'s> {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    fn lax(&self, point: CompatPoint) -> bool {
        self.world.compat().has(point)
    }

    /// An answer about a peer; where that is chosen, what is not known counts as no match.
    fn of_peer(&self, answer: Tri) -> Tri {
        match answer {
            Tri::Unknown if self.lax(CompatPoint::UnknownIdentity) => Tri::False,
            answer => answer,
        }
    }

    /// An answer in doubt; where that is chosen, there is none.
    fn doubtful(&self, answer: bool) -> Tri {
        if self.lax(CompatPoint::UnknownIdentity) { answer.into() } else { Tri::Unknown }
    }

    // === layers 3 and 4 ===

    pub(super) fn ip_version(&self, version: IpVersion) -> Tri {
        let sidecar = matches!(self.traffic.view, View::Sidecar { .. });
        if sidecar && self.lax(CompatPoint::IpVersionIgnored) {
            return Tri::True;
        }
        let ends = [self.source.ip, self.destination.ip].into_iter().flatten();
        Tri::unanimous(ends.map(|ip| IpVersion::of(ip) == version))
    }

    pub(super) fn protocol(&self, protocol: Protocol) -> Tri {
        (self.traffic.protocol == protocol).into()
    }

    pub(super) fn icmp(&self, wanted: &IcmpMatch) -> Tri {
        let View::Network { icmp, .. } = self.traffic.view else { return Tri::False };
        if ![Protocol::ICMP, Protocol::ICMPV6].contains(&self.traffic.protocol) {
            return Tri::False;
        }
        let zero = self.lax(CompatPoint::UnknownPortAndIcmp).then_some(0);
        let Some((kind, code)) = icmp.or(zero.map(|n| (n, zero))) else { return Tri::Unknown };
        let code = code.or(zero);
        let code = wanted.code.map_or(Tri::True, |w| code.map(|code| code == w).into());
        Tri::from(kind == wanted.kind) & code
    }

    pub(super) fn net(&self, side: Side, net: &IpNet) -> Tri {
        self.of_peer(self.end(side).ip.map(|ip| net.contains(&ip)).into())
    }

    pub(super) fn port(&self, side: Side, first: u16, last: u16) -> Tri {
        self.end(side).port.map(|port| (first..=last).contains(&port)).into()
    }

    // === sets ===

    /// Whether a set of nets holds the address of a side. Where several workloads claim it, and the
    /// set is made from labels, nobody can tell which of them is meant.
    fn member(&self, side: Side, slot: Slot, of_labels: bool, if_missing: bool) -> Tri {
        let end = self.end(side);
        let Some(set) = self.world.sets.get(slot) else { return self.missing(if_missing) };
        match end.ip {
            None => self.of_peer(Tri::Unknown),
            Some(_) if end.found.contains(slot) => match of_labels && end.claims.len() > 1 {
                true => self.doubtful(true),
                false => Tri::True,
            },
            Some(_) if set.incomplete => self.doubtful(false),
            Some(_) => Tri::False,
        }
    }

    /// What a set that is not there says.
    fn missing(&self, if_chosen: bool) -> Tri {
        match self.lax(CompatPoint::MissingIpSet) {
            true => if_chosen.into(),
            false => self.of_peer(Tri::Unknown),
        }
    }

    /// Whether the address has the port of traffic in a set of named ports.
    pub(super) fn named_port(&self, side: Side, slot: Slot) -> Tri {
        let end = self.end(side);
        let Some(set) = self.world.sets.get(slot) else { return self.missing(false) };
        let Some(port) = end.port else { return Tri::Unknown };
        if end.ip.is_none() {
            return self.of_peer(Tri::Unknown);
        }
        let wanted = |p: &super::sets::PortMember| {
            (p.slot, p.protocol, p.port) == (slot, self.traffic.protocol, port)
        };
        match end.found.ports.iter().any(wanted) {
            true if end.claims.len() > 1 => self.doubtful(true),
            true => Tri::True,
            false if set.incomplete => self.doubtful(false),
            false => Tri::False,
        }
    }

    /// Whether the address serves on the port of traffic in the set of a service.
    pub(super) fn service(&self, side: Side, slot: Slot) -> Tri {
        let end = self.end(side);
        let Some(set) = self.world.sets.get(slot) else { return self.missing(true) };
        if end.ip.is_none() {
            return self.of_peer(Tri::Unknown);
        }
        let served = end.found.ports.iter();
        let served = served.filter(|p| (p.slot, p.protocol) == (slot, self.traffic.protocol));
        match Tri::any(served.map(|p| end.port.map(|port| port == p.port).into())) {
            Tri::False if set.incomplete => self.doubtful(false),
            answer => answer,
        }
    }

    /// Whether the address is one of those behind a service.
    pub(super) fn service_address(&self, side: Side, slot: Slot) -> Tri {
        self.member(side, slot, false, true)
    }

    // === identity ===

    /// Whether the identity of a side meets the criteria; `peers` are absent where nothing but sets
    /// is known of them.
    pub(super) fn peers(&self, side: Side, peers: Option<&Peers>, slots: &SideSlots) -> Tri {
        let binding = self.end(side).binding;
        if binding.is_doubtful() {
            return Tri::Unknown;
        }
        let by_address = match slots.included.is_empty() && slots.excluded.is_empty() {
            true => self.by_claims(side, peers),
            false => self.by_sets(side, slots),
        };
        match binding {
            Binding::Both(workload) => by_address & self.certificate(&workload, peers),
            _ => by_address,
        }
    }

    fn by_sets(&self, side: Side, slots: &SideSlots) -> Tri {
        let mut result = Tri::True;
        for slot in &slots.included {
            result = result & self.member(side, *slot, true, true);
        }
        for slot in &slots.excluded {
            result = result & !self.member(side, *slot, true, false);
        }
        result
    }

    /// The criteria that no set stands for, as the workloads at the address answer them.
    fn by_claims(&self, side: Side, peers: Option<&Peers>) -> Tri {
        let end = self.end(side);
        let selected = |p: &Peers| p.included.is_some() || p.excluded.is_some();
        match (end.ip, end.claims) {
            _ if peers.is_some_and(selected) => self.missing(true), // nobody named the sets
            _ if self.world.addresses.is_none() => match end.binding {
                Binding::Both(_) => Tri::True, // the certificate decides alone
                _ if self.lax(CompatPoint::PlaintextWithoutMap) => Tri::True,
                _ => Tri::Unknown,
            },
            (None, _) => self.of_peer(Tri::Unknown),
            (_, [account]) => self.certificate(&Workload::of(account), peers),
            (_, accounts) => {
                let answers = accounts.iter().map(|a| self.certificate(&Workload::of(a), peers));
                match Tri::any(answers) {
                    Tri::True => self.doubtful(true),
                    answer => answer,
                }
            }
        }
    }

    /// The criteria a certificate can answer: namespace and service account.
    fn certificate(&self, workload: &Workload<'_>, peers: Option<&Peers>) -> Tri {
        let Some(peers) = peers else { return Tri::True };
        let identities = &self.world.identities;
        let scope = match &peers.scope {
            None => Tri::True,
            Some(Scope::Own(namespace)) => (workload.namespace == namespace).into(),
            Some(Scope::Selected(selector)) if selector.uses_global() => Tri::False,
            Some(Scope::Selected(selector)) => {
                self.labelled(identities.namespace(workload.namespace), selector)
            }
        };
        let Some(accounts) = &peers.accounts else { return scope };
        let named = accounts.names.is_empty() || accounts.names.iter().any(|n| n == workload.name);
        let selected = accounts.selector.as_ref().map_or(Tri::True, |selector| {
            self.labelled(identities.account(workload.namespace, workload.name), selector)
        });
        scope & Tri::from(named) & selected
    }

    /// Whether labels match, if they are known; where that is chosen, unknown labels are none.
    fn labelled(
        &self,
        labels: Option<&Arc<tortie_policy::Labels>>,
        selector: &tortie_selector::Selector,
    ) -> Tri {
        match labels {
            Some(labels) => selector.matches(&**labels).into(),
            None if self.lax(CompatPoint::UnknownIdentity) => {
                selector.matches(&tortie_policy::Labels::new()).into()
            }
            None => Tri::Unknown,
        }
    }

    // === HTTP ===

    pub(super) fn request(&self) -> Option<&HttpRequest<'s>> {
        match &self.traffic.view {
            View::Sidecar { http, .. } => http.as_ref(),
            View::Network { .. } => None,
        }
    }

    pub(super) fn http(&self) -> Tri {
        match &self.traffic.view {
            View::Network { http, .. } => {
                let tcp = self.traffic.protocol == Protocol::TCP;
                let deferred = *http == HttpAtNetwork::Deferred && tcp;
                (deferred || self.lax(CompatPoint::HttpWithoutEnforcer)).into()
            }
            View::Sidecar { http: Some(_), .. } => Tri::True,
            View::Sidecar { .. } if self.lax(CompatPoint::RawTcpMeetsHttp) => Tri::True,
            View::Sidecar { .. } => Tri::Unknown,
        }
    }

    pub(super) fn method(&self, method: &str) -> Tri {
        let Some(http) = self.request() else { return self.http() };
        (method == "*" || http.method == method).into()
    }

    pub(super) fn path(&self, wanted: &PathMatch) -> Tri {
        let Some(http) = self.request() else { return self.http() };
        match http.path() {
            Some(path) => wanted.matches(path).into(),
            None if self.lax(CompatPoint::BadPath) => Tri::False,
            None => Tri::Unknown,
        }
    }
}

impl<'s> End<'s> {
    fn new(
        world: &'s World,
        address: &Address,
        certificate: Certificate<'s>,
        trusted: bool,
    ) -> End<'s> {
        let ip = address.ip.map(|ip| ip.to_canonical());
        let claims = ip.map(|ip| world.claims(ip)).unwrap_or_default();
        let zero = world.compat().has(CompatPoint::UnknownPortAndIcmp).then_some(0);
        End {
            ip,
            port: address.port.or(zero),
            found: ip.map(|ip| world.sets.find(ip)).unwrap_or_default(),
            claims,
            binding: bind(world.compat(), ip, claims, certificate, trusted),
        }
    }
}

fn bind<'s>(
    compat: Compat,
    ip: Option<IpAddr>,
    claims: &[Account],
    certificate: Certificate<'s>,
    trusted: bool,
) -> Binding<'s> {
    let workload = match certificate {
        Certificate::Plaintext => return Binding::Address,
        Certificate::Foreign if compat.has(CompatPoint::ForeignPrincipal) => {
            return Binding::Address;
        }
        Certificate::Foreign => return Binding::Foreign,
        Certificate::Workload(w) if !trusted && !compat.has(CompatPoint::ForeignTrustDomain) => {
            return Binding::Untrusted(w);
        }
        Certificate::Workload(workload) => workload,
    };
    let is_its = |a: &Account| a.namespace == workload.namespace && a.name == workload.name;
    match claims {
        _ if ip.is_none() && !compat.has(CompatPoint::UnknownIdentity) => {
            Binding::Unplaced(workload)
        }
        [] => Binding::Both(workload),
        claims if claims.iter().all(is_its) => Binding::Address,
        // Apart from each other, as if nobody knew whose address it is.
        _ if compat.has(CompatPoint::StolenCertificate) => Binding::Both(workload),
        _ => Binding::Stolen(workload),
    }
}

/// The trust domain of the destination's own certificate is believed, or else the configured one;
/// and the configured aliases.
fn is_trusted(trust: &Trust, source: &Certificate<'_>, destination: &Certificate<'_>) -> bool {
    let Certificate::Workload(workload) = source else { return true };
    let domain = match destination {
        Certificate::Workload(own) => own.domain,
        Certificate::Plaintext | Certificate::Foreign => trust.domain.as_str(),
    };
    workload.domain == domain || trust.aliases.iter().any(|alias| alias == workload.domain)
}

impl<'a> Workload<'a> {
    fn of(account: &'a Account) -> Workload<'a> {
        Workload { domain: "", namespace: &account.namespace, name: &account.name }
    }
}
