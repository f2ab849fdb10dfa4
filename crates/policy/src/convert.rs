//! From the wire to the domain types. What converts is exactly what can be enforced, so admission,
//! `tortie validate` and every engine refuse the same things with the same words (house rule 11).
//!
//! The rules are those of Calico's validator and of its API's CEL rules.

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_model::{self as model, FieldError, IntOrString, ObjectMeta};
use tortie_selector::{Node, Selector};

use crate::labels::{NAMESPACE, SERVICE_ACCOUNT, namespace_label, service_account_label};
use crate::layer4::number;
use crate::name::{self, is_dns_label, is_dns_subdomain, not_a_label};
use crate::{
    Accounts, Action, DefaultAction, EntityMatch, HttpMatch, IpVersion, NormalPath, Order,
    PathMatch, Peers, Policy, PolicyId, PolicyKind, PortMatch, Protocol, Rule, Scope, Tier,
    kubernetes,
};

/// Longest selector, path or other text the API accepts, in bytes.
const MAX_TEXT: usize = 1024;
/// Most HTTP methods, and most HTTP paths, of a rule.
const MAX_HTTP: usize = 20;
/// Most nets of one list.
const MAX_NETS: usize = 256;
/// Most ports of one list.
const MAX_PORTS: usize = 50;
/// Most rules of one direction.
const MAX_RULES: usize = 1024;

/// Tiers that exist without being defined, with their fixed order and default action.
pub(crate) const BUILT_IN_TIERS: [(&str, f64, DefaultAction); 3] = [
    ("kube-admin", 1_000.0, DefaultAction::Pass),
    ("default", 1_000_000.0, DefaultAction::Deny),
    ("kube-baseline", 10_000_000.0, DefaultAction::Pass),
];

/// Collects the errors of one resource.
#[derive(Default)]
struct Report(Vec<FieldError>);

impl Report {
    fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(FieldError::new(field, reason));
    }

    fn hint(&mut self, field: impl Into<String>, reason: impl Into<String>, hint: &str) {
        self.0.push(FieldError::new(field, reason).hint(hint));
    }

    /// The value, or nothing and an entry in the report.
    fn keep<T, E: ToString>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.add(field, e.to_string())).ok()
    }

    fn too_many(&mut self, field: &str, count: usize, most: usize) {
        if count > most {
            self.add(field, format!("has {count} entries, more than {most}"));
        }
    }

    fn finish<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

impl TryFrom<&model::Tier> for Tier {
    type Error = Vec<FieldError>;

    fn try_from(tier: &model::Tier) -> Result<Tier, Vec<FieldError>> {
        let mut report = Report::default();
        let name = &tier.metadata.name;
        if !is_dns_label(name) {
            report.add("metadata.name", not_a_label(name));
        }
        let order = tier.spec.order.unwrap_or(1_000_000.0);
        let default_action = default_action(tier.spec.default_action.as_deref(), &mut report);
        if let Some((_, fixed, action)) = BUILT_IN_TIERS.iter().find(|(n, ..)| n == name)
            && (order != *fixed || default_action != *action)
        {
            let reason =
                format!("tier `{name}` is built in: order {fixed} and {action:?} are fixed");
            report.add("spec", reason);
        }
        let order = report.keep("spec.order", Order::new(Some(order))).unwrap_or(Order::LAST);
        report.finish(Tier { name: name.into(), order, default_action, defined: true })
    }
}

fn default_action(text: Option<&str>, report: &mut Report) -> DefaultAction {
    match text {
        None | Some("Deny") => DefaultAction::Deny,
        Some("Pass") => DefaultAction::Pass,
        Some(other) => {
            report.add("spec.defaultAction", format!("`{other}` is neither `Deny` nor `Pass`"));
            DefaultAction::Deny
        }
    }
}

impl TryFrom<&model::GlobalNetworkPolicy> for Policy {
    type Error = Vec<FieldError>;

    fn try_from(policy: &model::GlobalNetworkPolicy) -> Result<Policy, Vec<FieldError>> {
        convert(PolicyKind::GlobalNetworkPolicy, &policy.metadata, &policy.spec)
    }
}

impl TryFrom<&model::NetworkPolicy> for Policy {
    type Error = Vec<FieldError>;

    fn try_from(policy: &model::NetworkPolicy) -> Result<Policy, Vec<FieldError>> {
        convert(PolicyKind::NetworkPolicy, &policy.metadata, &policy.spec)
    }
}

fn convert(
    kind: PolicyKind,
    metadata: &ObjectMeta,
    spec: &model::PolicySpec,
) -> Result<Policy, Vec<FieldError>> {
    let mut report = Report::default();
    policy_name(kind, &metadata.name, &mut report);
    let namespace = match kind {
        PolicyKind::GlobalNetworkPolicy => None,
        PolicyKind::NetworkPolicy => {
            name::check_namespace(metadata, &mut report.0);
            Some(kubernetes::namespace_of(metadata))
        }
    };
    let tier = spec.tier.as_deref().filter(|t| !t.is_empty()).unwrap_or("default");
    if !is_dns_label(tier) {
        report.add("spec.tier", not_a_label(tier));
    }
    unsupported(kind, spec, &mut report);
    let (governs_ingress, governs_egress) = types(spec, &mut report);
    let order = report.keep("spec.order", Order::new(spec.order)).unwrap_or(Order::LAST);
    let subject = subject(namespace.as_deref(), spec, &mut report);
    let mut rules = |field: &str, rules: Option<&Vec<model::Rule>>, ingress: bool| {
        let rules = rules.map(Vec::as_slice).unwrap_or_default();
        report.too_many(field, rules.len(), MAX_RULES);
        let convert = |(index, wire): (usize, &model::Rule)| {
            let field = format!("{field}[{index}]");
            RuleReader { report: &mut report, namespace: namespace.as_ref(), ingress }
                .rule(&field, wire)
        };
        rules.iter().enumerate().map(convert).collect()
    };
    let ingress = rules("spec.ingress", spec.ingress.as_ref(), true);
    let egress = rules("spec.egress", spec.egress.as_ref(), false);
    report.finish(Policy {
        id: PolicyId { kind, namespace, name: metadata.name.as_str().into() },
        tier: tier.into(),
        order,
        subject,
        governs_ingress,
        governs_egress,
        ingress,
        egress,
    })
}

/// One or two DNS labels joined by a dot (the first may be a tier's name of older manifests), or,
/// in a namespace, the `knp.default.` and `ossg.default.` forms that older tools list.
fn policy_name(kind: PolicyKind, name: &str, report: &mut Report) {
    let generated = ["knp.default.", "ossg.default."].iter().find_map(|p| name.strip_prefix(p));
    let generated = generated.filter(|_| kind == PolicyKind::NetworkPolicy);
    let simple = name.split('.').count() <= 2;
    let fits = is_dns_subdomain(generated.unwrap_or(name)) && (simple || generated.is_some());
    if name.len() > 253 || !fits {
        report.hint(
            "metadata.name",
            format!("`{name}` is not one or two DNS labels joined by a dot"),
            "use lower-case letters, digits and `-`",
        );
    }
}

/// Fields of the policy language that are refused: some in this kind, some until they are
/// understood. Ignoring one could allow what the policy denies.
fn unsupported(kind: PolicyKind, spec: &model::PolicySpec, report: &mut Report) {
    let namespaced = kind == PolicyKind::NetworkPolicy;
    if namespaced && spec.namespace_selector.is_some() {
        report.hint(
            "spec.namespaceSelector",
            "a NetworkPolicy applies to its own namespace only",
            "use a GlobalNetworkPolicy",
        );
    }
    for (field, value) in [
        ("spec.doNotTrack", spec.do_not_track),
        ("spec.preDNAT", spec.pre_dnat),
        ("spec.applyOnForward", spec.apply_on_forward),
    ] {
        match value {
            Some(_) if namespaced => report.add(field, "only a GlobalNetworkPolicy has this field"),
            Some(true) => report.add(field, "policy of host endpoints is not supported yet"),
            _ => {}
        }
    }
    performance_hints(spec.performance_hints.as_deref().unwrap_or_default(), report);
}

/// There is one hint, and it changes no verdict.
fn performance_hints(hints: &[String], report: &mut Report) {
    for (index, hint) in hints.iter().enumerate() {
        let field = format!("spec.performanceHints[{index}]");
        if hint != "AssumeNeededOnEveryNode" {
            report.add(field, format!("`{hint}` is not a known hint"));
        } else if index > 0 {
            report.add(field, format!("`{hint}` is given twice"));
        }
    }
}

/// The directions a policy governs: as stated, or both if it has rules for both, egress if only
/// for egress, else ingress.
fn types(spec: &model::PolicySpec, report: &mut Report) -> (bool, bool) {
    let has = |rules: &Option<Vec<model::Rule>>| rules.as_ref().is_some_and(|r| !r.is_empty());
    let types = spec.types.as_deref().unwrap_or_default();
    let mut governs = (false, false);
    for (index, text) in types.iter().enumerate() {
        let field = format!("spec.types[{index}]");
        let slot = match text.as_str() {
            "Ingress" => &mut governs.0,
            "Egress" => &mut governs.1,
            other => {
                report.add(field, format!("`{other}` is neither `Ingress` nor `Egress`"));
                continue;
            }
        };
        if std::mem::replace(slot, true) {
            report.add(field, format!("`{text}` is given twice"));
        }
    }
    match (types.is_empty(), has(&spec.ingress), has(&spec.egress)) {
        (false, ..) => governs,
        (true, true, true) => (true, true),
        (true, false, true) => (false, true),
        (true, _, false) => (true, false),
    }
}

/// The endpoints a policy applies to.
fn subject(namespace: Option<&str>, spec: &model::PolicySpec, report: &mut Report) -> Selector {
    let mut parts = Vec::new();
    let selector = policy_selector("spec.selector", spec.selector.as_deref(), report);
    parts.extend(selector.filter(|s| !s.is_all()));
    if let Some(namespace) = namespace {
        parts.extend(report.keep("metadata.namespace", Selector::equals(NAMESPACE, namespace)));
    }
    let (field, text) = ("spec.namespaceSelector", spec.namespace_selector.as_deref());
    let namespaces = policy_selector(field, text, report).filter(|s| !is_blank(text, s));
    parts.extend(namespaces.and_then(|s| in_namespaces(field, &s, report)));
    let (field, text) = ("spec.serviceAccountSelector", spec.service_account_selector.as_deref());
    let accounts = policy_selector(field, text, report).filter(|s| !is_blank(text, s));
    parts.extend(accounts.and_then(|s| with_accounts(field, &s, report)));
    combine("spec.selector", parts, report).unwrap_or_else(Selector::all)
}

/// A selector of the policy as a whole, where `global()` has no meaning.
fn policy_selector(field: &str, text: Option<&str>, report: &mut Report) -> Option<Selector> {
    let selector = selector(field, text, report)?;
    if selector.uses_global() {
        report.hint(
            field,
            "`global()` may only be a rule's namespaceSelector",
            "use `!has(projectcalico.org/namespace)` to select what has no namespace",
        );
        return None;
    }
    Some(selector)
}

fn selector(field: &str, text: Option<&str>, report: &mut Report) -> Option<Selector> {
    let text = text?;
    if text.len() > MAX_TEXT {
        report.add(field, format!("is longer than {MAX_TEXT} bytes"));
        return None;
    }
    match Selector::parse(text) {
        Ok(selector) => Some(selector),
        Err(error) => {
            let mut problem =
                FieldError::new(field, format!("bad selector: {error}\n{}", error.render()));
            problem.hint = error.hint().map(|h| h.to_string());
            report.0.push(problem);
            None
        }
    }
}

fn combine(field: &str, parts: Vec<Selector>, report: &mut Report) -> Option<Selector> {
    report.keep(field, Selector::and(parts))
}

/// A namespace selector as a selector over an endpoint's labels.
fn in_namespaces(field: &str, selector: &Selector, report: &mut Report) -> Option<Selector> {
    let has_namespace = || Node::Has(NAMESPACE.into());
    let prefixed = selector.map_labels(namespace_label).and_then(|s| {
        s.rewrite(|leaf| match leaf {
            Node::All => Some(has_namespace()),
            Node::Global => Some(Node::Not(Box::new(has_namespace()))),
            _ => None,
        })
    });
    report.keep(field, prefixed)
}

/// A service account selector as a selector over an endpoint's labels.
fn with_accounts(field: &str, selector: &Selector, report: &mut Report) -> Option<Selector> {
    let prefixed = selector.map_labels(service_account_label).and_then(|s| {
        s.rewrite(|leaf| matches!(leaf, Node::All).then(|| Node::Has(SERVICE_ACCOUNT.into())))
    });
    report.keep(field, prefixed)
}

/// Reads the rules of one direction of one policy.
struct RuleReader<'a> {
    report: &'a mut Report,
    namespace: Option<&'a SmolStr>,
    ingress: bool,
}

impl RuleReader<'_> {
    fn rule(&mut self, field: &str, wire: &model::Rule) -> Rule {
        let protocol = self.protocol(field, "protocol", wire.protocol.as_ref());
        let not_protocol = self.protocol(field, "notProtocol", wire.not_protocol.as_ref());
        let empty = model::EntityRule::default();
        let (source, destination) =
            (wire.source.as_ref().unwrap_or(&empty), wire.destination.as_ref().unwrap_or(&empty));
        for (name, given) in [("icmp", &wire.icmp), ("notICMP", &wire.not_icmp)] {
            if given.is_some() {
                self.report.add(format!("{field}.{name}"), "ICMP criteria are not supported yet");
            }
        }
        let mut rule = Rule {
            action: self.action(field, &wire.action),
            ip_version: None,
            protocol,
            not_protocol,
            source: self.entity(&format!("{field}.source"), source, protocol),
            destination: self.entity(&format!("{field}.destination"), destination, protocol),
            http: wire.http.as_ref().map(|http| self.http(&format!("{field}.http"), wire, http)),
        };
        rule.ip_version = self.ip_version(field, wire.ip_version, &rule);
        rule
    }

    fn action(&mut self, field: &str, text: &str) -> Action {
        match text {
            "Allow" => Action::Allow,
            "Deny" => Action::Deny,
            "Log" => Action::Log,
            "Pass" => Action::Pass,
            "" => {
                self.report.add(format!("{field}.action"), "is required");
                Action::Deny
            }
            other => {
                let reason = format!("`{other}` is none of `Allow`, `Deny`, `Log` and `Pass`");
                self.report.add(format!("{field}.action"), reason);
                Action::Deny
            }
        }
    }

    fn protocol(
        &mut self,
        field: &str,
        name: &str,
        value: Option<&IntOrString>,
    ) -> Option<Protocol> {
        let value = value?;
        let protocol = Protocol::from_wire(value);
        if protocol.is_none() {
            let reason = format!("`{value}` is neither a protocol's name nor a number 1 to 255");
            let names = "the names are TCP, UDP, ICMP, ICMPv6, SCTP and UDPLite";
            self.report.hint(format!("{field}.{name}"), reason, names);
        }
        protocol
    }

    /// The family of a rule: as given, and as its nets and protocol imply; all must agree.
    fn ip_version(&mut self, field: &str, given: Option<i64>, rule: &Rule) -> Option<IpVersion> {
        let mut version = match given {
            None => None,
            Some(4) => Some(IpVersion::V4),
            Some(6) => Some(IpVersion::V6),
            Some(other) => {
                self.report.add(format!("{field}.ipVersion"), format!("`{other}` is not 4 or 6"));
                None
            }
        };
        let protocols = [rule.protocol, rule.not_protocol];
        let implied = [(Protocol::ICMP, IpVersion::V4), (Protocol::ICMPV6, IpVersion::V6)];
        for (protocol, family) in implied {
            let named = protocols.contains(&Some(protocol));
            if named && version.is_some_and(|v| v != family) {
                let reason = format!("{protocol} is {family} only");
                self.report.add(format!("{field}.ipVersion"), reason);
            }
            if rule.protocol == Some(protocol) {
                version = version.or(Some(family));
            }
        }
        let sides = [&rule.source, &rule.destination];
        for net in sides.iter().flat_map(|s| s.nets.iter().chain(&s.not_nets)) {
            let family = IpVersion::of(net.addr());
            let before = *version.get_or_insert(family);
            if before != family {
                let reason = format!("`{net}` is {family}, but the rule is already {before} only");
                self.report.hint(field, reason, "write one rule for each address family");
                return version;
            }
        }
        version
    }

    fn entity(
        &mut self,
        field: &str,
        wire: &model::EntityRule,
        protocol: Option<Protocol>,
    ) -> EntityMatch {
        if wire.services.is_some() {
            let field = format!("{field}.services");
            self.report.add(field, "service criteria are not supported yet");
        }
        EntityMatch {
            peers: self.peers(field, wire),
            nets: self.nets(&format!("{field}.nets"), wire.nets.as_deref(), false),
            not_nets: self.nets(&format!("{field}.notNets"), wire.not_nets.as_deref(), true),
            ports: self.ports(&format!("{field}.ports"), wire.ports.as_deref(), protocol),
            not_ports: self.ports(
                &format!("{field}.notPorts"),
                wire.not_ports.as_deref(),
                protocol,
            ),
        }
    }

    fn nets(&mut self, field: &str, wire: Option<&[String]>, negated: bool) -> Vec<IpNet> {
        let wire = wire.unwrap_or_default();
        self.report.too_many(field, wire.len(), MAX_NETS);
        let mut nets = Vec::new();
        for (index, text) in wire.iter().enumerate() {
            match net(text, negated) {
                Ok(net) => nets.push(net),
                Err(mut error) => {
                    error.field = format!("{field}[{index}]");
                    self.report.0.push(error);
                }
            }
        }
        nets
    }

    fn ports(
        &mut self,
        field: &str,
        wire: Option<&[IntOrString]>,
        protocol: Option<Protocol>,
    ) -> Vec<PortMatch> {
        let wire = wire.unwrap_or_default();
        self.report.too_many(field, wire.len(), MAX_PORTS);
        let mut ports = Vec::new();
        for (index, value) in wire.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let Some(port) = self.report.keep(&field, PortMatch::from_wire(value)) else {
                continue;
            };
            let named = matches!(port, PortMatch::Named(_));
            match protocol {
                Some(p) if p.has_ports() => {}
                Some(p) => self.report.add(field, format!("{p} has no ports")),
                None if named => {}
                None => self.report.hint(
                    field,
                    format!("port {port} needs a protocol"),
                    "add `protocol: TCP` (or UDP, SCTP) to the rule",
                ),
            }
            ports.push(port);
        }
        ports
    }

    /// Selectors, namespaces and service accounts of one side, combined as Calico combines them:
    /// the namespace part is the policy's own namespace unless a namespaceSelector is given, and is
    /// asked only where there is any identity criterion at all.
    fn peers(&mut self, field: &str, wire: &model::EntityRule) -> Option<Peers> {
        let accounts_field = format!("{field}.serviceAccounts");
        let names = |n: &'static str| format!("{field}.{n}");
        let selected = selector(&names("selector"), wire.selector.as_deref(), self.report);
        if selected.as_ref().is_some_and(Selector::uses_global) {
            let hint = "write `namespaceSelector: global()` beside the selector";
            self.report.hint(names("selector"), "`global()` is a namespaceSelector", hint);
        }
        let excluded = selector(&names("notSelector"), wire.not_selector.as_deref(), self.report);
        let excluded = excluded.filter(|s| !is_blank(wire.not_selector.as_deref(), s));
        let scope = self.scope(&names("namespaceSelector"), wire);
        let accounts =
            wire.service_accounts.as_ref().and_then(|a| self.accounts(&accounts_field, a));
        let selected = selected.filter(|s| !is_blank(wire.selector.as_deref(), s));
        if selected.is_none() && excluded.is_none() && scope.is_none() && accounts.is_none() {
            return None;
        }
        let scope = scope.or_else(|| self.namespace.cloned().map(Scope::Own));
        let text = describe(wire, scope.as_ref());
        let mut parts = Vec::new();
        parts.extend(scope.as_ref().and_then(|s| self.scope_selector(field, s)));
        parts.extend(selected);
        parts.extend(
            accounts.as_ref().map(|a| self.account_selectors(field, a)).unwrap_or_default(),
        );
        let positive = !parts.is_empty();
        let (included, excluded) = match (positive, excluded) {
            (true, Some(not)) => {
                parts.push(not.not());
                (combine(field, parts, self.report), None)
            }
            (true, None) => (combine(field, parts, self.report), None),
            (false, not) => (None, not),
        };
        Some(Peers { included, excluded, scope, accounts, text })
    }

    fn scope(&mut self, field: &str, wire: &model::EntityRule) -> Option<Scope> {
        let selector = selector(field, wire.namespace_selector.as_deref(), self.report)?;
        if is_blank(wire.namespace_selector.as_deref(), &selector) {
            return None;
        }
        if selector.uses_global() && !matches!(selector.node(), Node::Global) {
            self.report.add(field, "`global()` must stand alone");
        }
        Some(Scope::Selected(selector))
    }

    fn scope_selector(&mut self, field: &str, scope: &Scope) -> Option<Selector> {
        match scope {
            Scope::Own(namespace) => {
                self.report.keep(field, Selector::equals(NAMESPACE, namespace))
            }
            Scope::Selected(selector) => in_namespaces(field, selector, self.report),
        }
    }

    fn accounts(&mut self, field: &str, wire: &model::ServiceAccountMatch) -> Option<Accounts> {
        let names: Vec<SmolStr> = wire.names.iter().flatten().map(SmolStr::from).collect();
        for (index, name) in names.iter().enumerate() {
            if !is_dns_subdomain(name) {
                let reason = format!("`{name}` is not the name of a service account");
                self.report.add(format!("{field}.names[{index}]"), reason);
            }
        }
        let text = wire.selector.as_deref();
        let selector = selector(&format!("{field}.selector"), text, self.report);
        if selector.as_ref().is_some_and(Selector::uses_global) {
            let reason = "`global()` has no meaning for service accounts";
            self.report.add(format!("{field}.selector"), reason);
        }
        let selector = selector.filter(|s| !is_blank(text, s));
        let any = !names.is_empty() || selector.is_some();
        any.then_some(Accounts { names, selector })
    }

    fn account_selectors(&mut self, field: &str, accounts: &Accounts) -> Vec<Selector> {
        let mut parts = Vec::new();
        if !accounts.names.is_empty() {
            let names = accounts.names.iter().map(SmolStr::as_str);
            parts.extend(self.report.keep(field, Selector::is_in(SERVICE_ACCOUNT, names)));
        }
        let selector = accounts.selector.as_ref();
        parts.extend(selector.and_then(|s| with_accounts(field, s, self.report)));
        parts
    }

    fn http(&mut self, field: &str, rule: &model::Rule, wire: &model::HttpMatch) -> HttpMatch {
        if !self.ingress {
            self.report.add(field, "HTTP criteria are possible in ingress rules only");
        }
        if rule.action != "Allow" {
            self.report.add(field, "HTTP criteria are possible in Allow rules only");
        }
        let protocol = rule.protocol.as_ref();
        if protocol.is_some_and(|p| Protocol::from_wire(p) != Some(Protocol::TCP)) {
            self.report.add(field, "HTTP criteria need protocol TCP, or none");
        }
        HttpMatch { methods: self.methods(field, wire), paths: self.paths(field, wire) }
    }

    fn methods(&mut self, field: &str, wire: &model::HttpMatch) -> Vec<SmolStr> {
        let wire = wire.methods.as_deref().unwrap_or_default();
        let field = format!("{field}.methods");
        self.report.too_many(&field, wire.len(), MAX_HTTP);
        let mut methods: Vec<SmolStr> = Vec::new();
        for (index, method) in wire.iter().enumerate() {
            if methods.contains(&method.into()) {
                self.report.add(format!("{field}[{index}]"), format!("`{method}` is given twice"));
            }
            methods.push(method.into());
        }
        methods
    }

    fn paths(&mut self, field: &str, wire: &model::HttpMatch) -> Vec<PathMatch> {
        let wire = wire.paths.as_deref().unwrap_or_default();
        let field = format!("{field}.paths");
        self.report.too_many(&field, wire.len(), MAX_HTTP);
        let mut paths = Vec::new();
        for (index, path) in wire.iter().enumerate() {
            let field = format!("{field}[{index}]");
            paths.extend(self.report.keep(&field, path_match(path)));
        }
        paths
    }
}

/// Whether a selector was left empty, which means "no criterion" where `all()` would be one.
fn is_blank(text: Option<&str>, selector: &Selector) -> bool {
    selector.is_all() && text.is_some_and(|t| t.trim().is_empty())
}

/// The identity criteria of one side in words.
fn describe(wire: &model::EntityRule, scope: Option<&Scope>) -> String {
    let mut parts = Vec::new();
    let mut quoted = |what: &str, text: Option<&str>| {
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            parts.push(format!("{what} `{text}`"));
        }
    };
    let accounts = wire.service_accounts.as_ref();
    let names = accounts.and_then(|a| a.names.as_ref()).map(|names| names.join("`, `"));
    quoted("service account", names.as_deref());
    quoted("service account matching", accounts.and_then(|a| a.selector.as_deref()));
    quoted("labels", wire.selector.as_deref());
    quoted("not labels", wire.not_selector.as_deref());
    match scope {
        Some(Scope::Own(namespace)) => quoted("namespace", Some(namespace)),
        _ => quoted("namespace matching", wire.namespace_selector.as_deref()),
    }
    parts.join(", ")
}

fn net(text: &str, negated: bool) -> Result<IpNet, FieldError> {
    let error = |reason: String| FieldError::new("", reason);
    let net: IpNet = cidr(text).ok_or_else(|| match text.parse::<std::net::IpAddr>() {
        Ok(address) => error(format!("`{text}` is an address, not a CIDR"))
            .hint(format!("write `{}`", IpNet::from(address))),
        Err(_) => error(format!("`{text}` is not a CIDR such as `10.0.0.0/8`")),
    })?;
    if net != net.trunc() {
        let hint = format!("write `{}`", net.trunc());
        return Err(error(format!("`{text}` has bits set beyond its prefix")).hint(hint));
    }
    if let Some(net) = mapped(net) {
        // Addresses of that form are taken as IPv4, so the net as written would match none.
        let hint = format!("write `{net}`");
        return Err(error(format!("`{text}` is an IPv4 net in IPv6 form")).hint(hint));
    }
    if negated && net.prefix_len() == 0 {
        return Err(error(format!("`{text}` leaves no address")));
    }
    Ok(net)
}

/// An address and a prefix length. Leading zeros, which some read as octal, are refused.
fn cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, number(prefix)?).ok()
}

/// The IPv4 net that a net of `::ffff:0:0/96` stands for.
fn mapped(net: IpNet) -> Option<IpNet> {
    let IpNet::V6(net) = net else { return None };
    let (address, prefix) = (net.addr().to_ipv4_mapped()?, net.prefix_len().checked_sub(96)?);
    IpNet::new(address.into(), prefix).ok()
}

fn path_match(wire: &model::HttpPath) -> Result<PathMatch, String> {
    let (text, wrap): (&str, fn(NormalPath<'static>) -> PathMatch) =
        match (wire.exact.as_deref(), wire.prefix.as_deref()) {
            (Some(exact), None) => (exact, PathMatch::Exact),
            (None, Some(prefix)) => (prefix, PathMatch::Prefix),
            (Some(_), Some(_)) => return Err("give either `exact` or `prefix`, not both".into()),
            (None, None) => return Err("give `exact` or `prefix`".into()),
        };
    if text.len() > MAX_TEXT {
        return Err(format!("is longer than {MAX_TEXT} bytes"));
    }
    if !text.starts_with('/') {
        return Err(format!("`{text}` does not start with `/`"));
    }
    if let Some(c) = text.chars().find(|c| matches!(c, '?' | '#' | ' ' | '\t' | '\n' | '\r')) {
        return Err(format!("`{text}` has {c:?}, which no path may have"));
    }
    let path = NormalPath::parse(text).map_err(|e| format!("`{text}` cannot be matched: {e}"))?;
    Ok(wrap(path.into_owned()))
}
