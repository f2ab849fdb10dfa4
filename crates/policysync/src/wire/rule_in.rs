//! Rules from messages.
//!
//! A part that cannot be used is never just left out: an Allow rule with one matches nothing, a
//! Deny rule loses the criterion and so matches more, and a Pass rule denies what the rest of it
//! matches. An unknown action denies.

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_calc::{RuleSets, SetId, SideSets};
use tortie_policy::{
    Accounts, Action, Compat, CompatPoint, EntityMatch, HttpMatch, IcmpMatch, IpVersion,
    NormalPath, PathMatch, Peers, PortMatch, Protocol, Rule, Scope, ServiceRef,
};
use tortie_proto::felix;
use tortie_proto::felix::http_match::{PathMatch as WirePath, path_match};
use tortie_proto::felix::protocol::NumberOrName;
use tortie_proto::felix::rule::{Icmp, NotIcmp};
use tortie_selector::Selector;

use super::set::net;

/// The rules of one direction, and their sets.
pub(super) fn list(
    wire: Vec<felix::Rule>,
    namespace: Option<&SmolStr>,
    compat: Compat,
) -> (Vec<Rule>, Vec<RuleSets>) {
    let rules = wire.into_iter().enumerate().map(|(index, wire)| {
        let mut reader = Reader { namespace, compat, unusable: false };
        reader.rule(index, wire)
    });
    rules.unzip()
}

/// Reads one rule.
struct Reader<'a> {
    namespace: Option<&'a SmolStr>,
    compat: Compat,
    /// Whether a part was met that cannot be used.
    unusable: bool,
}

impl Reader<'_> {
    fn rule(&mut self, index: usize, mut wire: felix::Rule) -> (Rule, RuleSets) {
        let sets =
            RuleSets { source: source_sets(&mut wire), destination: destination_sets(&mut wire) };
        let rule = Rule {
            action: Action::Deny,
            ip_version: self.ip_version(wire.ip_version),
            protocol: self.protocol(wire.protocol.as_ref()),
            not_protocol: self.not_protocol(wire.not_protocol.as_ref()),
            icmp: wire.icmp.as_ref().and_then(|icmp| self.icmp(icmp)),
            not_icmp: wire.not_icmp.as_ref().and_then(|icmp| self.not_icmp(icmp)),
            http: wire.http_match.as_ref().map(|http| self.http(http)),
            origin: usize::try_from(wire.origin)
                .ok()
                .and_then(|n| n.checked_sub(1))
                .unwrap_or(index),
            source: self.entity(source(&mut wire)),
            destination: self.entity(destination(&mut wire)),
        };
        (self.settle(&wire.action, rule), sets)
    }

    /// The rule with its action, as far as it may have it with what could not be used.
    fn settle(&self, action: &str, rule: Rule) -> Rule {
        let action = match action.to_ascii_lowercase().as_str() {
            "allow" => Action::Allow,
            "log" => Action::Log,
            "pass" | "next-tier" => Action::Pass,
            _ => Action::Deny,
        };
        let lenient = self.compat.has(CompatPoint::UnusableRulePart);
        match action {
            action if !self.unusable => Rule { action, ..rule },
            action if lenient => never(action, rule.origin),
            Action::Allow | Action::Log => never(action, rule.origin),
            Action::Deny | Action::Pass => rule,
        }
    }

    /// The value, or a note that a part of the rule cannot be used.
    fn usable<T>(&mut self, value: Option<T>) -> Option<T> {
        self.unusable |= value.is_none();
        value
    }

    fn ip_version(&mut self, wire: i32) -> Option<IpVersion> {
        let version = match felix::IpVersion::try_from(wire) {
            Ok(felix::IpVersion::Any) => Some(None),
            Ok(felix::IpVersion::Ipv4) => Some(Some(IpVersion::V4)),
            Ok(felix::IpVersion::Ipv6) => Some(Some(IpVersion::V6)),
            Err(_) => None,
        };
        self.usable(version).flatten()
    }

    fn protocol(&mut self, wire: Option<&felix::Protocol>) -> Option<Protocol> {
        let wire = wire?;
        self.usable(protocol(wire))
    }

    fn not_protocol(&mut self, wire: Option<&felix::Protocol>) -> Option<Protocol> {
        let protocol = protocol(wire?);
        if self.compat.has(CompatPoint::UnusableRulePart) {
            return protocol; // an unknown one excludes nothing
        }
        self.usable(protocol)
    }

    fn icmp(&mut self, wire: &Icmp) -> Option<IcmpMatch> {
        let (kind, code) = match wire {
            Icmp::IcmpType(kind) => (*kind, None),
            Icmp::IcmpTypeCode(both) => (both.r#type, Some(both.code)),
        };
        self.usable(icmp(kind, code))
    }

    fn not_icmp(&mut self, wire: &NotIcmp) -> Option<IcmpMatch> {
        let (kind, code) = match wire {
            NotIcmp::NotIcmpType(kind) => (*kind, None),
            NotIcmp::NotIcmpTypeCode(both) => (both.r#type, Some(both.code)),
        };
        self.usable(icmp(kind, code))
    }

    fn http(&mut self, wire: &felix::HttpMatch) -> HttpMatch {
        HttpMatch {
            methods: wire.methods.iter().map(SmolStr::from).collect(),
            paths: self.paths(&wire.paths),
        }
    }

    fn paths(&mut self, wire: &[WirePath]) -> Vec<PathMatch> {
        let paths: Vec<_> = wire.iter().filter_map(path).collect();
        let skipped = paths.len() < wire.len();
        if skipped && self.compat.has(CompatPoint::UnusableRulePart) && !paths.is_empty() {
            return paths;
        }
        self.all(wire, path)
    }

    /// The whole list, or nothing of it.
    fn all<W, T>(&mut self, wire: &[W], read: impl Fn(&W) -> Option<T>) -> Vec<T> {
        let list = wire.iter().map(read).collect();
        self.usable(list).unwrap_or_default()
    }

    fn entity(&mut self, wire: Side) -> EntityMatch {
        EntityMatch {
            peers: self.peers(&wire),
            nets: self.nets(&wire.nets),
            not_nets: self.nets(&wire.not_nets),
            ports: self.all(&wire.ports, port),
            not_ports: self.all(&wire.not_ports, port),
            service: wire.service,
        }
    }

    fn nets(&mut self, wire: &[String]) -> Vec<IpNet> {
        self.all(wire, |text| net(text))
    }

    /// The identity criteria: those of the certificate alone, since sets stand for those of the
    /// address.
    fn peers(&mut self, wire: &Side) -> Option<Peers> {
        let accounts = wire.accounts.as_ref().and_then(|accounts| self.accounts(accounts));
        let scope = self.scope(wire);
        let selected = !wire.selector.is_empty() || !wire.not_selector.is_empty();
        if accounts.is_none() && scope.is_none() && !selected {
            return None;
        }
        let text = if wire.text.is_empty() { wire.describe() } else { wire.text.clone() };
        Some(Peers { included: None, excluded: None, scope, accounts, text })
    }

    fn scope(&mut self, wire: &Side) -> Option<Scope> {
        if !wire.namespace_selector.is_empty() {
            return self.selector(&wire.namespace_selector).map(Scope::Selected);
        }
        let accounts = wire.accounts.as_ref();
        let by_account = accounts.is_some_and(|a| !a.names.is_empty() || !a.selector.is_empty());
        let any = by_account || !wire.selector.is_empty() || !wire.not_selector.is_empty();
        self.namespace.filter(|_| any).cloned().map(Scope::Own)
    }

    fn accounts(&mut self, wire: &felix::ServiceAccountMatch) -> Option<Accounts> {
        let selector = match wire.selector.trim() {
            "" => None,
            text => self.selector(text),
        };
        let names: Vec<SmolStr> = wire.names.iter().map(SmolStr::from).collect();
        let any = !names.is_empty() || selector.is_some();
        any.then_some(Accounts { names, selector })
    }

    fn selector(&mut self, text: &str) -> Option<Selector> {
        self.usable(Selector::parse(text).ok())
    }
}

/// A rule that matches nothing, in the place of one that must not.
fn never(action: Action, origin: usize) -> Rule {
    let (protocol, not_protocol) = (Some(Protocol::TCP), Some(Protocol::TCP));
    Rule { protocol, not_protocol, origin, ..Rule::any(action) }
}

/// The criteria of one side that need reading.
struct Side {
    nets: Vec<String>,
    not_nets: Vec<String>,
    ports: Vec<felix::PortRange>,
    not_ports: Vec<felix::PortRange>,
    service: Option<ServiceRef>,
    selector: String,
    not_selector: String,
    namespace_selector: String,
    accounts: Option<felix::ServiceAccountMatch>,
    text: String,
}

impl Side {
    /// The identity criteria in words, where nobody told us those of their author.
    fn describe(&self) -> String {
        let mut parts = Vec::new();
        let mut quoted = |what: &str, text: &str| {
            if !text.is_empty() {
                parts.push(format!("{what} `{text}`"));
            }
        };
        if let Some(accounts) = &self.accounts {
            quoted("service account", &accounts.names.join("`, `"));
            quoted("service account matching", &accounts.selector);
        }
        quoted("labels", &self.selector);
        quoted("not labels", &self.not_selector);
        quoted("namespace matching", &self.namespace_selector);
        parts.join(", ")
    }
}

fn source(wire: &mut felix::Rule) -> Side {
    use std::mem::take;
    Side {
        nets: take(&mut wire.src_net),
        not_nets: take(&mut wire.not_src_net),
        ports: take(&mut wire.src_ports),
        not_ports: take(&mut wire.not_src_ports),
        service: service(&wire.original_src_service, &wire.original_src_service_namespace),
        selector: take(&mut wire.original_src_selector),
        not_selector: take(&mut wire.original_not_src_selector),
        namespace_selector: take(&mut wire.original_src_namespace_selector),
        accounts: take(&mut wire.src_service_account_match),
        text: take(&mut wire.src_text),
    }
}

fn destination(wire: &mut felix::Rule) -> Side {
    use std::mem::take;
    Side {
        nets: take(&mut wire.dst_net),
        not_nets: take(&mut wire.not_dst_net),
        ports: take(&mut wire.dst_ports),
        not_ports: take(&mut wire.not_dst_ports),
        service: service(&wire.original_dst_service, &wire.original_dst_service_namespace),
        selector: take(&mut wire.original_dst_selector),
        not_selector: take(&mut wire.original_not_dst_selector),
        namespace_selector: take(&mut wire.original_dst_namespace_selector),
        accounts: take(&mut wire.dst_service_account_match),
        text: take(&mut wire.dst_text),
    }
}

fn source_sets(wire: &mut felix::Rule) -> SideSets {
    SideSets {
        included: ids(&mut wire.src_ip_set_ids),
        excluded: ids(&mut wire.not_src_ip_set_ids),
        named_ports: ids(&mut wire.src_named_port_ip_set_ids),
        not_named_ports: ids(&mut wire.not_src_named_port_ip_set_ids),
        services: Vec::new(),
    }
}

fn destination_sets(wire: &mut felix::Rule) -> SideSets {
    SideSets {
        included: ids(&mut wire.dst_ip_set_ids),
        excluded: ids(&mut wire.not_dst_ip_set_ids),
        named_ports: ids(&mut wire.dst_named_port_ip_set_ids),
        not_named_ports: ids(&mut wire.not_dst_named_port_ip_set_ids),
        services: ids(&mut wire.dst_ip_port_set_ids),
    }
}

fn ids(wire: &mut Vec<String>) -> Vec<SetId> {
    std::mem::take(wire).into_iter().map(|id| SetId(id.into())).collect()
}

fn service(name: &str, namespace: &str) -> Option<ServiceRef> {
    let service = || ServiceRef { namespace: namespace.into(), name: name.into() };
    (!name.is_empty()).then(service)
}

/// A protocol by name or number; a name that is empty falls to a number, which none is.
fn protocol(wire: &felix::Protocol) -> Option<Protocol> {
    match wire.number_or_name.as_ref()? {
        NumberOrName::Name(name) => Protocol::parse(name),
        NumberOrName::Number(number) => Protocol::parse(&number.to_string()),
    }
}

fn icmp(kind: i32, code: Option<i32>) -> Option<IcmpMatch> {
    let code = match code {
        Some(code) => Some(u8::try_from(code).ok()?),
        None => None,
    };
    Some(IcmpMatch { kind: u8::try_from(kind).ok()?, code })
}

fn port(wire: &felix::PortRange) -> Option<PortMatch> {
    let (first, last) = (u16::try_from(wire.first).ok()?, u16::try_from(wire.last).ok()?);
    (first <= last).then_some(PortMatch::Range(first, last))
}

fn path(wire: &WirePath) -> Option<PathMatch> {
    let normal = |text: &str| NormalPath::parse(text).ok().map(NormalPath::into_owned);
    match wire.path_match.as_ref()? {
        path_match::PathMatch::Exact(text) => normal(text).map(PathMatch::Exact),
        path_match::PathMatch::Prefix(text) => normal(text).map(PathMatch::Prefix),
    }
}
