//! `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy, converted as Calico converts it.
//!
//! A rule with a peer that cannot be enforced (nodes, domain names) fails closed: an Accept rule
//! matches nobody there, a Deny or Pass rule denies everybody.

use ipnet::IpNet;
use tortie_model::{self as model, FieldError};
use tortie_selector::Selector;

use super::kubernetes_policy::{all_of, pods};
use super::{Report, in_namespaces, label_selector};
use crate::name;
use crate::{
    Action, EntityMatch, IpVersion, Order, Peers, Policy, PolicyId, PolicyKind, PortMatch,
    Protocol, Rule, Scope, Side, Stage,
};

/// Most rules of a direction, peers of a rule and protocols of a rule.
const MAX_ENTRIES: usize = 25;
/// Longest name of a rule, in characters.
const MAX_NAME: usize = 100;

impl TryFrom<&model::ClusterNetworkPolicy> for Policy {
    type Error = Vec<FieldError>;

    fn try_from(policy: &model::ClusterNetworkPolicy) -> Result<Policy, Vec<FieldError>> {
        let mut report = Report::default();
        let spec = &policy.spec;
        name::check_names(&policy.metadata, &mut report.0);
        const TIERS: [(&str, &str); 2] = [("Admin", "kube-admin"), ("Baseline", "kube-baseline")];
        let tier = report.word("spec.tier", &spec.tier, &TIERS).unwrap_or_default();
        if !(0..=1000).contains(&spec.priority) {
            let reason = format!("`{}` is not a number from 0 to 1000", spec.priority);
            report.hint("spec.priority", reason, "lower numbers are asked first");
        }
        let subject = subject(spec.subject.as_ref(), &mut report);
        let ingress = ingress(spec.ingress.as_deref().unwrap_or_default(), &mut report);
        let egress = egress(spec.egress.as_deref().unwrap_or_default(), &mut report);
        let order = Order::new(i32::try_from(spec.priority).ok().map(f64::from));
        report.finish(Policy {
            id: PolicyId {
                kind: PolicyKind::KubernetesClusterNetworkPolicy,
                namespace: None,
                name: policy.metadata.name.as_str().into(),
            },
            tier: tier.into(),
            order: order.unwrap_or(Order::LAST),
            subject,
            governs_ingress: spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty()),
            governs_egress: spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
            ingress,
            egress,
            stage: Stage::Normal,
            staged: None,
        })
    }
}

fn subject(wire: Option<&model::ClusterSubject>, report: &mut Report) -> Selector {
    const FIELD: &str = "spec.subject";
    let peers = match wire {
        Some(model::ClusterSubject { namespaces: Some(selector), pods: None }) => {
            by_namespace(&format!("{FIELD}.namespaces"), selector, report)
        }
        Some(model::ClusterSubject { namespaces: None, pods: Some(pods) }) => {
            by_pod(&format!("{FIELD}.pods"), pods, report)
        }
        _ => {
            let hint = "`namespaces: {}` is every pod";
            report.hint(FIELD, "must have exactly one of `namespaces` and `pods`", hint);
            return Selector::all();
        }
    };
    peers.included.unwrap_or_else(Selector::all)
}

fn ingress(wire: &[model::ClusterIngressRule], report: &mut Report) -> Vec<Rule> {
    report.too_many("spec.ingress", wire.len(), MAX_ENTRIES);
    let mut rules = Vec::new();
    for (index, rule) in wire.iter().enumerate() {
        let mut reader = Reader {
            index,
            field: format!("spec.ingress[{index}]"),
            list: "from",
            side: Side::Source,
            report,
        };
        let peers = rule.from.as_deref().unwrap_or_default();
        reader.name(rule.name.as_deref());
        reader.rules(&rule.action, peers, rule.protocols.as_deref(), &mut rules);
    }
    rules
}

fn egress(wire: &[model::ClusterEgressRule], report: &mut Report) -> Vec<Rule> {
    report.too_many("spec.egress", wire.len(), MAX_ENTRIES);
    let mut rules = Vec::new();
    for (index, rule) in wire.iter().enumerate() {
        let mut reader = Reader {
            index,
            field: format!("spec.egress[{index}]"),
            list: "to",
            side: Side::Destination,
            report,
        };
        let peers = rule.to.as_deref().unwrap_or_default();
        reader.name(rule.name.as_deref());
        reader.rules(&rule.action, peers, rule.protocols.as_deref(), &mut rules);
    }
    rules
}

/// Reads one rule, which becomes one for each pair of peer and protocol.
struct Reader<'a> {
    index: usize,
    field: String,
    list: &'static str,
    side: Side,
    report: &'a mut Report,
}

/// What a peer came to.
enum Peer {
    /// Any of these.
    Match(Vec<EntityMatch>),
    /// Understood, but nothing here can enforce it.
    Unsupported,
    /// Refused; the report says why.
    Invalid,
}

impl Reader<'_> {
    /// A rule's name, which is for people only.
    fn name(&mut self, name: Option<&str>) {
        let length = name.map_or(0, |name| name.chars().count());
        if length > MAX_NAME {
            let reason = format!("has {length} characters, more than {MAX_NAME}");
            self.report.hint(format!("{}.name", self.field), reason, "write a shorter name");
        }
    }

    fn rules(
        mut self,
        action: &str,
        peers: &[model::ClusterPeer],
        protocols: Option<&[model::ClusterProtocol]>,
        rules: &mut Vec<Rule>,
    ) {
        let action = self.action(action);
        let field = format!("{}.{}", self.field, self.list);
        self.report.too_many(&field, peers.len(), MAX_ENTRIES);
        if peers.is_empty() {
            let hint = "`namespaces: {}` is every pod; in egress, `networks` are addresses";
            self.report.hint(&field, "is required", hint);
        }
        let protocols = self.protocols(protocols.unwrap_or_default());
        for (index, peer) in peers.iter().enumerate() {
            match self.peer(&format!("{field}[{index}]"), peer) {
                Peer::Match(entities) => {
                    for entity in &entities {
                        rules.extend(protocols.iter().map(|p| self.rule(action, entity, p)));
                    }
                }
                Peer::Unsupported if action != Action::Allow => {
                    rules.push(Rule { origin: self.index, ..Rule::any(Action::Deny) });
                }
                Peer::Unsupported | Peer::Invalid => {}
            }
        }
    }

    fn action(&mut self, text: &str) -> Action {
        const WORDS: [(&str, Action); 3] =
            [("Accept", Action::Allow), ("Deny", Action::Deny), ("Pass", Action::Pass)];
        let field = format!("{}.action", self.field);
        self.report.word(&field, text, &WORDS).unwrap_or(Action::Deny)
    }

    fn rule(&self, action: Action, peer: &EntityMatch, protocol: &Layer4) -> Rule {
        let mut rule = Rule { origin: self.index, ..Rule::any(action) };
        rule.protocol = protocol.protocol;
        rule.source.ports.clone_from(&protocol.source);
        rule.destination.ports.clone_from(&protocol.destination);
        let entity = match self.side {
            Side::Source => &mut rule.source,
            Side::Destination => &mut rule.destination,
        };
        entity.peers.clone_from(&peer.peers);
        entity.nets.clone_from(&peer.nets);
        rule.ip_version = peer.nets.first().map(|net| IpVersion::of(net.addr()));
        rule
    }

    fn peer(&mut self, field: &str, wire: &model::ClusterPeer) -> Peer {
        let given = [
            wire.namespaces.is_some(),
            wire.pods.is_some(),
            wire.networks.is_some(),
            wire.nodes.is_some(),
            wire.domain_names.is_some(),
        ];
        if given.iter().filter(|g| **g).count() != 1 {
            self.report.hint(
                field,
                "must have exactly one kind of peer",
                "write one peer for each",
            );
            return Peer::Invalid;
        }
        if self.side == Side::Source && wire.namespaces.is_none() && wire.pods.is_none() {
            let hint = "use a GlobalNetworkPolicy for other senders";
            self.report.hint(field, "ingress peers are `namespaces` or `pods`", hint);
            return Peer::Invalid;
        }
        let peers = match (&wire.namespaces, &wire.pods, &wire.networks) {
            (Some(selector), ..) => {
                by_namespace(&format!("{field}.namespaces"), selector, self.report)
            }
            (_, Some(pods), _) => by_pod(&format!("{field}.pods"), pods, self.report),
            (.., Some(networks)) => return self.networks(&format!("{field}.networks"), networks),
            _ => return Peer::Unsupported,
        };
        Peer::Match(vec![EntityMatch { peers: Some(peers), ..EntityMatch::default() }])
    }

    fn networks(&mut self, field: &str, wire: &[String]) -> Peer {
        self.report.too_many(field, wire.len(), MAX_ENTRIES);
        let mut nets: Vec<IpNet> = Vec::new();
        for (index, text) in wire.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let net = super::net::cidr(text).ok_or_else(|| format!("`{text}` is not a CIDR"));
            let net = self.report.keep_or(&field, net, super::net::NET_HINT);
            nets.extend(net.map(super::net::canonical));
        }
        if wire.is_empty() {
            self.report.hint(field, "must have at least one CIDR", super::net::NET_HINT);
        }
        // A rule is of one family.
        let (v4, v6): (Vec<_>, Vec<_>) = nets.into_iter().partition(|n| n.addr().is_ipv4());
        let families = [v4, v6].into_iter().filter(|nets| !nets.is_empty());
        Peer::Match(families.map(|nets| EntityMatch { nets, ..EntityMatch::default() }).collect())
    }

    /// Protocols and ports; one entry without criteria if all are meant.
    fn protocols(&mut self, wire: &[model::ClusterProtocol]) -> Vec<Layer4> {
        let field = format!("{}.protocols", self.field);
        self.report.too_many(&field, wire.len(), MAX_ENTRIES);
        if wire.is_empty() {
            return vec![Layer4::default()];
        }
        let entries = wire.iter().enumerate();
        entries.filter_map(|(i, p)| self.layer4(&format!("{field}[{i}]"), p)).collect()
    }

    fn layer4(&mut self, field: &str, wire: &model::ClusterProtocol) -> Option<Layer4> {
        let numbered = [
            ("tcp", Protocol::TCP, &wire.tcp),
            ("udp", Protocol::UDP, &wire.udp),
            ("sctp", Protocol::SCTP, &wire.sctp),
        ];
        let mut given =
            numbered.iter().filter_map(|(n, p, ports)| ports.as_ref().map(|x| (n, p, x)));
        let named = wire.destination_named_port.as_deref();
        match (given.next(), given.next(), named) {
            (Some((name, protocol, ports)), None, None) => {
                let field = format!("{field}.{name}");
                Some(Layer4 {
                    protocol: Some(*protocol),
                    source: self.ports(&format!("{field}.sourcePort"), ports.source_port.as_ref()),
                    destination: self.ports(
                        &format!("{field}.destinationPort"),
                        ports.destination_port.as_ref(),
                    ),
                })
            }
            (None, None, Some(name)) => {
                let port = PortMatch::from_wire(&model::IntOrString::Text(name.to_owned()))
                    .ok()
                    .filter(|port| matches!(port, PortMatch::Named(_)))
                    .ok_or_else(|| format!("`{name}` is not the name of a port"));
                let hint = "write the name of a container's port";
                let field = format!("{field}.destinationNamedPort");
                let port = self.report.keep_or(&field, port, hint)?;
                Some(Layer4 { destination: vec![port], ..Layer4::default() })
            }
            _ => {
                let reason = "must have exactly one of tcp, udp, sctp and destinationNamedPort";
                self.report.hint(field, reason, "write one entry for each");
                None
            }
        }
    }

    fn ports(&mut self, field: &str, wire: Option<&model::ClusterPort>) -> Vec<PortMatch> {
        let Some(wire) = wire else { return Vec::new() };
        let number = |n: i64| u16::try_from(n).ok().filter(|n| *n > 0);
        let range = match (wire.number, &wire.range) {
            (Some(n), None) => number(n).map(|n| (n, n)),
            (None, Some(range)) => {
                number(range.start).zip(number(range.end)).filter(|(first, last)| first < last)
            }
            _ => None,
        };
        if range.is_none() {
            let reason = "must be one number or one ascending range of ports 1 to 65535";
            self.report.hint(field, reason, "write `number: 80` or `range: {start: 80, end: 90}`");
        }
        range.map(|(first, last)| PortMatch::Range(first, last)).into_iter().collect()
    }
}

/// Protocol and ports of a rule.
#[derive(Default)]
struct Layer4 {
    protocol: Option<Protocol>,
    source: Vec<PortMatch>,
    destination: Vec<PortMatch>,
}

fn by_namespace(field: &str, wire: &model::LabelSelector, report: &mut Report) -> Peers {
    let selector = label_selector::convert(field, wire, report);
    let mut parts = vec![pods(report)];
    parts.extend(in_namespaces(field, &selector, report));
    let included = Some(all_of(field, parts, report));
    let text = format!("namespace matching `{selector}`");
    Peers { included, excluded: None, scope: Some(Scope::Selected(selector)), accounts: None, text }
}

fn by_pod(field: &str, wire: &model::NamespacedPods, report: &mut Report) -> Peers {
    let empty = model::LabelSelector::default();
    let namespaces = wire.namespace_selector.as_ref().unwrap_or(&empty);
    let mut peers = by_namespace(&format!("{field}.namespaceSelector"), namespaces, report);
    let field = format!("{field}.podSelector");
    let selector =
        label_selector::convert(&field, wire.pod_selector.as_ref().unwrap_or(&empty), report);
    peers.text = format!("labels `{selector}`, {}", peers.text);
    let parts = peers.included.take().into_iter().chain([selector]).collect();
    peers.included = Some(all_of(&field, parts, report));
    peers
}
