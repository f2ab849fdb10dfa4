//! What stays open at host endpoints whatever policy says: failsafe ports, and tunnels between
//! nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use tortie_policy::{
    BeforePolicy, Direction, Failsafe, HostSettings, Plane, Protocol, Side, Tunnel,
};

use super::alternatives::Condition;
use super::criteria;
use super::rule::{both_families, fixed};
use super::write::Nodes;
use crate::{Family, Match, Origin, Rule, Statement, Verdict};

/// The rules of a plane in one direction.
pub(super) fn rules(
    settings: &HostSettings,
    plane: Plane,
    direction: Direction,
    nodes: &Nodes,
) -> Vec<Rule> {
    let (own, mirrored) = match direction {
        Direction::Ingress => (&settings.failsafe_inbound, &settings.failsafe_outbound),
        Direction::Egress => (&settings.failsafe_outbound, &settings.failsafe_inbound),
    };
    let mut rules = Vec::new();
    for tunnel in &settings.tunnels {
        let open = accept(BeforePolicy::Tunnel(*tunnel), direction);
        rules.extend(between(nodes, *tunnel).into_iter().map(open));
    }
    let mut add = |failsafes: &[Failsafe], port| {
        for failsafe in failsafes {
            let open = accept(BeforePolicy::Failsafe(*failsafe), direction);
            rules.extend(matches(failsafe, direction, port).into_iter().map(open));
        }
    };
    add(own, Side::Destination);
    if plane == Plane::Untracked {
        // Nobody knows yet which packets are answers.
        add(mirrored, Side::Source);
    }
    rules
}

fn accept(before: BeforePolicy, direction: Direction) -> impl Fn(Vec<Match>) -> Rule {
    move |matches| Rule {
        matches,
        statements: vec![Statement::Counter],
        verdict: Some(Verdict::Accept),
        origin: Some(Origin { subject: fixed(before.name()), direction, rule: None }.into()),
    }
}

/// The port, and the net of the other end.
fn matches(failsafe: &Failsafe, direction: Direction, port: Side) -> Vec<Vec<Match>> {
    let other = match direction {
        Direction::Ingress => Side::Source,
        Direction::Egress => Side::Destination,
    };
    let number = failsafe.protocol.number();
    let ports =
        Match::Ports { side: port, not: false, ranges: vec![(failsafe.port, failsafe.port)] };
    let port = Condition::protocol(number).and(Condition::one(ports));
    let of = |family| match failsafe.net {
        None => port.clone(),
        Some(net) => port.clone().and(criteria::in_nets(&[net], other, family)),
    };
    both_families(of(Family::V4), of(Family::V6))
}

/// The packets of a tunnel between nodes.
fn between(nodes: &Nodes, tunnel: Tunnel) -> Vec<Vec<Match>> {
    let nodes: Vec<IpNet> = nodes.iter().copied().map(|ip: IpAddr| ip.into()).collect();
    let packets = match tunnel {
        Tunnel::IpInIp => Condition::protocol(Protocol::IP_IN_IP.number()),
        Tunnel::Vxlan(port) | Tunnel::WireGuard(port) => {
            let ranges = vec![(port, port)];
            let to_port = Match::Ports { side: Side::Destination, not: false, ranges };
            Condition::protocol(Protocol::UDP.number()).and(Condition::one(to_port))
        }
    };
    let of = |family| {
        let ends = Side::BOTH.map(|side| criteria::in_nets(&nodes, side, family));
        packets.clone().and(Condition::all(ends))
    };
    both_families(of(Family::V4), of(Family::V6))
}

/// To a port of a protocol.
pub(super) fn to_port(protocol: Protocol, port: u16) -> Vec<Match> {
    let side = Side::Destination;
    let ports = Match::Ports { side, not: false, ranges: vec![(port, port)] };
    vec![Match::Protocol { not: false, number: protocol.number() }, ports]
}
