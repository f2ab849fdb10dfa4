//! Whether whatever meets the criteria of one rule meets those of another.

use ipnet::IpNet;

use super::logic::Logic;
use crate::{Accounts, EntityMatch, HttpMatch, PathMatch, Peers, PortMatch, Rule, Scope, Side};

/// Whether a net lies within the others together.
pub(super) fn within(net: &IpNet, others: &[IpNet]) -> bool {
    IpNet::aggregate(&others.to_vec()).iter().any(|other| other.contains(net))
}

/// Whether a port criterion is met only by what one of the others is met by, too.
pub(super) fn port_within(port: &PortMatch, others: &[PortMatch]) -> bool {
    let PortMatch::Range(first, last) = *port else { return others.contains(port) };
    let mut ranges: Vec<(u16, u16)> = others.iter().filter_map(range).collect();
    ranges.sort_unstable();
    let mut missing = u32::from(first);
    for (from, to) in ranges {
        if u32::from(from) <= missing {
            missing = missing.max(u32::from(to) + 1);
        }
    }
    missing > u32::from(last)
}

fn range(port: &PortMatch) -> Option<(u16, u16)> {
    match port {
        PortMatch::Range(first, last) => Some((*first, *last)),
        PortMatch::Named(_) => None,
    }
}

/// Whether `wide` matches whatever `narrow` matches, as far as that can be told from the two alone.
pub(super) fn covers(logic: &Logic, wide: &Rule, narrow: &Rule) -> bool {
    family(wide, narrow)
        && protocol(wide, narrow)
        && icmp(wide, narrow)
        && http(wide.http.as_ref(), narrow.http.as_ref())
        && Side::BOTH.iter().all(|side| entity(logic, wide.side(*side), narrow.side(*side)))
}

/// Whether a criterion is absent, or the same.
fn free_or_same<T: PartialEq>(wide: &Option<T>, narrow: &Option<T>) -> bool {
    wide.is_none() || wide == narrow
}

fn family(wide: &Rule, narrow: &Rule) -> bool {
    free_or_same(&wide.ip_version, &narrow.ip_version)
}

fn protocol(wide: &Rule, narrow: &Rule) -> bool {
    let excluded = match (wide.not_protocol, narrow.protocol) {
        (Some(excluded), Some(protocol)) if excluded != protocol => true,
        _ => free_or_same(&wide.not_protocol, &narrow.not_protocol),
    };
    free_or_same(&wide.protocol, &narrow.protocol) && excluded
}

fn icmp(wide: &Rule, narrow: &Rule) -> bool {
    let included = match (wide.icmp, narrow.icmp) {
        (Some(wide), Some(narrow)) => {
            wide.kind == narrow.kind && free_or_same(&wide.code, &narrow.code)
        }
        (wide, _) => wide.is_none(),
    };
    included && free_or_same(&wide.not_icmp, &narrow.not_icmp)
}

fn http(wide: Option<&HttpMatch>, narrow: Option<&HttpMatch>) -> bool {
    let (wide, narrow) = match (wide, narrow) {
        (None, _) => return true,
        (Some(_), None) => return false,
        (Some(wide), Some(narrow)) => (wide, narrow),
    };
    let any_method = wide.methods.is_empty() || wide.methods.iter().any(|method| method == "*");
    let methods =
        !narrow.methods.is_empty() && narrow.methods.iter().all(|m| wide.methods.contains(m));
    let paths = !narrow.paths.is_empty()
        && narrow.paths.iter().all(|path| wide.paths.iter().any(|w| path_within(path, w)));
    (any_method || methods) && (wide.paths.is_empty() || paths)
}

fn path_within(narrow: &PathMatch, wide: &PathMatch) -> bool {
    match (narrow, wide) {
        (PathMatch::Prefix(_), PathMatch::Exact(_)) => narrow == wide,
        (PathMatch::Exact(path) | PathMatch::Prefix(path), wide) => wide.matches(path),
    }
}

fn entity(logic: &Logic, wide: &EntityMatch, narrow: &EntityMatch) -> bool {
    nets(wide, narrow)
        && ports(wide, narrow)
        && free_or_same(&wide.service, &narrow.service)
        && peers(logic, wide.peers.as_ref(), narrow.peers.as_ref())
}

fn nets(wide: &EntityMatch, narrow: &EntityMatch) -> bool {
    // Which family an address must be of is compared elsewhere.
    let any = wide.nets.is_empty() || wide.nets.iter().any(|net| net.prefix_len() == 0);
    let included = !narrow.nets.is_empty() && narrow.nets.iter().all(|net| within(net, &wide.nets));
    let apart = |a: &IpNet, b: &IpNet| !a.contains(b) && !b.contains(a);
    let excluded = |net: &IpNet| {
        within(net, &narrow.not_nets)
            || (!narrow.nets.is_empty() && narrow.nets.iter().all(|n| apart(n, net)))
    };
    (any || included) && wide.not_nets.iter().all(excluded)
}

fn ports(wide: &EntityMatch, narrow: &EntityMatch) -> bool {
    let included =
        !narrow.ports.is_empty() && narrow.ports.iter().all(|port| port_within(port, &wide.ports));
    let excluded = |port: &PortMatch| port_within(port, &narrow.not_ports);
    (wide.ports.is_empty() || included) && wide.not_ports.iter().all(excluded)
}

fn peers(logic: &Logic, wide: Option<&Peers>, narrow: Option<&Peers>) -> bool {
    let (wide, narrow) = match (wide, narrow) {
        (None, _) => return true,
        (Some(_), None) => return false,
        (Some(wide), Some(narrow)) => (wide, narrow),
    };
    let included = match (&wide.included, &narrow.included) {
        (Some(wide), Some(narrow)) => logic.implies(narrow, wide),
        (wide, _) => wide.is_none(),
    };
    let excluded = match (&wide.excluded, &narrow.excluded) {
        (Some(wide), Some(narrow)) => logic.implies(wide, narrow),
        (wide, _) => wide.is_none(),
    };
    // What a certificate must say, besides.
    included && excluded && scope(logic, wide, narrow) && accounts(logic, wide, narrow)
}

fn scope(logic: &Logic, wide: &Peers, narrow: &Peers) -> bool {
    match (&wide.scope, &narrow.scope) {
        (None, _) => true,
        (Some(Scope::Own(wide)), Some(Scope::Own(narrow))) => wide == narrow,
        (Some(Scope::Selected(wide)), Some(Scope::Selected(narrow))) => logic.implies(narrow, wide),
        _ => false,
    }
}

fn accounts(logic: &Logic, wide: &Peers, narrow: &Peers) -> bool {
    let none = Accounts { names: Vec::new(), selector: None };
    let (wide, narrow) =
        (wide.accounts.as_ref().unwrap_or(&none), narrow.accounts.as_ref().unwrap_or(&none));
    let names = wide.names.is_empty()
        || (!narrow.names.is_empty() && narrow.names.iter().all(|name| wide.names.contains(name)));
    let selected = match (&wide.selector, &narrow.selector) {
        (Some(wide), Some(narrow)) => logic.implies(narrow, wide),
        (wide, _) => wide.is_none(),
    };
    names && selected
}
