//! Rules as messages.

use std::fmt::Display;

use smol_str::SmolStr;
use tortie_calc::{RuleSets, SetId, SideSets};
use tortie_policy::{
    Action, EntityMatch, HttpMatch, IcmpMatch, IpVersion, PathMatch, Peers, PortMatch, Protocol,
    Rule, Scope,
};
use tortie_proto::felix;
use tortie_proto::felix::http_match::{PathMatch as WirePath, path_match};
use tortie_proto::felix::protocol::NumberOrName;
use tortie_proto::felix::rule::{Icmp, NotIcmp};
use tortie_selector::Selector;

/// Names of protocols as agents write them.
const PROTOCOLS: [(u8, &str); 6] =
    [(6, "tcp"), (17, "udp"), (1, "icmp"), (58, "icmpv6"), (132, "sctp"), (136, "udplite")];

/// Rules with their sets, in order.
pub(super) fn list(rules: &[Rule], sets: &[RuleSets]) -> Vec<felix::Rule> {
    let none = RuleSets::default();
    let sets = sets.iter().chain(std::iter::repeat(&none));
    rules.iter().zip(sets).map(|(rule, sets)| message(rule, sets)).collect()
}

fn message(rule: &Rule, sets: &RuleSets) -> felix::Rule {
    let mut wire = felix::Rule {
        action: action(rule.action).to_owned(),
        ip_version: ip_version(rule.ip_version).into(),
        protocol: rule.protocol.map(protocol),
        not_protocol: rule.not_protocol.map(protocol),
        icmp: rule.icmp.as_ref().map(icmp),
        not_icmp: rule.not_icmp.as_ref().map(not_icmp),
        http_match: rule.http.as_ref().map(http),
        origin: u32::try_from(rule.origin + 1).unwrap_or_default(),
        ..Default::default()
    };
    source(&mut wire, &rule.source, &sets.source);
    destination(&mut wire, &rule.destination, &sets.destination);
    wire
}

fn source(wire: &mut felix::Rule, entity: &EntityMatch, sets: &SideSets) {
    wire.src_net = texts(&entity.nets);
    wire.not_src_net = texts(&entity.not_nets);
    wire.src_ports = ports(&entity.ports);
    wire.not_src_ports = ports(&entity.not_ports);
    // Only a receiver has a field for services; of a sender they are among its addresses.
    wire.src_ip_set_ids = ids(sets.included.iter().chain(&sets.services));
    wire.not_src_ip_set_ids = ids(&sets.excluded);
    wire.src_named_port_ip_set_ids = ids(&sets.named_ports);
    wire.not_src_named_port_ip_set_ids = ids(&sets.not_named_ports);
    if let Some(service) = &entity.service {
        wire.original_src_service = service.name.to_string();
        wire.original_src_service_namespace = service.namespace.to_string();
    }
    if let Some(peers) = &entity.peers {
        let original = Originals::of(peers);
        wire.original_src_selector = original.selector;
        wire.original_not_src_selector = original.not_selector;
        wire.original_src_namespace_selector = original.namespace_selector;
        wire.src_service_account_match = original.accounts;
        wire.src_text.clone_from(&peers.text);
    }
}

fn destination(wire: &mut felix::Rule, entity: &EntityMatch, sets: &SideSets) {
    wire.dst_net = texts(&entity.nets);
    wire.not_dst_net = texts(&entity.not_nets);
    wire.dst_ports = ports(&entity.ports);
    wire.not_dst_ports = ports(&entity.not_ports);
    wire.dst_ip_set_ids = ids(&sets.included);
    wire.not_dst_ip_set_ids = ids(&sets.excluded);
    wire.dst_named_port_ip_set_ids = ids(&sets.named_ports);
    wire.not_dst_named_port_ip_set_ids = ids(&sets.not_named_ports);
    wire.dst_ip_port_set_ids = ids(&sets.services);
    if let Some(service) = &entity.service {
        wire.original_dst_service = service.name.to_string();
        wire.original_dst_service_namespace = service.namespace.to_string();
    }
    if let Some(peers) = &entity.peers {
        let original = Originals::of(peers);
        wire.original_dst_selector = original.selector;
        wire.original_not_dst_selector = original.not_selector;
        wire.original_dst_namespace_selector = original.namespace_selector;
        wire.dst_service_account_match = original.accounts;
        wire.dst_text.clone_from(&peers.text);
    }
}

/// The identity criteria of one side, in fields that both sides have.
struct Originals {
    selector: String,
    not_selector: String,
    namespace_selector: String,
    accounts: Option<felix::ServiceAccountMatch>,
}

impl Originals {
    /// Receivers derive the namespace criterion from what is empty: a namespace selector is taken
    /// as it stands; without one, anything else means the policy's own namespace.
    fn of(peers: &Peers) -> Originals {
        let text = |s: Option<&Selector>| s.map(|s| s.canonical().to_owned()).unwrap_or_default();
        let mut selector = text(peers.included.as_ref());
        let not_selector = text(peers.excluded.as_ref());
        let namespace_selector = match &peers.scope {
            Some(Scope::Selected(selector)) => selector.canonical().to_owned(),
            Some(Scope::Own(_)) | None => String::new(),
        };
        let accounts = peers.accounts.as_ref().map(|accounts| felix::ServiceAccountMatch {
            selector: text(accounts.selector.as_ref()),
            names: accounts.names.iter().map(SmolStr::to_string).collect(),
        });
        let told = [&selector, &not_selector, &namespace_selector].iter().any(|t| !t.is_empty());
        if !told && accounts.is_none() {
            selector = Selector::all().canonical().to_owned();
        }
        Originals { selector, not_selector, namespace_selector, accounts }
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Log => "log",
        Action::Pass => "next-tier",
    }
}

fn ip_version(version: Option<IpVersion>) -> felix::IpVersion {
    match version {
        None => felix::IpVersion::Any,
        Some(IpVersion::V4) => felix::IpVersion::Ipv4,
        Some(IpVersion::V6) => felix::IpVersion::Ipv6,
    }
}

fn protocol(protocol: Protocol) -> felix::Protocol {
    let number = protocol.number();
    let named = PROTOCOLS.iter().find(|(known, _)| *known == number);
    let number_or_name = match named {
        Some((_, name)) => NumberOrName::Name((*name).to_owned()),
        None => NumberOrName::Number(number.into()),
    };
    felix::Protocol { number_or_name: Some(number_or_name) }
}

fn icmp(wanted: &IcmpMatch) -> Icmp {
    match wanted.code {
        None => Icmp::IcmpType(wanted.kind.into()),
        Some(code) => Icmp::IcmpTypeCode(type_and_code(wanted.kind, code)),
    }
}

fn not_icmp(wanted: &IcmpMatch) -> NotIcmp {
    match wanted.code {
        None => NotIcmp::NotIcmpType(wanted.kind.into()),
        Some(code) => NotIcmp::NotIcmpTypeCode(type_and_code(wanted.kind, code)),
    }
}

fn type_and_code(kind: u8, code: u8) -> felix::IcmpTypeAndCode {
    felix::IcmpTypeAndCode { r#type: kind.into(), code: code.into() }
}

fn http(wanted: &HttpMatch) -> felix::HttpMatch {
    let path = |path: &PathMatch| match path {
        PathMatch::Exact(path) => path_match::PathMatch::Exact(wire_path(path.as_bytes())),
        PathMatch::Prefix(path) => path_match::PathMatch::Prefix(wire_path(path.as_bytes())),
    };
    felix::HttpMatch {
        methods: wanted.methods.iter().map(SmolStr::to_string).collect(),
        paths: wanted.paths.iter().map(|p| WirePath { path_match: Some(path(p)) }).collect(),
    }
}

/// A path in normal form as text that has that normal form: what would be read as something else
/// is percent-encoded.
fn wire_path(normal: &[u8]) -> String {
    let mut text = String::with_capacity(normal.len());
    for &byte in normal {
        match byte {
            b'%' | b'?' | b'#' | b';' | b'\\' | 0..=b' ' | 0x7f.. => {
                text.push_str(&format!("%{byte:02X}"));
            }
            byte => text.push(char::from(byte)),
        }
    }
    text
}

fn texts(list: &[impl Display]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn ids<'a>(list: impl IntoIterator<Item = &'a SetId>) -> Vec<String> {
    list.into_iter().map(ToString::to_string).collect()
}

/// Numeric ports; sets stand for those that have a name.
fn ports(list: &[PortMatch]) -> Vec<felix::PortRange> {
    let range = |port: &PortMatch| match port {
        PortMatch::Range(first, last) => {
            Some(felix::PortRange { first: (*first).into(), last: (*last).into() })
        }
        PortMatch::Named(_) => None,
    };
    list.iter().filter_map(range).collect()
}
