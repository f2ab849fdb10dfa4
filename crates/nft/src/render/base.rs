//! Base chains, where packets enter, and the chains that are always there.
//!
//! Each leg of a packet has its own: `accept` ends that leg alone.

use std::collections::BTreeMap;

use smol_str::SmolStr;
use tortie_policy::{Direction, EndpointToHost, NEIGHBOUR_TYPES, Protocol, Side};

use super::hosts::HostMap;
use super::output::Output;
use super::rule::fixed;
use super::{Options, names_of};
use crate::{
    ConnectionState, Family, Hook, HookPoint, InterfaceMatch, Match, Origin, Rule, SetKind,
    Statement, Verdict, Way,
};

/// From a workload's interface to the chain of what it sends.
pub(super) const FROM_WORKLOAD: SmolStr = SmolStr::new_static("from-workload");
/// From a workload's interface to the chain of what comes to it.
pub(super) const TO_WORKLOAD: SmolStr = SmolStr::new_static("to-workload");

/// The chain for what workloads send, before anything else.
const ANTI_SPOOFING: SmolStr = SmolStr::new_static("anti-spoofing");
/// The chain for what workloads send to their host, once their policy allows it.
const TO_OWN_HOST: SmolStr = SmolStr::new_static("to-own-host");
/// The chain for what a host sends to its workloads.
const FROM_OWN_HOST: SmolStr = SmolStr::new_static("from-own-host");
/// An empty chain, for what is not asked about.
pub(super) const PASS: SmolStr = SmolStr::new_static("pass");

/// Workloads whose interface has no name that tells: maps in which they are, with the chain.
pub(super) const UNNAMED: [(SmolStr, SmolStr); 4] = [
    (SmolStr::new_static("unnamed-workload-raw"), ANTI_SPOOFING),
    (SmolStr::new_static("unnamed-workload-early"), PASS),
    (SmolStr::new_static("unnamed-workload-in"), TO_OWN_HOST),
    (SmolStr::new_static("unnamed-workload-out"), FROM_OWN_HOST),
];

/// The sets of interfaces with the addresses that may send there.
pub(super) fn sources(family: Family, nets: bool) -> (SmolStr, SetKind) {
    let (name, kind) = match (family, nets) {
        (Family::V4, false) => ("source.4", SetKind::InterfaceAddress(family)),
        (Family::V4, true) => ("source.4n", SetKind::InterfaceNet(family)),
        (Family::V6, false) => ("source.6", SetKind::InterfaceAddress(family)),
        (Family::V6, true) => ("source.6n", SetKind::InterfaceNet(family)),
    };
    (SmolStr::new_static(name), kind)
}

/// A base chain.
struct Base {
    name: &'static str,
    point: HookPoint,
    priority: i32,
    rules: Vec<Rule>,
}

impl Base {
    fn put(self, output: &mut Output) {
        let hook = Some(Hook { point: self.point, priority: self.priority });
        output.put_chain(&SmolStr::new_static(self.name), hook, self.rules);
    }
}

/// What holds before it is known what is there: nothing comes from or to workloads.
pub(super) fn closed(options: &Options, output: &mut Output) {
    let drop = |way, direction| unknown(options, way, direction);
    let chains = [
        ("raw-prerouting", HookPoint::Prerouting, -300, drop(Way::In, Direction::Egress)),
        ("forward-to", HookPoint::Forward, 1, drop(Way::Out, Direction::Ingress)),
    ];
    for (name, point, priority, rules) in chains {
        Base { name, point, priority, rules }.put(output);
    }
}

/// What base chains depend on.
pub(super) struct Bases<'a> {
    pub(super) options: &'a Options,
    pub(super) to_host: EndpointToHost,
    /// The chains of the host endpoint for all other interfaces.
    pub(super) wildcard: &'a BTreeMap<HostMap, SmolStr>,
}

impl Bases<'_> {
    /// Makes the sets and maps that are always there.
    pub(super) fn put_sets(output: &mut Output) {
        for family in Family::BOTH {
            for nets in [false, true] {
                let (name, kind) = sources(family, nets);
                output.put_set(&name, kind);
            }
        }
        let unnamed = UNNAMED.into_iter().map(|(map, _)| map);
        for map in [FROM_WORKLOAD, TO_WORKLOAD].into_iter().chain(unnamed) {
            output.put_set(&map, SetKind::Dispatch);
        }
        for map in HostMap::ALL {
            output.put_set(&map.name(), SetKind::Dispatch);
        }
    }

    /// Writes all.
    pub(super) fn put(&self, output: &mut Output) {
        let chains = [
            ("raw-prerouting", HookPoint::Prerouting, -300, self.raw_prerouting(output)),
            ("raw-output", HookPoint::Output, -300, self.raw_output(output)),
            ("mangle-prerouting", HookPoint::Prerouting, -150, self.mangle_prerouting(output)),
            ("forward-from", HookPoint::Forward, 0, self.forward(Way::In, output)),
            ("forward-to", HookPoint::Forward, 1, self.forward(Way::Out, output)),
            ("input-from", HookPoint::Input, 0, self.input_from()),
            ("input-host", HookPoint::Input, 1, self.input_host(output)),
            ("output", HookPoint::Output, 0, self.output(output)),
        ];
        for (name, point, priority, rules) in chains {
            Base { name, point, priority, rules }.put(output);
        }
        let chains = [
            (ANTI_SPOOFING, anti_spoofing()),
            (TO_OWN_HOST, self.to_own_host()),
            (FROM_OWN_HOST, vec![from_own_host()]),
            (PASS, Vec::new()),
        ];
        for (name, rules) in chains {
            output.put_chain(&name, None, rules);
        }
    }

    fn raw_prerouting(&self, output: &Output) -> Vec<Rule> {
        let mut rules = self.unmark(&[HostMap::FromUntracked, HostMap::FromPreDnat], output);
        rules.extend(self.to_workload_chain(Way::In, &ANTI_SPOOFING));
        rules.extend(self.unnamed(0, Way::In, output));
        rules.extend(self.host(HostMap::FromUntracked, output));
        rules
    }

    fn raw_output(&self, output: &Output) -> Vec<Rule> {
        let mut rules = self.unmark(&[HostMap::ToUntracked], output);
        rules.extend(self.host(HostMap::ToUntracked, output));
        rules
    }

    /// What packets come with says nothing of what planes allow for good.
    fn unmark(&self, planes: &[HostMap], output: &Output) -> Vec<Rule> {
        if planes.iter().all(|map| self.host(*map, output).is_empty()) {
            return Vec::new();
        }
        let statements = vec![Statement::ClearMark(self.options.mark)];
        vec![Rule { statements, ..Rule::default() }]
    }

    fn mangle_prerouting(&self, output: &Output) -> Vec<Rule> {
        let hosts = self.host(HostMap::FromPreDnat, output);
        if hosts.is_empty() {
            return hosts;
        }
        let mut rules = vec![established()];
        rules.extend(self.to_workload_chain(Way::In, &PASS));
        rules.extend(self.unnamed(1, Way::In, output));
        rules.extend(hosts);
        rules
    }

    fn forward(&self, way: Way, output: &Output) -> Vec<Rule> {
        let (map, hosts, direction) = match way {
            Way::In => (FROM_WORKLOAD, HostMap::FromForward, Direction::Egress),
            Way::Out => (TO_WORKLOAD, HostMap::ToForward, Direction::Ingress),
        };
        let mut rules = vec![established(), dispatch(way, &map)];
        rules.extend(unknown(self.options, way, direction));
        rules.extend(self.host(hosts, output));
        rules
    }

    /// From workloads, towards the host: what they send is asked about as elsewhere, but for what
    /// neighbours have to tell each other.
    fn input_from(&self) -> Vec<Rule> {
        let mut rules = vec![established()];
        rules.extend(neighbours());
        rules.push(dispatch(Way::In, &FROM_WORKLOAD));
        rules.extend(unknown(self.options, Way::In, Direction::Egress));
        rules
    }

    fn input_host(&self, output: &Output) -> Vec<Rule> {
        let mut rules = vec![established()];
        rules.extend(self.to_workload_chain(Way::In, &TO_OWN_HOST));
        rules.extend(self.unnamed(2, Way::In, output));
        rules.extend(self.host(HostMap::FromNormal, output));
        rules
    }

    fn output(&self, output: &Output) -> Vec<Rule> {
        let mut rules = vec![established()];
        rules.extend(self.to_workload_chain(Way::Out, &FROM_OWN_HOST));
        rules.extend(self.unnamed(3, Way::Out, output));
        rules.extend(self.host(HostMap::ToNormal, output));
        rules
    }

    /// What workloads send to their host, once their policy allows it.
    fn to_own_host(&self) -> Vec<Rule> {
        let verdict = match self.to_host {
            EndpointToHost::Drop => Verdict::Drop,
            // What the host's own firewall says comes after us, or has come before.
            EndpointToHost::Return | EndpointToHost::Accept => Verdict::Accept,
        };
        let to_host =
            fixed_rule(Vec::new(), "defaultEndpointToHostAction", Direction::Ingress, verdict);
        neighbours().into_iter().chain([to_host]).collect()
    }

    /// Packets of workloads go to a chain, by the names of their interfaces.
    fn to_workload_chain(&self, way: Way, chain: &SmolStr) -> Vec<Rule> {
        let prefixes = names_of(self.options, way);
        let goto = |matched| Rule {
            matches: vec![matched],
            verdict: Some(Verdict::Goto(chain.clone())),
            ..Rule::default()
        };
        prefixes.into_iter().map(goto).collect()
    }

    /// The same for workloads whose interface has no name that tells.
    fn unnamed(&self, which: usize, way: Way, output: &Output) -> Option<Rule> {
        let (map, _) = UNNAMED.into_iter().nth(which)?;
        (output.len(&map) > 0).then(|| dispatch(way, &map))
    }

    /// Packets of host endpoints.
    fn host(&self, map: HostMap, output: &Output) -> Vec<Rule> {
        let named = (output.len(&map.name()) > 0).then(|| dispatch(map.way(), &map.name()));
        let all = self.wildcard.get(&map).map(|chain| {
            let name = InterfaceMatch::Exact(SmolStr::new_static("lo"));
            Rule {
                matches: vec![Match::Interface { way: map.way(), not: true, name }],
                verdict: Some(Verdict::Goto(chain.clone())),
                ..Rule::default()
            }
        });
        named.into_iter().chain(all).collect()
    }
}

/// A packet from or to an interface that is named as workloads' are, and is none we know of.
fn unknown(options: &Options, way: Way, direction: Direction) -> Vec<Rule> {
    let matches = names_of(options, way).into_iter();
    let drop = |m| fixed_rule(vec![m], "unknown interface", direction, Verdict::Drop);
    matches.map(drop).collect()
}

/// Answers, and further packets of connections that were allowed.
fn established() -> Rule {
    let states = vec![ConnectionState::Established, ConnectionState::Related];
    Rule {
        matches: vec![Match::Connection(states)],
        verdict: Some(Verdict::Accept),
        ..Rule::default()
    }
}

fn dispatch(way: Way, map: &SmolStr) -> Rule {
    Rule { verdict: Some(Verdict::Dispatch { way, map: map.clone() }), ..Rule::default() }
}

/// Workloads send from their own addresses alone, and from nets they are granted; of IPv6 also from
/// addresses of the link, and from none while they look for one.
fn anti_spoofing() -> Vec<Rule> {
    let mut rules = Vec::new();
    for nets in [false, true] {
        for family in Family::BOTH {
            let (set, _) = sources(family, nets);
            let own = Match::InterfaceSourceSet { not: false, set, family, nets };
            rules.push(Rule {
                matches: vec![Match::Family(family), own],
                verdict: Some(Verdict::Accept),
                ..Rule::default()
            });
        }
    }
    let link = ["::/128", "fe80::/10"].into_iter().filter_map(|net| net.parse().ok()).collect();
    let link = Match::Nets { side: Side::Source, not: false, nets: link };
    rules.push(Rule {
        matches: vec![Match::Family(Family::V6), link],
        verdict: Some(Verdict::Accept),
        ..Rule::default()
    });
    rules.push(fixed_rule(Vec::new(), "anti-spoofing", Direction::Egress, Verdict::Drop));
    rules
}

fn neighbours() -> Vec<Rule> {
    let number = Protocol::ICMPV6.number();
    let rule = |kind| {
        let protocol = Match::Protocol { not: false, number };
        let matches = vec![protocol, Match::Icmp { not: false, kind, code: None }];
        fixed_rule(matches, "ICMPv6 neighbour discovery", Direction::Egress, Verdict::Accept)
    };
    NEIGHBOUR_TYPES.into_iter().map(rule).collect()
}

fn from_own_host() -> Rule {
    fixed_rule(Vec::new(), "host to its own pod", Direction::Ingress, Verdict::Accept)
}

/// A rule that is always there.
pub(super) fn fixed_rule(
    matches: Vec<Match>,
    name: &'static str,
    direction: Direction,
    verdict: Verdict,
) -> Rule {
    Rule {
        matches,
        statements: vec![Statement::Counter],
        verdict: Some(verdict),
        origin: Some(Origin { subject: fixed(name), direction, rule: None }.into()),
    }
}
