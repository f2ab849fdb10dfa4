//! Workloads: their interfaces, the chains these go to, and the addresses they send from.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_calc::LocalEndpoint;
use tortie_policy::{Direction, EndpointId};

use super::base::{self, FROM_WORKLOAD, TO_WORKLOAD, UNNAMED};
use super::content::{Content, Endpoint, Role};
use super::criteria;
use super::graph::Graph;
use super::output::Output;
use super::state::State;
use super::{Interfaces, Options, is_usable};
use crate::{Element, Family};

/// Where workloads are connected.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    wired: HashMap<EndpointId, Wired>,
    /// Who claims an interface, in order: one in a sound cluster, else the first by name has it.
    claims: HashMap<SmolStr, Vec<EndpointId>>,
    dirty: BTreeSet<EndpointId>,
}

/// A workload in the ruleset. There are many, so it is small.
#[derive(Debug, Default)]
struct Wired {
    /// The interface it claims.
    interface: Option<SmolStr>,
    chains: Box<[SmolStr]>,
    /// Its elements with their sets, in order.
    elements: Box<[(SmolStr, Element)]>,
}

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
            let endpoint = state.endpoints.get(&id);
            self.claim(&id, endpoint.and_then(|e| interface(e, interfaces)));
        }
        let mut joined = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            let wired = state.endpoints.get(&id).zip(self.interface(&id));
            let new = wired.map(|(e, name)| Wired::new(e, name, state, options, graph));
            let old = self.wired.remove(&id).unwrap_or_default();
            let new = new
                .unwrap_or_else(|| Wired { interface: old.interface.clone(), ..Wired::default() });
            for (set, element) in old.without(&new) {
                output.remove(set, element.clone());
            }
            joined.extend(new.without(&old).cloned());
            old.chains.iter().for_each(|chain| graph.release(chain));
            if new.interface.is_some() {
                self.wired.insert(id, new);
            }
        }
        // What one leaves may be what another takes.
        joined.into_iter().for_each(|(set, element)| output.add(&set, element));
    }

    /// The interface of a workload, if it is the first of those who claim it.
    fn interface(&self, id: &EndpointId) -> Option<&SmolStr> {
        let name = self.wired.get(id)?.interface.as_ref()?;
        let first = self.claims.get(name)?.first();
        (first == Some(id)).then_some(name)
    }

    /// Notes whose an interface is. Others who claim it, or claimed it, have to be looked at again.
    fn claim(&mut self, id: &EndpointId, name: Option<SmolStr>) {
        let old = self.wired.get(id).and_then(|wired| wired.interface.clone());
        if old == name {
            return;
        }
        if let Some(old) = old {
            let claims = self.claims.entry(old.clone()).or_default();
            claims.retain(|other| other != id);
            self.dirty.extend(claims.iter().cloned());
            if claims.is_empty() {
                self.claims.remove(&old);
            }
        }
        if let Some(name) = &name {
            // Room for the one there usually is.
            let claims = self.claims.entry(name.clone()).or_insert_with(|| Vec::with_capacity(1));
            let at = claims.partition_point(|other| other < id);
            claims.insert(at, id.clone());
            self.dirty.extend(claims.iter().cloned());
        }
        self.wired.entry(id.clone()).or_default().interface = name;
    }
}

/// The workload's interface: as found, or else as named.
fn interface(endpoint: &LocalEndpoint, interfaces: &Interfaces) -> Option<SmolStr> {
    let name = interfaces.workloads.get(&endpoint.id).unwrap_or(&endpoint.interface);
    is_usable(name).then(|| name.clone())
}

impl Wired {
    fn new(
        endpoint: &LocalEndpoint,
        interface: &SmolStr,
        state: &State,
        options: &Options,
        graph: &mut Graph,
    ) -> Wired {
        let from = graph.acquire(content(endpoint, state, Direction::Egress));
        let to = graph.acquire(content(endpoint, state, Direction::Ingress));
        let dispatch = |chain: &SmolStr| Element::Dispatch(interface.clone(), chain.clone());
        let mut elements: BTreeSet<(SmolStr, Element)> = sources(endpoint, interface).collect();
        elements.insert((FROM_WORKLOAD, dispatch(&from)));
        elements.insert((TO_WORKLOAD, dispatch(&to)));
        if !options.prefixes.iter().any(|prefix| interface.starts_with(prefix.as_str())) {
            elements.extend(UNNAMED.into_iter().map(|(map, chain)| (map, dispatch(&chain))));
        }
        let elements = elements.into_iter().collect();
        Wired { interface: Some(interface.clone()), chains: [from, to].into(), elements }
    }

    /// The elements that another has not.
    fn without<'a>(&'a self, other: &'a Wired) -> impl Iterator<Item = &'a (SmolStr, Element)> {
        self.elements.iter().filter(|element| other.elements.binary_search(element).is_err())
    }
}

fn content(endpoint: &LocalEndpoint, state: &State, direction: Direction) -> Content {
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
