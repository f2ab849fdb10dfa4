//! Rules whose criteria contradict each other, so that no traffic meets all of them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cover::{port_within, within};
use super::logic::Logic;
use crate::{EntityMatch, IpVersion, Rule, Side};

/// Why no traffic can meet all criteria of a rule.
pub(super) struct Contradiction {
    /// The part of the rule that says so.
    pub(super) part: String,
    /// What is wrong with it.
    pub(super) reason: String,
}

/// The first contradiction in a rule.
pub(super) fn of(logic: &Logic, rule: &Rule) -> Option<Contradiction> {
    protocol(rule).or_else(|| icmp(rule)).or_else(|| {
        Side::BOTH.into_iter().find_map(|side| {
            let entity = rule.side(side);
            nets(rule, side, entity)
                .or_else(|| ports(side, entity))
                .or_else(|| peers(logic, side, entity))
        })
    })
}

fn found(part: impl Into<String>, reason: impl Into<String>) -> Option<Contradiction> {
    Some(Contradiction { part: part.into(), reason: reason.into() })
}

fn protocol(rule: &Rule) -> Option<Contradiction> {
    let protocol = rule.protocol.filter(|protocol| rule.not_protocol == Some(*protocol))?;
    found("notProtocol", format!("`protocol` and `notProtocol` are both {protocol}"))
}

fn icmp(rule: &Rule) -> Option<Contradiction> {
    let (wanted, refused) = (rule.icmp?, rule.not_icmp?);
    let refuses =
        wanted.kind == refused.kind && (refused.code.is_none() || refused.code == wanted.code);
    if !refuses {
        return None;
    }
    found("notICMP", format!("`icmp` asks for type {}, which `notICMP` excludes", wanted.kind))
}

fn nets(rule: &Rule, side: Side, entity: &EntityMatch) -> Option<Contradiction> {
    if entity.not_nets.is_empty() {
        return None;
    }
    let everything: IpNet = match rule.ip_version? {
        IpVersion::V4 => Ipv4Net::default().into(),
        IpVersion::V6 => Ipv6Net::default().into(),
    };
    let wanted = match entity.nets.as_slice() {
        [] => &[everything][..],
        nets => nets,
    };
    if !wanted.iter().all(|net| within(net, &entity.not_nets)) {
        return None;
    }
    let which = if entity.nets.is_empty() { "every address" } else { "every address of `nets`" };
    found(format!("{side}.notNets"), format!("`notNets` excludes {which}"))
}

fn ports(side: Side, entity: &EntityMatch) -> Option<Contradiction> {
    let some = !entity.ports.is_empty();
    if !some || !entity.ports.iter().all(|port| port_within(port, &entity.not_ports)) {
        return None;
    }
    found(format!("{side}.notPorts"), "`notPorts` excludes every port of `ports`")
}

fn peers(logic: &Logic, side: Side, entity: &EntityMatch) -> Option<Contradiction> {
    let peers = entity.peers.as_ref()?;
    let impossible = logic.impossible(peers.included.as_ref()?);
    impossible.then_some(())?;
    found(side.to_string(), format!("nothing can be all of {}", peers.text))
}
