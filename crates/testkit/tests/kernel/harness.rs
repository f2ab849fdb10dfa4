//! That probes tell what a ruleset does, by rulesets whose doing is plain.

use std::net::IpAddr;

use tortie_testkit::network::{Layout, Network, Outcome, Packet, Place, Probe, may_run};

const ONE: &str = "cali00000000001";
const TWO: &str = "cali00000000002";

fn layout() -> Layout {
    let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Layout {
        uplink: "eth0".into(),
        workloads: [
            (ONE.into(), addresses(&["10.0.0.1", "fd00::1"])),
            (TWO.into(), addresses(&["10.0.0.2", "fd00::2"])),
        ]
        .into(),
        host: addresses(&["203.0.113.1", "2001:db8:1::1"]),
    }
}

/// All pairs of places, in both families, by all protocols.
fn probes() -> Vec<Probe> {
    let beyond = |name: &str| Place::Beyond(name.into());
    let places = [
        (beyond(ONE), ["10.0.0.1", "fd00::1"]),
        (beyond(TWO), ["10.0.0.2", "fd00::2"]),
        (Place::Host, ["203.0.113.1", "2001:db8:1::1"]),
        (beyond("eth0"), ["192.0.2.1", "2001:db8:2::1"]),
    ];
    let protocols = [(1, 8), (6, 0), (17, 0), (58, 128), (58, 135), (132, 0), (136, 0), (99, 0)];
    let mut probes = Vec::new();
    for (from, sources) in &places {
        for (to, destinations) in places.iter().filter(|(to, _)| to != from) {
            for (source, destination) in sources.iter().zip(destinations) {
                let source: IpAddr = source.parse().unwrap();
                let destination = destination.parse().unwrap();
                let wrong = if source.is_ipv4() { 58 } else { 1 };
                for (protocol, kind) in protocols.iter().filter(|(p, _)| *p != wrong) {
                    let (protocol, ports, icmp) = (*protocol, (4000, 80), (*kind, 0));
                    let packet = Packet { source, destination, protocol, ports, icmp };
                    probes.push(Probe { from: from.clone(), to: to.clone(), packet });
                }
            }
        }
    }
    probes
}

fn try_out(ruleset: &str, expected: impl Fn(&Probe) -> bool) {
    if !may_run() {
        return;
    }
    let mut network = Network::new().unwrap();
    network.arrange(layout()).unwrap();
    network.enforce(ruleset).unwrap();
    let probes = probes();
    let outcomes = network.probe(&probes, true).unwrap();
    let mut wrong = Vec::new();
    for (probe, outcome) in probes.iter().zip(outcomes) {
        let arrived = expected(probe);
        let answers = arrived && probe.to != Place::Host && probe.packet.has_answer();
        let expected = Outcome { arrived, answered: answers.then_some(true) };
        if outcome != expected {
            wrong.push(format!("{probe:?}: {outcome:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} of {}", wrong.join("\n"), wrong.len(), probes.len());
}

#[test]
fn without_rules_everything_arrives_and_is_answered() {
    try_out("", |_| true);
}

#[test]
fn what_begins_no_connection_is_dropped() {
    let invalid = "table inet tortie {
        chain f { type filter hook forward priority 0; ct state invalid drop; }
        chain i { type filter hook input priority 0; ct state invalid drop; }
        chain o { type filter hook output priority 0; ct state invalid drop; }
    }";
    try_out(invalid, |_| true);
}

#[test]
fn drops_are_seen() {
    let ruleset = "table inet tortie {
        chain forward {
            type filter hook forward priority 0;
            ct state established,related accept
            iifname \"cali00000000001\" tcp dport 80 accept
            iifname \"cali00000000001\" meta l4proto { 132, 99 } accept
            drop
        }
        chain input {
            type filter hook input priority 0;
            ct state established,related accept
            meta l4proto udp drop
        }
        chain output {
            type filter hook output priority 0;
            ct state established,related accept
            meta nfproto ipv6 drop
        }
    }";
    try_out(ruleset, |probe| match (&probe.from, &probe.to) {
        (Place::Host, _) => probe.packet.source.is_ipv4(),
        (_, Place::Host) => probe.packet.protocol != 17,
        (Place::Beyond(from), _) => from == ONE && [6, 132, 99].contains(&probe.packet.protocol),
    });
}
