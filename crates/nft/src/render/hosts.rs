//! Host endpoints: which interfaces they are about, and the chains of their planes.

use std::collections::BTreeMap;

use smol_str::SmolStr;
use tortie_calc::{EndpointTier, LocalHost};
use tortie_policy::{Direction, Interface, Plane};

use super::base::PASS;
use super::content::{Content, Endpoint, Role};
use super::graph::{ChainId, Graph};
use super::output::Output;
use super::state::State;
use super::{Interfaces, is_usable};
use crate::{Element, Way};

/// A plane in one direction, with the map from interfaces to its chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostMap {
    FromUntracked,
    ToUntracked,
    FromPreDnat,
    FromForward,
    ToForward,
    FromNormal,
    ToNormal,
}

impl HostMap {
    pub(super) const ALL: [HostMap; 7] = [
        HostMap::FromUntracked,
        HostMap::ToUntracked,
        HostMap::FromPreDnat,
        HostMap::FromForward,
        HostMap::ToForward,
        HostMap::FromNormal,
        HostMap::ToNormal,
    ];

    pub(super) fn name(self) -> SmolStr {
        SmolStr::new_static(match self {
            HostMap::FromUntracked => "from-host-untracked",
            HostMap::ToUntracked => "to-host-untracked",
            HostMap::FromPreDnat => "from-host-prednat",
            HostMap::FromForward => "from-host-forward",
            HostMap::ToForward => "to-host-forward",
            HostMap::FromNormal => "from-host",
            HostMap::ToNormal => "to-host",
        })
    }

    fn plane(self) -> Plane {
        match self {
            HostMap::FromUntracked | HostMap::ToUntracked => Plane::Untracked,
            HostMap::FromPreDnat => Plane::PreDnat,
            HostMap::FromForward | HostMap::ToForward => Plane::Forward,
            HostMap::FromNormal | HostMap::ToNormal => Plane::Normal,
        }
    }

    /// The planes that see packets of one interface before, and may allow them for good.
    fn after(self) -> &'static [HostMap] {
        match self {
            HostMap::FromPreDnat => &[HostMap::FromUntracked],
            HostMap::FromForward | HostMap::FromNormal => {
                &[HostMap::FromUntracked, HostMap::FromPreDnat]
            }
            HostMap::ToNormal => &[HostMap::ToUntracked],
            // What is forwarded comes in by another interface, if not by the same.
            HostMap::FromUntracked | HostMap::ToUntracked | HostMap::ToForward => &[],
        }
    }

    /// Whether a host endpoint is asked there: packets before tracking are no matter of that for all
    /// interfaces.
    fn is_about(self, host: &LocalHost) -> bool {
        self.plane() != Plane::Untracked || host.interface != Interface::All
    }

    fn direction(self) -> Direction {
        match self.way() {
            Way::In => Direction::Ingress,
            Way::Out => Direction::Egress,
        }
    }

    pub(super) fn way(self) -> Way {
        match self {
            HostMap::FromUntracked
            | HostMap::FromPreDnat
            | HostMap::FromForward
            | HostMap::FromNormal => Way::In,
            HostMap::ToUntracked | HostMap::ToForward | HostMap::ToNormal => Way::Out,
        }
    }
}

/// Where the chains of host endpoints are used.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    dispatched: BTreeMap<(HostMap, SmolStr), SmolStr>,
    /// Chains of the host endpoint for all other interfaces.
    pub(super) wildcard: BTreeMap<HostMap, SmolStr>,
    used: Vec<ChainId>,
}

impl Hosts {
    /// Puts all chains where they belong.
    pub(super) fn settle(
        &mut self,
        state: &State,
        interfaces: &Interfaces,
        graph: &mut Graph,
        output: &mut Output,
    ) {
        let (named, all) = select(state, interfaces);
        let (mut dispatched, mut wildcard, mut used) =
            (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for map in HostMap::ALL {
            let mut chain = |host: &LocalHost| {
                let chain = graph.acquire(content(state, host, map)?);
                used.push(chain);
                Some(graph.name(chain))
            };
            let all = all.filter(|all| map.is_about(all)).and_then(&mut chain);
            for (interface, host) in &named {
                // Who has a host endpoint of his own is not asked by that for all.
                let chain = chain(host).or_else(|| all.as_ref().map(|_| PASS));
                dispatched.extend(chain.map(|chain| ((map, interface.clone()), chain)));
            }
            wildcard.extend(all.map(|chain| (map, chain)));
        }
        for ((map, interface), chain) in &self.dispatched {
            let element = Element::Dispatch(interface.clone(), chain.clone());
            if dispatched.get(&(*map, interface.clone())) != Some(chain) {
                output.remove(&map.name(), element);
            }
        }
        for ((map, interface), chain) in &dispatched {
            output.add(&map.name(), Element::Dispatch(interface.clone(), chain.clone()));
        }
        self.used.iter().for_each(|chain| graph.release(*chain));
        (self.dispatched, self.wildcard, self.used) = (dispatched, wildcard, used);
    }
}

/// The host endpoint of each interface, and that for all others: of several the first by name,
/// whether it names the interface or expects one of its addresses.
fn select<'a>(
    state: &'a State,
    interfaces: &Interfaces,
) -> (BTreeMap<SmolStr, &'a LocalHost>, Option<&'a LocalHost>) {
    let (mut named, mut all) = (BTreeMap::new(), None);
    for host in state.hosts.values() {
        match &host.interface {
            Interface::All => all = all.or(Some(&**host)),
            Interface::Named(name) => {
                if is_usable(name) {
                    named.entry(name.clone()).or_insert(&**host);
                }
            }
            Interface::ByAddress => {
                let has = |addresses: &std::collections::BTreeSet<_>| {
                    host.addresses.iter().any(|address| addresses.contains(address))
                };
                for (name, _) in
                    interfaces.hosts.iter().filter(|(name, a)| is_usable(name) && has(a))
                {
                    named.entry(name.clone()).or_insert(&**host);
                }
            }
        }
    }
    (named, all)
}

/// What a host endpoint asks in one plane; nothing if packets go on there anyway.
fn content(state: &State, host: &LocalHost, map: HostMap) -> Option<Content> {
    let (plane, direction) = (map.plane(), map.direction());
    let role = Role::Host { plane };
    let of = |map: HostMap| {
        let role = Role::Host { plane: map.plane() };
        state.tiers(tiers(host, map.plane()), direction, role.place())
    };
    let is_asked = |map: &HostMap| map.is_about(host) && !of(*map).is_empty();
    let after_early = map.after().iter().any(is_asked);
    let tiers = of(map);
    let profiles = match plane {
        Plane::Normal => host.profiles.clone(),
        _ => Vec::new(),
    };
    let asks = plane == Plane::Normal || !tiers.is_empty();
    asks.then_some(Content::Endpoint(Endpoint { direction, role, after_early, tiers, profiles }))
}

fn tiers(host: &LocalHost, plane: Plane) -> &[EndpointTier] {
    let own = host.planes.iter().find(|(own, _)| *own == plane);
    own.map(|(_, tiers)| &**tiers).unwrap_or_default()
}
