//! Rules: action, family, protocol and ICMP here; the criteria of one end, identity and HTTP in
//! modules of their own.

mod entity;
mod http;
mod peers;

use smol_str::SmolStr;
use tortie_model::{self as model, IntOrString};

use super::Report;
use crate::{Action, IcmpMatch, IpVersion, Protocol, Rule, name};

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
            origin: 0,
        };
        rule.ip_version = self.ip_version(field, wire.ip_version, &rule);
        if let Some(metadata) = &wire.metadata {
            let field = format!("{field}.metadata.annotations");
            name::check_annotations(&field, &metadata.annotations, &mut self.report.0);
        }
        rule
    }

    fn action(&mut self, field: &str, text: &str) -> Action {
        const WORDS: [(&str, Action); 4] = [
            ("Allow", Action::Allow),
            ("Deny", Action::Deny),
            ("Log", Action::Log),
            ("Pass", Action::Pass),
        ];
        self.report.word(&format!("{field}.action"), text, &WORDS).unwrap_or(Action::Deny)
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
                let hint = "leave it out for both";
                let reason = format!("`{other}` is not 4 or 6");
                self.report.hint(format!("{field}.ipVersion"), reason, hint);
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
                let hint = "remove `ipVersion`, or use the protocol of the other family";
                self.report.hint(format!("{field}.ipVersion"), reason, hint);
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
            let given = wire.type_.unwrap_or_default();
            let reason = format!("`{given}` is not a number from 0 to 254");
            self.report.hint(
                format!("{field}.type"),
                reason,
                "an echo request is 8, or 128 in ICMPv6",
            );
        }
        if code == Some(None) {
            let given = wire.code.unwrap_or_default();
            let reason = format!("`{given}` is not a number from 0 to 255");
            self.report.hint(
                format!("{field}.code"),
                reason,
                "leave it out for all codes of the type",
            );
        }
        if kind.is_none() && code.is_some() {
            self.report.hint(format!("{field}.code"), "needs a type", "add `type`");
        }
        Some(IcmpMatch { kind: kind??, code: code.flatten() })
    }
}
