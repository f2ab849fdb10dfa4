//! Over which interface an address is reached.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use smol_str::SmolStr;
use tortie_nft::{Element, Ruleset, SetKind};

use crate::network::facts::Facts;

/// In place of an interface that is not known: no interface has this name.
const UNKNOWN: SmolStr = SmolStr::new_static("?");

/// The interfaces of workloads, as the ruleset has them, and those of all others, as routes do.
#[derive(Debug)]
pub(super) struct Roads<'a> {
    workloads: HashMap<IpAddr, SmolStr>,
    own: HashSet<IpAddr>,
    facts: &'a Facts,
}

impl<'a> Roads<'a> {
    pub(super) fn new(ruleset: &Ruleset, facts: &'a Facts) -> Roads<'a> {
        let sources =
            ruleset.sets.values().filter(|set| matches!(set.kind, SetKind::InterfaceAddress(_)));
        let workload = |element| match element {
            Element::InterfaceNet(interface, net) => Some((net.addr(), interface)),
            _ => None,
        };
        Roads {
            workloads: sources.flat_map(|set| set.elements.iter()).filter_map(workload).collect(),
            own: facts.links.values().flatten().copied().collect(),
            facts,
        }
    }

    /// The interface over which an address is reached; none for the host's own.
    pub(super) fn over(&self, address: IpAddr) -> Option<SmolStr> {
        if let Some(interface) = self.workloads.get(&address) {
            return Some(interface.clone());
        }
        if self.own.contains(&address) || address.is_loopback() {
            return None;
        }
        let narrowest = || self.facts.net(address).map(|(_, road)| &road.over);
        let found = self.facts.routes.get(&address).or_else(narrowest);
        Some(found.cloned().unwrap_or(UNKNOWN))
    }
}
