//! `networking.k8s.io/v1` NetworkPolicy and its staged form, converted as Calico converts them:
//! tier `default`, order 1000, Allow rules only, one rule for each protocol and peer.

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_model::{self as model, FieldError, IntOrString, ObjectMeta};
use tortie_selector::Selector;

use super::net::NET_HINT;
use super::policy::{DIRECTIONS, staged_action};
use super::{Report, in_namespaces, label_selector};
use crate::labels::{NAMESPACE, ORCHESTRATOR};
use crate::{
    Action, EntityMatch, IpVersion, Order, Peers, Policy, PolicyId, PolicyKind, PortMatch,
    Protocol, Rule, Scope, Stage, StagedAction,
};
use crate::{kubernetes, name};

/// Position of all Kubernetes policies in tier `default`.
const ORDER: f64 = 1000.0;

impl TryFrom<&model::KubernetesNetworkPolicy> for Policy {
    type Error = Vec<FieldError>;

    fn try_from(policy: &model::KubernetesNetworkPolicy) -> Result<Policy, Vec<FieldError>> {
        convert(PolicyKind::KubernetesNetworkPolicy, &policy.metadata, &policy.spec)
    }
}

impl TryFrom<&model::StagedKubernetesNetworkPolicy> for Policy {
    type Error = Vec<FieldError>;

    fn try_from(policy: &model::StagedKubernetesNetworkPolicy) -> Result<Policy, Vec<FieldError>> {
        convert(PolicyKind::StagedKubernetesNetworkPolicy, &policy.metadata, &policy.spec)
    }
}

fn convert(
    kind: PolicyKind,
    metadata: &ObjectMeta,
    spec: &model::KubernetesNetworkPolicySpec,
) -> Result<Policy, Vec<FieldError>> {
    let mut report = Report::default();
    let namespace = kubernetes::namespace_of(metadata);
    name::check_names(metadata, &mut report.0);
    let staged = staged_action(kind, spec.staged_action.as_deref(), &mut report);
    if staged == Some(StagedAction::Delete) && !is_bare(spec) {
        let hint = "remove the other fields, or stage `Set`";
        report.hint("spec", "a staged deletion has no fields besides `stagedAction`", hint);
    }
    let (governs_ingress, governs_egress) = types(kind, spec, &mut report);
    let mut subject = vec![pods(&mut report)];
    if let Some(selector) = &spec.pod_selector {
        subject.push(label_selector::convert("spec.podSelector", selector, &mut report));
    }
    let own = Selector::equals(NAMESPACE, &namespace);
    subject.extend(report.keep_or("metadata.namespace", own, name::LABEL_HINT));
    let subject = all_of("spec.podSelector", subject, &mut report);
    let mut reader = Reader { report: &mut report, namespace: &namespace };
    let ingress = reader.ingress(spec.ingress.as_deref().unwrap_or_default());
    let egress = reader.egress(spec.egress.as_deref().unwrap_or_default());
    report.finish(Policy {
        id: PolicyId { kind, namespace: Some(namespace), name: metadata.name.as_str().into() },
        tier: "default".into(),
        order: Order::new(Some(ORDER)).unwrap_or(Order::LAST),
        subject,
        governs_ingress,
        governs_egress,
        ingress,
        egress,
        stage: Stage::Normal,
        staged,
    })
}

/// Whether nothing but the staged action is said: empty fields are as good as absent ones.
fn is_bare(spec: &model::KubernetesNetworkPolicySpec) -> bool {
    fn empty<T>(list: Option<&Vec<T>>) -> bool {
        list.is_none_or(Vec::is_empty)
    }
    let selector = spec.pod_selector.clone().unwrap_or_default();
    selector == model::LabelSelector::default()
        && empty(spec.ingress.as_ref())
        && empty(spec.egress.as_ref())
        && empty(spec.policy_types.as_ref())
}

/// The directions governed: as stated; else ingress, and egress if there are egress rules (for the
/// staged kind: if the field is present).
fn types(
    kind: PolicyKind,
    spec: &model::KubernetesNetworkPolicySpec,
    report: &mut Report,
) -> (bool, bool) {
    let egress = match kind {
        PolicyKind::StagedKubernetesNetworkPolicy => spec.egress.is_some(),
        _ => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
    };
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return (true, egress);
    }
    for (index, text) in types.iter().enumerate() {
        report.word(&format!("spec.policyTypes[{index}]"), text, &DIRECTIONS);
    }
    let has = |name: &str| types.iter().any(|t| t == name);
    (has("Ingress"), has("Egress"))
}

/// What all of Kubernetes' policy speaks of: pods, and nothing else.
pub(super) fn pods(report: &mut Report) -> Selector {
    report.keep("spec", Selector::equals(ORCHESTRATOR, "k8s")).unwrap_or_else(Selector::all)
}

/// All of the selectors, those that match everything left out.
pub(super) fn all_of(field: &str, parts: Vec<Selector>, report: &mut Report) -> Selector {
    let parts = parts.into_iter().filter(|s| !s.is_all());
    report.keep(field, Selector::and(parts)).unwrap_or_else(Selector::all)
}

struct Reader<'a> {
    report: &'a mut Report,
    namespace: &'a SmolStr,
}

impl Reader<'_> {
    fn ingress(&mut self, wire: &[model::KubernetesIngressRule]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (index, rule) in wire.iter().enumerate() {
            let field = format!("spec.ingress[{index}]");
            let peers = self.peers(&format!("{field}.from"), rule.from.as_deref());
            let ports = self.ports(&format!("{field}.ports"), rule.ports.as_deref());
            combine(&peers, &ports, &mut rules, |rule, peer| {
                rule.origin = index;
                rule.source = peer;
            });
        }
        rules
    }

    fn egress(&mut self, wire: &[model::KubernetesEgressRule]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (index, rule) in wire.iter().enumerate() {
            let field = format!("spec.egress[{index}]");
            let peers = self.peers(&format!("{field}.to"), rule.to.as_deref());
            let ports = self.ports(&format!("{field}.ports"), rule.ports.as_deref());
            combine(&peers, &ports, &mut rules, |rule, peer| {
                rule.origin = index;
                let ports = std::mem::take(&mut rule.destination.ports);
                rule.destination = EntityMatch { ports, ..peer };
            });
        }
        rules
    }

    /// Peers, any of them; an empty list is anyone.
    fn peers(&mut self, field: &str, wire: Option<&[model::KubernetesPeer]>) -> Vec<EntityMatch> {
        let wire = wire.unwrap_or_default();
        if wire.is_empty() {
            return vec![EntityMatch::default()];
        }
        let peers = wire.iter().enumerate();
        peers.filter_map(|(index, peer)| self.peer(&format!("{field}[{index}]"), peer)).collect()
    }

    fn peer(&mut self, field: &str, wire: &model::KubernetesPeer) -> Option<EntityMatch> {
        let by_label = wire.pod_selector.is_some() || wire.namespace_selector.is_some();
        match &wire.ip_block {
            Some(_) if by_label => {
                let reason = "cannot be combined with podSelector or namespaceSelector";
                self.report.hint(format!("{field}.ipBlock"), reason, "write one peer for each");
                None
            }
            Some(block) => self.ip_block(&format!("{field}.ipBlock"), block),
            None if by_label => Some(self.labels(field, wire)),
            None => {
                let reason = "must have podSelector, namespaceSelector or ipBlock";
                let hint = "`podSelector: {}` is every pod of the namespace";
                self.report.hint(field, reason, hint);
                None
            }
        }
    }

    fn labels(&mut self, field: &str, wire: &model::KubernetesPeer) -> EntityMatch {
        let mut parts = vec![pods(self.report)];
        let scope = match &wire.namespace_selector {
            None => {
                parts.extend(self.report.keep(field, Selector::equals(NAMESPACE, self.namespace)));
                Scope::Own(self.namespace.clone())
            }
            Some(selector) => {
                let field = format!("{field}.namespaceSelector");
                let selector = label_selector::convert(&field, selector, self.report);
                parts.extend(in_namespaces(&field, &selector, self.report));
                Scope::Selected(selector)
            }
        };
        let mut text = match &scope {
            Scope::Own(namespace) => format!("namespace `{namespace}`"),
            Scope::Selected(selector) => format!("namespace matching `{selector}`"),
        };
        if let Some(selector) = &wire.pod_selector {
            let selector =
                label_selector::convert(&format!("{field}.podSelector"), selector, self.report);
            if !selector.is_all() {
                text = format!("labels `{selector}`, {text}");
            }
            parts.push(selector);
        }
        let included = Some(all_of(field, parts, self.report));
        let scope = Some(scope);
        let peers = Peers { included, excluded: None, scope, accounts: None, text };
        EntityMatch { peers: Some(peers), ..EntityMatch::default() }
    }

    fn ip_block(&mut self, field: &str, wire: &model::IpBlock) -> Option<EntityMatch> {
        let block = self.net(&format!("{field}.cidr"), &wire.cidr)?;
        let mut not_nets = Vec::new();
        for (index, text) in wire.except.iter().flatten().enumerate() {
            let field = format!("{field}.except[{index}]");
            let Some(hole) = self.net(&field, text) else { continue };
            if !block.contains(&hole) || block == hole {
                let reason = format!("`{text}` is not a part of `{}`", wire.cidr);
                self.report.hint(field, reason, "remove it: it excludes nothing, or everything");
            }
            not_nets.push(hole);
        }
        Some(EntityMatch { nets: vec![block], not_nets, ..EntityMatch::default() })
    }

    fn net(&mut self, field: &str, text: &str) -> Option<IpNet> {
        let net = super::net::cidr(text).map(super::net::canonical);
        let net = net.ok_or_else(|| format!("`{text}` is not a CIDR"));
        self.report.keep_or(field, net, NET_HINT)
    }

    /// Ports by protocol; one entry without criteria if all are meant.
    fn ports(&mut self, field: &str, wire: Option<&[model::KubernetesPort]>) -> Vec<Ports> {
        let wire = wire.unwrap_or_default();
        if wire.is_empty() {
            return vec![Ports { protocol: None, ports: Vec::new() }];
        }
        let mut result: Vec<Ports> = Vec::new();
        for (index, port) in wire.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let Some((protocol, port)) = self.port(&field, port) else { continue };
            let known = result.iter_mut().find(|p| p.protocol == Some(protocol));
            match (known, port) {
                // A whole protocol absorbs its ports.
                (Some(entry), None) => entry.ports.clear(),
                (Some(entry), Some(_)) if entry.ports.is_empty() => {}
                (Some(entry), Some(port)) => entry.ports.push(port),
                (None, port) => {
                    let ports = port.into_iter().collect();
                    result.push(Ports { protocol: Some(protocol), ports });
                }
            }
        }
        result
    }

    fn port(
        &mut self,
        field: &str,
        wire: &model::KubernetesPort,
    ) -> Option<(Protocol, Option<PortMatch>)> {
        let text = wire.protocol.as_deref().unwrap_or("TCP");
        let protocol = Protocol::parse(text).filter(|p| p.has_ports());
        let reason = format!("`{text}` is none of `TCP`, `UDP` and `SCTP`");
        let hint = "other protocols need a policy of Calico";
        let protocol =
            self.report.keep_or(&format!("{field}.protocol"), protocol.ok_or(reason), hint)?;
        let Some(port) = &wire.port else {
            if wire.end_port.is_some() {
                let hint = "add `port`";
                self.report.hint(format!("{field}.endPort"), "needs a port to start at", hint);
            }
            return Some((protocol, None));
        };
        let hint = "write a number, or the name of a container's port";
        let port = self.report.keep_or(&format!("{field}.port"), number_or_name(port), hint)?;
        match (port, wire.end_port) {
            (port, None) => Some((protocol, Some(port))),
            (PortMatch::Named(name), Some(_)) => {
                let reason = format!("port `{name}` is a name, which cannot start a range");
                self.report.hint(format!("{field}.endPort"), reason, "write `port` as a number");
                None
            }
            (PortMatch::Range(first, _), Some(given)) => {
                let last = u16::try_from(given).ok().filter(|last| *last >= first);
                let reason = format!("`{given}` is not a port from {first} to 65535");
                let hint = "a range ends where it starts, or later";
                let field = format!("{field}.endPort");
                let last = self.report.keep_or(&field, last.ok_or(reason), hint)?;
                Some((protocol, Some(PortMatch::Range(first, last))))
            }
        }
    }
}

/// A port as Kubernetes has them: a number, or a name; text never holds a range.
fn number_or_name(wire: &IntOrString) -> Result<PortMatch, String> {
    match PortMatch::from_wire(wire)? {
        PortMatch::Range(..) if matches!(wire, IntOrString::Text(_)) => {
            Err(format!("`{wire}` is text, but not the name of a port"))
        }
        port => Ok(port),
    }
}

/// Ports of one protocol; no protocol is any, no ports are all.
struct Ports {
    protocol: Option<Protocol>,
    ports: Vec<PortMatch>,
}

/// One Allow rule for each pair of peer and protocol.
fn combine(
    peers: &[EntityMatch],
    ports: &[Ports],
    rules: &mut Vec<Rule>,
    place: impl Fn(&mut Rule, EntityMatch),
) {
    for ports in ports {
        for peer in peers {
            let mut rule = Rule::any(Action::Allow);
            rule.protocol = ports.protocol;
            rule.destination.ports.clone_from(&ports.ports);
            rule.ip_version = peer.nets.first().map(|net| IpVersion::of(net.addr()));
            place(&mut rule, peer.clone());
            rules.push(rule);
        }
    }
}
