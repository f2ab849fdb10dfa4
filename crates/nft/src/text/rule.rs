//! Rules as text.

use std::fmt;

use ipnet::IpNet;
use tortie_policy::Side;

use crate::{
    ConnectionState, Counter, Family, InterfaceMatch, Limit, Match, Rule, Statement, Verdict, Way,
};

use super::quotable;

/// What a rule does.
pub(super) struct Words<'a> {
    pub(super) rule: &'a Rule,
    /// What its counter begins with.
    pub(super) counter: Counter,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = Vec::new();
        let mut protocol = None;
        for criterion in &self.rule.matches {
            if let Match::Protocol { not: false, number } = criterion {
                protocol = Some(*number);
            }
            words.push(Criterion { criterion, protocol }.to_string());
        }
        for statement in &self.rule.statements {
            words.push(self.statement(statement));
        }
        words.extend(self.rule.verdict.as_ref().map(|verdict| self.verdict(verdict)));
        f.write_str(&words.join(" "))
    }
}

impl Words<'_> {
    fn statement(&self, statement: &Statement) -> String {
        match statement {
            Statement::Counter if self.counter == Counter::default() => "counter".to_owned(),
            Statement::Counter => {
                format!("counter packets {} bytes {}", self.counter.packets, self.counter.bytes)
            }
            Statement::Log { prefix, level } => {
                format!("log prefix \"{}\" level {}", quotable(prefix), level_name(*level))
            }
            Statement::Nflog { group, prefix, length: 0 } => {
                format!("log prefix \"{}\" group {group}", quotable(prefix))
            }
            Statement::Nflog { group, prefix, length } => {
                format!("log prefix \"{}\" group {group} snaplen {length}", quotable(prefix))
            }
            Statement::NoTrack => "notrack".to_owned(),
            Statement::SetMark(bits) => format!("meta mark set meta mark | {bits:#010x}"),
            Statement::ClearMark(bits) => {
                format!("meta mark set meta mark & {:#010x}", !bits)
            }
        }
    }

    fn verdict(&self, verdict: &Verdict) -> String {
        match verdict {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Drop => "drop".to_owned(),
            Verdict::Reject if self.rule.rejects_by_reset() => "reject with tcp reset".to_owned(),
            Verdict::Reject => "reject with icmpx port-unreachable".to_owned(),
            Verdict::Return => "return".to_owned(),
            Verdict::Jump(chain) => format!("jump {chain}"),
            Verdict::Goto(chain) => format!("goto {chain}"),
            Verdict::Dispatch { way, map } => format!("{} vmap @{map}", interface(*way)),
        }
    }
}

/// The name nft has for a level of syslog.
fn level_name(level: u8) -> &'static str {
    match level {
        0 => "emerg",
        1 => "alert",
        2 => "crit",
        3 => "err",
        4 => "warn",
        5 => "notice",
        6 => "info",
        _ => "debug",
    }
}

/// One criterion, and the protocol that is known before it.
struct Criterion<'a> {
    criterion: &'a Match,
    protocol: Option<u8>,
}

impl fmt::Display for Criterion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.criterion {
            Match::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Match::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Match::Interface { way, not, name } => {
                write!(f, "{}{} {}", interface(*way), negation(*not), Name::new(name))
            }
            Match::Protocol { not, number } => {
                write!(f, "meta l4proto{} {}", negation(*not), Protocol(*number))
            }
            Match::Nets { side, not, nets } => {
                let family = nets.first().map_or(Family::V4, |net| Family::of(net.addr()));
                write!(f, "{}{} {}", address(*side, family), negation(*not), Nets(nets))
            }
            Match::AddressSet { side, not, set, family } => {
                write!(f, "{}{} @{set}", address(*side, *family), negation(*not))
            }
            Match::AddressPortSet { side, not, set, family } => {
                let (address, port, not) = (address(*side, *family), port(*side), negation(*not));
                write!(f, "{address} . meta l4proto . th {port}{not} @{set}")
            }
            Match::InterfaceSourceSet { not, set, family, nets: _ } => {
                let address = address(Side::Source, *family);
                write!(f, "iifname . {address}{} @{set}", negation(*not))
            }
            Match::Ports { side, not, ranges } => {
                let header = ports_of(self.protocol);
                write!(f, "{header} {}{} {}", port(*side), negation(*not), Ports(ranges))
            }
            Match::Icmp { not, kind, code } => self.icmp(f, *not, *kind, *code),
            Match::Connection(states) => {
                let names: Vec<_> = states.iter().map(|state| state_name(*state)).collect();
                write!(f, "ct state {}", names.join(","))
            }
            Match::Mark(bits) => write!(f, "meta mark & {bits:#010x} == {bits:#010x}"),
            Match::ReversePath { not: false } => f.write_str("fib saddr . iif oif exists"),
            Match::ReversePath { not: true } => f.write_str("fib saddr . iif oif missing"),
            Match::Limit(limit) => write_limit(f, limit),
        }
    }
}

impl Criterion<'_> {
    fn icmp(
        &self,
        f: &mut fmt::Formatter<'_>,
        not: bool,
        kind: u8,
        code: Option<u8>,
    ) -> fmt::Result {
        let header = if self.protocol == Some(58) { "icmpv6" } else { "icmp" };
        match code {
            None => write!(f, "{header} type{} {kind}", negation(not)),
            Some(code) if not => {
                write!(f, "{header} type . {header} code != {{ {kind} . {code} }}")
            }
            Some(code) => write!(f, "{header} type {kind} {header} code {code}"),
        }
    }
}

fn write_limit(f: &mut fmt::Formatter<'_>, limit: &Limit) -> fmt::Result {
    let unit = match limit.seconds {
        1 => "second",
        60 => "minute",
        3600 => "hour",
        _ => "day",
    };
    write!(f, "limit rate {}/{unit} burst {} packets", limit.packets, limit.burst)
}

fn negation(not: bool) -> &'static str {
    if not { " !=" } else { "" }
}

fn interface(way: Way) -> &'static str {
    match way {
        Way::In => "iifname",
        Way::Out => "oifname",
    }
}

fn address(side: Side, family: Family) -> &'static str {
    match (side, family) {
        (Side::Source, Family::V4) => "ip saddr",
        (Side::Source, Family::V6) => "ip6 saddr",
        (Side::Destination, Family::V4) => "ip daddr",
        (Side::Destination, Family::V6) => "ip6 daddr",
    }
}

fn port(side: Side) -> &'static str {
    match side {
        Side::Source => "sport",
        Side::Destination => "dport",
    }
}

/// The header of ports.
fn ports_of(protocol: Option<u8>) -> &'static str {
    match protocol {
        Some(6) => "tcp",
        Some(17) => "udp",
        Some(132) => "sctp",
        Some(136) => "udplite",
        _ => "th",
    }
}

fn state_name(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Invalid => "invalid",
        ConnectionState::Established => "established",
        ConnectionState::Related => "related",
        ConnectionState::New => "new",
        ConnectionState::Untracked => "untracked",
    }
}

/// A protocol by a name that nft itself knows, or by its number.
struct Protocol(u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("icmp"),
            6 => f.write_str("tcp"),
            17 => f.write_str("udp"),
            58 => f.write_str("icmpv6"),
            132 => f.write_str("sctp"),
            136 => f.write_str("udplite"),
            number => write!(f, "{number}"),
        }
    }
}

/// A name of interfaces, quoted.
pub(super) struct Name<'a> {
    name: &'a str,
    prefix: bool,
}

impl<'a> Name<'a> {
    fn new(name: &'a InterfaceMatch) -> Self {
        match name {
            InterfaceMatch::Exact(name) => Self::exact(name),
            InterfaceMatch::Prefix(name) => Self { name, prefix: true },
        }
    }

    /// The name of one interface.
    pub(super) fn exact(name: &'a str) -> Self {
        Self { name, prefix: false }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = quotable(self.name);
        match (self.prefix, name.strip_suffix('*')) {
            (true, _) => write!(f, "\"{name}*\""),
            // A star at the end of a name proper.
            (false, Some(rest)) => write!(f, "\"{rest}\\*\""),
            (false, None) => write!(f, "\"{name}\""),
        }
    }
}

struct Nets<'a>(&'a [IpNet]);

impl fmt::Display for Nets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nets = self.0.to_vec();
        nets.sort_unstable();
        write_any_of(
            f,
            nets.iter().map(|net| {
                let whole = net.prefix_len() == net.max_prefix_len();
                if whole { net.addr().to_string() } else { net.to_string() }
            }),
        )
    }
}

struct Ports<'a>(&'a [(u16, u16)]);

impl fmt::Display for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges = self.0.to_vec();
        ranges.sort_unstable();
        write_any_of(
            f,
            ranges.iter().map(|(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            }),
        )
    }
}

/// One value bare, several as an anonymous set.
fn write_any_of(f: &mut fmt::Formatter<'_>, values: impl Iterator<Item = String>) -> fmt::Result {
    let values: Vec<_> = values.collect();
    match values.as_slice() {
        [one] => f.write_str(one),
        several => write!(f, "{{ {} }}", several.join(", ")),
    }
}
