//! Workloads: their interfaces, the chains these go to, and the addresses they send from.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_calc::LocalEndpoint;
use tortie_policy::{Direction, EndpointId};

use super::base::{self, FROM_WORKLOAD, TO_WORKLOAD, UNNAMED};
use super::content::{Content, Endpoint, Role};
use super::criteria;
use super::graph::{ChainId, Graph};
use super::output::Output;
use super::shared::Shared;
use super::state::{ById, State};
use super::{Interfaces, Options, is_usable};
use crate::{Element, Family};

/// Where workloads are connected. There are many, so little is kept of each.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// Those with an interface, as they were when they were last looked at.
    wired: HashMap<ById, Wired>,
    /// Who claims an interface: one in a sound cluster, else the first by name has it.
    claims: BTreeSet<(SmolStr, EndpointId)>,
    dirty: BTreeSet<EndpointId>,
    /// Those who share one.
    shared: Shared,
}

/// A workload with an interface.
#[derive(Debug, Default)]
struct Wired {
    /// The interface it claims.
    claimed: Option<SmolStr>,
    /// What is in the ruleset, if it has that interface.
    wire: Option<Wire>,
}

/// What of a workload is in the ruleset.
#[derive(Debug)]
struct Wire {
    interface: SmolStr,
    from: ChainId,
    to: ChainId,
    /// Whether the interface has no name that tells.
    unnamed: bool,
}

/// Elements with the sets they are in.
pub(super) type Elements = BTreeSet<(SmolStr, Element)>;

impl Workloads {
    /// A workload has changed, come or gone.
    pub(super) fn touch(&mut self, id: &EndpointId) {
        self.dirty.insert(id.clone());
    }

    /// Puts everything where it belongs.
    pub(super) fn settle(
        &mut self,
        state: &State,
        (options, interfaces): (&Options, &Interfaces),
        graph: &mut Graph,
        output: &mut Output,
    ) {
        for id in self.dirty.clone() {
            let now = state.endpoints.get(&id);
            let name = now.and_then(|ById(endpoint)| interface(endpoint, interfaces));
            let shared = name.clone().filter(|name| interfaces.shared.contains(name));
            self.claim(&id, now, name.filter(|_| shared.is_none()));
            self.shared.put(&id, shared);
        }
        let mut joined = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            let now = state.endpoints.get(&id);
            let new = now.zip(self.interface(&id));
            let new = new.map(|(ById(e), name)| Wire::new(e, name, state, options, graph));
            let Some((was, Wired { claimed, wire: old })) = self.wired.remove_entry(&id) else {
                continue;
            };
            let before = elements(&was, old.as_ref(), graph);
            let now = now.unwrap_or(&was);
            let after = elements(now, new.as_ref(), graph);
            for (set, element) in before.difference(&after) {
                output.remove(set, element.clone());
            }
            joined.extend(after.difference(&before).cloned());
            for chain in old.iter().flat_map(|wire| [wire.from, wire.to]) {
                graph.release(chain);
            }
            if claimed.is_some() {
                self.wired.insert(now.clone(), Wired { claimed, wire: new });
            }
        }
        joined.extend(self.shared.settle(state, options, graph, output));
        // What one leaves may be what another takes.
        joined.into_iter().for_each(|(set, element)| output.add(&set, element));
    }

    /// The interface of a workload, if it is the first of those who claim it.
    fn interface(&self, id: &EndpointId) -> Option<&SmolStr> {
        let name = self.wired.get(id)?.claimed.as_ref()?;
        let first = self.claimants(name).next();
        (first == Some(id)).then_some(name)
    }

    /// Who claims an interface, in order.
    fn claimants<'a>(&'a self, name: &'a SmolStr) -> impl Iterator<Item = &'a EndpointId> {
        let before = EndpointId { namespace: SmolStr::default(), name: SmolStr::default() };
        let claims = self.claims.range((name.clone(), before)..);
        claims.take_while(move |(claimed, _)| claimed == name).map(|(_, id)| id)
    }

    /// Notes whose an interface is. Others who claim it, or claimed it, have to be looked at again.
    fn claim(&mut self, id: &EndpointId, now: Option<&ById>, name: Option<SmolStr>) {
        let old = self.wired.get(id).and_then(|wired| wired.claimed.clone());
        if old == name {
            return;
        }
        if let Some(old) = &old {
            self.claims.remove(&(old.clone(), id.clone()));
        }
        self.claims.extend(name.clone().map(|name| (name, id.clone())));
        let names = old.iter().chain(&name);
        let others: Vec<_> = names.flat_map(|name| self.claimants(name)).cloned().collect();
        self.dirty.extend(others);
        match (self.wired.get_mut(id), now) {
            (Some(wired), _) => wired.claimed = name,
            (None, Some(now)) => {
                self.wired.insert(now.clone(), Wired { claimed: name, wire: None });
            }
            (None, None) => {}
        }
    }
}

/// The workload's interface: as found, or else as named.
fn interface(endpoint: &LocalEndpoint, interfaces: &Interfaces) -> Option<SmolStr> {
    let name = interfaces.workloads.get(&endpoint.id).unwrap_or(&endpoint.interface);
    is_usable(name).then(|| name.clone())
}

impl Wire {
    fn new(
        endpoint: &LocalEndpoint,
        interface: &SmolStr,
        state: &State,
        options: &Options,
        graph: &mut Graph,
    ) -> Wire {
        Wire {
            interface: interface.clone(),
            from: graph.acquire(content(endpoint, state, Direction::Egress)),
            to: graph.acquire(content(endpoint, state, Direction::Ingress)),
            unnamed: is_unnamed(interface, options),
        }
    }
}

/// What of a workload is in the ruleset.
fn elements(ById(endpoint): &ById, wire: Option<&Wire>, graph: &Graph) -> Elements {
    let Some(Wire { interface, from, to, unnamed }) = wire else {
        return Elements::new();
    };
    let dispatch = |chain| Element::Dispatch(interface.clone(), chain);
    let mut elements: Elements = sources(endpoint, interface).collect();
    elements.insert((FROM_WORKLOAD, dispatch(graph.name(*from))));
    elements.insert((TO_WORKLOAD, dispatch(graph.name(*to))));
    if *unnamed {
        elements.extend(unnamed_elements(interface));
    }
    elements
}

/// Whether an interface has no name that tells.
pub(super) fn is_unnamed(interface: &SmolStr, options: &Options) -> bool {
    !options.prefixes.iter().any(|prefix| interface.starts_with(prefix.as_str()))
}

/// The elements of such an interface, besides those that every workload's has.
pub(super) fn unnamed_elements(
    interface: &SmolStr,
) -> impl Iterator<Item = (SmolStr, Element)> + '_ {
    let element = |(map, chain)| (map, Element::Dispatch(interface.clone(), chain));
    UNNAMED.into_iter().map(element)
}

/// What is asked about packets of a workload.
pub(super) fn content(endpoint: &LocalEndpoint, state: &State, direction: Direction) -> Content {
    // Only what comes to a workload is checked by its sidecar.
    let http = direction == Direction::Ingress && endpoint.application_enforced;
    let role = Role::Workload { http };
    Content::Endpoint(Endpoint {
        direction,
        role,
        after_early: false,
        tiers: state.tiers(&endpoint.tiers, direction, role.place()),
        profiles: {
            let profiles = endpoint.profiles.iter();
            profiles.filter(|name| !state.asks_nothing(name, direction)).cloned().collect()
        },
    })
}

/// The addresses a workload may send from, as elements of the sets they are in.
fn sources<'a>(
    endpoint: &'a LocalEndpoint,
    interface: &'a SmolStr,
) -> impl Iterator<Item = (SmolStr, Element)> + 'a {
    let own = endpoint.addresses.iter().map(|address| IpNet::from(address.to_canonical()));
    let granted = Family::BOTH
        .into_iter()
        .flat_map(|family| criteria::widest(&endpoint.spoofed_sources, family).into_iter());
    own.chain(granted).map(|net| {
        let single = net.prefix_len() == net.max_prefix_len();
        let (set, _) = base::sources(Family::of(net.addr()), !single);
        (set, Element::InterfaceNet(interface.clone(), net))
    })
}
