//! Rules: criteria on protocol, addresses, ports, identity and HTTP.

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_model::{self as model, FieldError, IntOrString};
use tortie_selector::{Node, Selector};

use super::{MAX_TEXT, Report, combine, in_namespaces, is_blank, selector, with_accounts};
use crate::labels::{NAMESPACE, SERVICE_ACCOUNT};
use crate::layer4::number;
use crate::name::is_dns_subdomain;
use crate::{
    Accounts, Action, EntityMatch, HttpMatch, IcmpMatch, IpVersion, NormalPath, PathMatch, Peers,
    PortMatch, Protocol, Rule, Scope, ServiceRef,
};

/// Most HTTP methods, and most HTTP paths, of a rule.
const MAX_HTTP: usize = 20;
/// Most nets of one list.
const MAX_NETS: usize = 256;
/// Most ports of one list.
const MAX_PORTS: usize = 50;

/// Reads the rules of one direction of one policy.
pub(super) struct RuleReader<'a> {
    pub(super) report: &'a mut Report,
    /// Namespace of the policy, if it has one.
    pub(super) namespace: Option<&'a SmolStr>,
    /// Whether the rules are for traffic to the endpoint.
    pub(super) ingress: bool,
}

impl RuleReader<'_> {
    pub(super) fn rule(&mut self, field: &str, wire: &model::Rule) -> Rule {
        let protocol = self.protocol(field, "protocol", wire.protocol.as_ref());
        let not_protocol = self.protocol(field, "notProtocol", wire.not_protocol.as_ref());
        let empty = model::EntityRule::default();
        let (source, destination) =
            (wire.source.as_ref().unwrap_or(&empty), wire.destination.as_ref().unwrap_or(&empty));
        let mut rule = Rule {
            action: self.action(field, &wire.action),
            ip_version: None,
            protocol,
            not_protocol,
            icmp: self.icmp(&format!("{field}.icmp"), wire.icmp.as_ref(), protocol),
            not_icmp: self.icmp(&format!("{field}.notICMP"), wire.not_icmp.as_ref(), protocol),
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
        let stated = match given {
            None => None,
            Some(4) => Some(IpVersion::V4),
            Some(6) => Some(IpVersion::V6),
            Some(other) => {
                self.report.add(format!("{field}.ipVersion"), format!("`{other}` is not 4 or 6"));
                None
            }
        };
        let mut version = stated;
        let protocols = [rule.protocol, rule.not_protocol];
        let implied = [(Protocol::ICMP, IpVersion::V4), (Protocol::ICMPV6, IpVersion::V6)];
        for (protocol, family) in implied {
            let named = protocols.contains(&Some(protocol));
            if named && stated.is_some_and(|v| v != family) {
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
            service: self.service(field, wire),
        }
    }

    fn icmp(
        &mut self,
        field: &str,
        wire: Option<&model::Icmp>,
        protocol: Option<Protocol>,
    ) -> Option<IcmpMatch> {
        let wire = wire?;
        if !protocol.is_some_and(|p| [Protocol::ICMP, Protocol::ICMPV6].contains(&p)) {
            let hint = "add `protocol: ICMP` or `protocol: ICMPv6` to the rule";
            self.report.hint(field, "ICMP criteria need protocol ICMP or ICMPv6", hint);
        }
        let number =
            |n: Option<i64>, most: u8| n.map(|n| u8::try_from(n).ok().filter(|n| *n <= most));
        let (kind, code) = (number(wire.type_, 254), number(wire.code, 255));
        if kind == Some(None) {
            self.report.add(format!("{field}.type"), "is not a number from 0 to 254");
        }
        if code == Some(None) {
            self.report.add(format!("{field}.code"), "is not a number from 0 to 255");
        }
        if kind.is_none() && code.is_some() {
            self.report.add(format!("{field}.code"), "needs a type");
        }
        Some(IcmpMatch { kind: kind??, code: code.flatten() })
    }

    /// A Service of the destination in egress rules, of the source in ingress rules.
    fn service(&mut self, entity: &str, wire: &model::EntityRule) -> Option<ServiceRef> {
        let service = wire.services.as_ref()?;
        let field = format!("{entity}.services");
        let source = entity.ends_with(".source");
        if source != self.ingress {
            let side =
                if self.ingress { "the source of ingress" } else { "the destination of egress" };
            self.report.add(&field, format!("can only be {side} rules"));
        }
        if service.name.is_empty() {
            self.report.add(format!("{field}.name"), "is required");
        }
        self.alone(&field, wire, source);
        let given = service.namespace.as_deref().filter(|n| !n.is_empty()).map(SmolStr::from);
        let namespace = given.or_else(|| self.namespace.cloned());
        if namespace.is_none() {
            self.report.add(format!("{field}.namespace"), "is required in a global policy");
        }
        Some(ServiceRef { namespace: namespace?, name: service.name.as_str().into() })
    }

    /// A Service stands alone: it says everything about the side it is on.
    fn alone(&mut self, field: &str, wire: &model::EntityRule, source: bool) {
        let others = [
            ("selector", wire.selector.is_some()),
            ("notSelector", wire.not_selector.is_some()),
            ("nets", wire.nets.is_some()),
            ("notNets", wire.not_nets.is_some()),
            ("namespaceSelector", wire.namespace_selector.is_some()),
            ("serviceAccounts", wire.service_accounts.is_some()),
            ("ports", wire.ports.is_some() && !source),
            ("notPorts", wire.not_ports.is_some() && !source),
        ];
        for (other, _) in others.iter().filter(|(_, given)| *given) {
            self.report.add(field, format!("cannot be combined with `{other}`"));
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
pub(super) fn cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, number(prefix)?).ok()
}

/// A net without bits beyond its prefix, and IPv4 in IPv6 form as the IPv4 it is: that is how
/// addresses are taken, so the net as written would match none.
pub(super) fn canonical(net: IpNet) -> IpNet {
    let net = net.trunc();
    mapped(net).unwrap_or(net)
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
