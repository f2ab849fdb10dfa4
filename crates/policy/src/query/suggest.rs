//! What would have made the nearest Allow rule match: for each criterion it lacked, one change.

use std::net::IpAddr;

use ipnet::IpNet;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::draft::{Draft, Seen};
use super::identity::Identity;
use super::relabel::relabel;
use super::{Change, Nearest};
use crate::{
    Criterion, Direction, Facts, HttpAtNetwork, IpVersion, PathMatch, Policy, PortMatch, Protocol,
    Rule, Side, Verdict, nearest,
};

/// The order in which criteria are met: what others depend on comes first.
const ORDER: [Criterion; 12] = [
    Criterion::Protocol,
    Criterion::IpVersion,
    Criterion::Service(Side::Source),
    Criterion::Service(Side::Destination),
    Criterion::Ports(Side::Destination),
    Criterion::Ports(Side::Source),
    Criterion::Nets(Side::Source),
    Criterion::Nets(Side::Destination),
    Criterion::Icmp,
    Criterion::Http,
    Criterion::Method,
    Criterion::Path,
];

/// Kept as they are in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// The Allow rule that a denial lacked least, with the changes by which it would match.
pub(super) fn suggest(
    verdict: &Verdict<'_>,
    facts: &dyn Facts,
    direction: Direction,
    draft: Draft<'_>,
) -> Option<Nearest> {
    let lack = nearest(verdict, facts, direction)?;
    let rule = lack.policy.rules(direction).get(lack.index)?;
    let changes = Wish::new(rule, draft).and_then(|wish| wish.grant(lack.policy, direction));
    Some(Nearest::new(lack.policy, rule, changes.unwrap_or_default()))
}

/// A rule, and traffic that is being changed until the rule matches it.
struct Wish<'a> {
    rule: &'a Rule,
    draft: Draft<'a>,
    source: Identity<'a>,
    destination: Identity<'a>,
    changes: Vec<Change>,
    /// Whether the sender's certificate leaves no doubt about who it is.
    certified: bool,
}

impl<'a> Wish<'a> {
    fn new(rule: &'a Rule, draft: Draft<'a>) -> Option<Wish<'a>> {
        let source = Identity::at(draft.cluster, draft.source.ip)?;
        let destination = Identity::at(draft.cluster, draft.destination.ip)?;
        let certified = is_certified(rule, &draft, &source);
        Some(Wish { rule, draft, source, destination, changes: Vec::new(), certified })
    }

    /// All changes; none if no way is known, or if they are at odds with each other.
    fn grant(mut self, policy: &Policy, direction: Direction) -> Option<Vec<Change>> {
        if self.rule.http.is_some() && self.draft.protocol != Protocol::TCP {
            self.set_protocol(Protocol::TCP)?;
        }
        for criterion in ORDER {
            if !self.draft.holds(self.rule, criterion) {
                self.meet(criterion)?;
            }
        }
        let mut source = self.relabelled(Side::Source)?;
        let mut destination = self.relabelled(Side::Destination)?;
        source.share(&mut destination);
        let granted = self.holds()
            && self.identified(&source, Side::Source)
            && self.identified(&destination, Side::Destination)
            && match direction {
                Direction::Ingress => stays(policy, &self.destination, &destination),
                Direction::Egress => stays(policy, &self.source, &source),
            };
        self.changes.extend(source.changes(&self.source, Side::Source));
        self.changes.extend(destination.changes(&self.destination, Side::Destination));
        let network = matches!(self.draft.seen, Seen::Network(_));
        let moved = destination.is_moved(&self.destination);
        if network && self.rule.http.is_some() && moved && !self.changes.contains(&Change::Sidecar)
        {
            self.changes.push(Change::Sidecar);
        }
        // A sidecar is of the namespace that the end is to be in.
        self.changes.sort_by_key(|change| matches!(change, Change::Sidecar));
        granted.then_some(self.changes)
    }

    /// Whether all criteria hold together. A port that an end declares is not seen once the end
    /// has another address, so ports are left out; nothing after them changes their answer.
    fn holds(&self) -> bool {
        let mut asked = ORDER.into_iter().filter(|c| !matches!(c, Criterion::Ports(_)));
        asked.all(|criterion| self.draft.holds(self.rule, criterion))
    }

    fn end(&self, side: Side) -> &Identity<'a> {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Changes the traffic so that a criterion holds, if a way is known.
    fn meet(&mut self, criterion: Criterion) -> Option<()> {
        match criterion {
            Criterion::Protocol => self.meet_protocol(),
            Criterion::IpVersion => self.meet_family(),
            Criterion::Service(side) => self.meet_service(side),
            Criterion::Nets(side) => self.meet_nets(side),
            Criterion::Icmp => self.meet_icmp(),
            Criterion::Ports(side) => self.meet_ports(side),
            Criterion::Http => self.meet_http(),
            Criterion::Method => self.meet_method(),
            Criterion::Path => self.meet_path(),
            Criterion::Peers(_) => Some(()),
        }
    }

    fn meet_protocol(&mut self) -> Option<()> {
        let usual = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
        let other = || usual.into_iter().find(|p| self.rule.not_protocol != Some(*p));
        self.set_protocol(self.rule.protocol.or_else(other)?)
    }

    fn set_protocol(&mut self, protocol: Protocol) -> Option<()> {
        self.draft.protocol = protocol;
        self.changes.push(Change::Protocol { protocol });
        Some(())
    }

    /// Both ends with addresses of the other family: a workload's own, and any of a stranger.
    fn meet_family(&mut self) -> Option<()> {
        let family = self.rule.ip_version?;
        for side in Side::BOTH {
            let now = self.draft.address(side)?;
            let own = self.draft.cluster.at(now).iter().flat_map(|e| e.addresses.iter().copied());
            let any = anybody().into_iter().filter(|_| !self.end(side).is_workload());
            let address = own.chain(any).find(|ip| IpVersion::of(ip.to_canonical()) == family)?;
            self.readdress(side, address, None)?;
        }
        self.changes.push(Change::Family { family });
        Some(())
    }

    /// An address behind the Service; for a receiver, a port of it, too.
    fn meet_service(&mut self, side: Side) -> Option<()> {
        let service = self.rule.side(side).service.as_ref()?;
        let backends = self.draft.cluster.backends(service).iter();
        let served = backends.filter(|b| (side == Side::Destination) == b.port.is_some());
        for backend in served {
            let mut other = self.draft.clone();
            let end = other.end(side);
            end.ip = Some(backend.address);
            end.port = backend.port.map(|(_, port)| port).or(end.port);
            other.protocol = backend.port.map_or(other.protocol, |(protocol, _)| protocol);
            if other.holds(self.rule, Criterion::Service(side)) {
                self.readdress(side, backend.address, Some(backend.address))?;
                if let Some((protocol, port)) = backend.port {
                    self.report_port(side, port);
                    let differs = self.draft.protocol != protocol;
                    self.changes.extend(differs.then_some(Change::Protocol { protocol }));
                }
                self.draft = other;
                return Some(());
            }
        }
        None
    }

    /// An address in the nets that nobody else uses.
    fn meet_nets(&mut self, side: Side) -> Option<()> {
        let nets = &self.rule.side(side).nets;
        let inside = nets.iter().flat_map(|net: &IpNet| net.hosts().take(64));
        let family = self.draft.address(side).map(|ip| IpVersion::of(ip.to_canonical()))?;
        let cluster = self.draft.cluster;
        let ends = Side::BOTH.map(|side| self.draft.address(side));
        let free = |ip: &IpAddr| {
            cluster.at(*ip).is_empty()
                && cluster.hosts_at(*ip).is_empty()
                && !ends.contains(&Some(*ip))
        };
        let fits = |ip: &IpAddr| {
            let mut other = self.draft.clone();
            other.end(side).ip = Some(*ip);
            IpVersion::of(*ip) == family && other.holds(self.rule, Criterion::Nets(side))
        };
        let address = inside.chain(anybody()).filter(free).find(fits)?;
        self.readdress(side, address, Some(address))
    }

    /// Gives a side another address. A stranger with another address is somebody else; a workload
    /// is still the same, unless it is `another` that uses the address.
    fn readdress(&mut self, side: Side, address: IpAddr, reported: Option<IpAddr>) -> Option<()> {
        self.draft.end(side).ip = Some(address);
        let known = !self.draft.cluster.at(address).is_empty();
        if known || !self.end(side).is_workload() {
            let somebody = Identity::at(self.draft.cluster, Some(address))?;
            match side {
                Side::Source => {
                    self.source = somebody;
                    self.certified = is_certified(self.rule, &self.draft, &self.source);
                }
                Side::Destination => self.destination = somebody,
            }
        }
        self.changes.extend(reported.map(|address| Change::Address { side, address }));
        Some(())
    }

    fn report_port(&mut self, side: Side, port: u16) {
        if self.draft.end(side).port != Some(port) {
            self.changes.push(Change::Port { side, port });
        }
    }

    fn meet_icmp(&mut self) -> Option<()> {
        let other = |not: u8| if not == 8 { 0 } else { 8 };
        let wanted = self.rule.icmp.map(|icmp| (icmp.kind, icmp.code.unwrap_or(0)));
        let unwanted = self.rule.not_icmp.map(|icmp| (other(icmp.kind), 0));
        let (kind, code) = wanted.or(unwanted)?;
        self.draft.icmp = Some((kind, Some(code)));
        self.changes.push(Change::Icmp { kind, code });
        Some(())
    }

    /// A port by number that the rule names, or that the end declares under a name it names; else
    /// the name itself.
    fn meet_ports(&mut self, side: Side) -> Option<()> {
        let entity = self.rule.side(side);
        let listed = entity.ports.iter().filter_map(|port| match port {
            PortMatch::Range(first, last) => Some(*first..=*last),
            PortMatch::Named(_) => None,
        });
        let declared = self.draft.cluster.at(self.draft.address(side)?).iter();
        let declared = declared.flat_map(|e| e.ports.iter().map(|p| p.port..=p.port));
        let all = entity.ports.is_empty().then_some(80..=u16::MAX);
        let fits = |port: &u16| {
            let mut other = self.draft.clone();
            other.end(side).port = Some(*port);
            other.holds(self.rule, Criterion::Ports(side))
        };
        match listed.chain(declared).chain(all).flatten().find(fits) {
            Some(port) => {
                self.report_port(side, port);
                self.draft.end(side).port = Some(port);
                Some(())
            }
            None => self.declare_port(side),
        }
    }

    fn declare_port(&mut self, side: Side) -> Option<()> {
        let name = self.rule.side(side).ports.iter().find_map(|port| match port {
            PortMatch::Named(name) => Some(name.clone()),
            PortMatch::Range(..) => None,
        })?;
        let excluded = !self.rule.side(side).not_ports.is_empty();
        if excluded || !self.end(side).is_workload() || !self.draft.protocol.has_ports() {
            return None;
        }
        let port = *self.draft.end(side).port.get_or_insert(8080);
        self.changes.push(Change::NamedPort { side, port, name });
        Some(())
    }

    fn meet_http(&mut self) -> Option<()> {
        match &mut self.draft.seen {
            Seen::Network(http @ HttpAtNetwork::Unenforced) if self.destination.is_workload() => {
                *http = HttpAtNetwork::Deferred;
                self.changes.push(Change::Sidecar);
            }
            Seen::Network(_) => {}
            Seen::Sidecar { http, .. } => {
                *http = Some(("GET".to_owned(), "/".to_owned()));
                self.changes.push(Change::Http);
            }
        }
        Some(())
    }

    fn meet_method(&mut self) -> Option<()> {
        let wanted = self.rule.http.as_ref()?.methods.first()?;
        let Seen::Sidecar { http: Some((method, _)), .. } = &mut self.draft.seen else {
            return None;
        };
        *method = wanted.to_string();
        self.changes.push(Change::Method { method: wanted.clone() });
        Some(())
    }

    fn meet_path(&mut self) -> Option<()> {
        let (PathMatch::Exact(wanted) | PathMatch::Prefix(wanted)) =
            self.rule.http.as_ref()?.paths.first()?;
        let wanted = percent_encode(wanted.as_bytes(), PATH).to_string();
        let Seen::Sidecar { http: Some((_, path)), .. } = &mut self.draft.seen else {
            return None;
        };
        path.clone_from(&wanted);
        self.changes.push(Change::Path { path: wanted });
        Some(())
    }

    /// The end with the labels that the rule asks for. A certificate that is not that of the end
    /// cannot be mended by labels.
    fn relabelled(&self, side: Side) -> Option<Identity<'a>> {
        let end = self.end(side);
        let Some(peers) = &self.rule.side(side).peers else { return Some(end.clone()) };
        if end.meets(peers, self.draft.address(side)) {
            return Some(end.clone());
        }
        let included = match &peers.included {
            Some(selector) => relabel(end, selector, true)?,
            None => end.clone(),
        };
        match &peers.excluded {
            Some(selector) => relabel(&included, selector, false),
            None => Some(included),
        }
    }

    /// Whether the rule's identity criteria hold for an end.
    fn identified(&self, end: &Identity<'_>, side: Side) -> bool {
        let Some(peers) = &self.rule.side(side).peers else { return true };
        end.meets(peers, self.draft.address(side)) && self.certified
    }
}

/// Whether the sender's certificate, if it shows one, leaves nothing in doubt: it is that of the
/// workload, or it meets the rule's criteria as it is.
fn is_certified(rule: &Rule, draft: &Draft<'_>, source: &Identity<'_>) -> bool {
    let shown = matches!(&draft.seen, Seen::Sidecar { identity, .. } if !identity.is_empty());
    let criterion = Criterion::Peers(Side::Source);
    let bound = source.is_workload() && !draft.is_unknown(rule, criterion);
    !shown || bound || draft.holds(rule, criterion)
}

/// Whether a policy that selects an end still does.
fn stays(policy: &Policy, before: &Identity<'_>, after: &Identity<'_>) -> bool {
    let selects = |end: &Identity<'_>| policy.subject.matches(&end.labels());
    !selects(before) || selects(after)
}

/// Addresses of nobody in particular.
fn anybody() -> [IpAddr; 6] {
    use std::net::{Ipv4Addr, Ipv6Addr};
    [
        Ipv4Addr::new(192, 0, 2, 1).into(),
        Ipv4Addr::new(198, 51, 100, 1).into(),
        Ipv4Addr::new(203, 0, 113, 1).into(),
        Ipv4Addr::new(10, 255, 0, 1).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0xfd00, 0xffff, 0, 0, 0, 0, 0, 1).into(),
    ]
}
