//! Workloads that share an interface, a bridge: they are told apart by their addresses.
//!
//! The interface leads to a chain of its own, in which addresses lead to the chains of workloads. It
//! is written anew when one of them changes: a bridge has some hundreds at most. What comes from, or
//! goes to, an address there that is none of theirs is dropped, as it is on an interface that is named
//! as workloads' are and is none of theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_policy::{Direction, EndpointId, Side};

use super::Options;
use super::base::{self, FROM_WORKLOAD, TO_WORKLOAD};
use super::graph::{ChainId, Graph};
use super::names;
use super::output::Output;
use super::state::{ById, State};
use super::workloads::{self, Elements};
use crate::{Element, Family, Match, Rule, Verdict};

/// What of an interface is in the ruleset.
#[derive(Debug, Default)]
struct Wired {
    /// Chains it leads to.
    chains: Vec<ChainId>,
    elements: Elements,
}

/// The interfaces that several workloads have.
#[derive(Debug, Default)]
pub(super) struct Shared {
    members: BTreeMap<SmolStr, BTreeSet<EndpointId>>,
    of: HashMap<EndpointId, SmolStr>,
    wired: BTreeMap<SmolStr, Wired>,
    dirty: BTreeSet<SmolStr>,
}

impl Shared {
    /// Notes over which shared interface a workload is reached now, if it is over one.
    pub(super) fn put(&mut self, id: &EndpointId, interface: Option<SmolStr>) {
        let old = match &interface {
            Some(name) => self.of.insert(id.clone(), name.clone()),
            None => self.of.remove(id),
        };
        if let Some(old) = old {
            if let Some(members) = self.members.get_mut(&old) {
                members.remove(id);
            }
            self.dirty.insert(old);
        }
        if let Some(name) = interface {
            self.members.entry(name.clone()).or_default().insert(id.clone());
            self.dirty.insert(name);
        }
    }

    /// Writes the chains of interfaces that have changed. Elements that are there no more are taken
    /// out, and those that are new are returned.
    pub(super) fn settle(
        &mut self,
        state: &State,
        options: &Options,
        graph: &mut Graph,
        output: &mut Output,
    ) -> Elements {
        let mut joined = Elements::new();
        for name in std::mem::take(&mut self.dirty) {
            self.members.retain(|_, members| !members.is_empty());
            let old = self.wired.remove(&name).unwrap_or_default();
            let members = self.members.get(&name);
            let new = members.map(|members| wire(&name, members, state, options, graph, output));
            let after = new.as_ref().map(|new| new.elements.clone()).unwrap_or_default();
            for (set, element) in old.elements.difference(&after) {
                output.remove(set, element.clone());
            }
            joined.extend(after.difference(&old.elements).cloned());
            old.chains.into_iter().for_each(|chain| graph.release(chain));
            match new {
                Some(new) => drop(self.wired.insert(name, new)),
                None => chains(&name).iter().for_each(|chain| output.drop_chain(chain)),
            }
        }
        joined
    }
}

/// The chains of an interface: of what comes from it, and of what goes to it.
fn chains(interface: &str) -> [SmolStr; 2] {
    ["from-shared", "to-shared"].map(|head| names::name(&[head, interface]))
}

/// The addresses of workloads, by the chain they lead to.
type Targets = BTreeMap<SmolStr, Vec<IpNet>>;

/// Writes the chains of an interface.
fn wire(
    interface: &SmolStr,
    members: &BTreeSet<EndpointId>,
    state: &State,
    options: &Options,
    graph: &mut Graph,
    output: &mut Output,
) -> Wired {
    let (mut from, mut to) = (Targets::new(), Targets::new());
    let (mut taken, mut used) = (BTreeSet::<IpAddr>::new(), Vec::new());
    for ById(endpoint) in members.iter().filter_map(|id| state.endpoints.get(id)) {
        let own = endpoint.addresses.iter().map(|address| address.to_canonical());
        // An address that several claim is the first one's.
        let own: Vec<IpNet> = own.filter(|ip| taken.insert(*ip)).map(IpNet::from).collect();
        if own.is_empty() {
            continue;
        }
        for (targets, direction) in [(&mut from, Direction::Egress), (&mut to, Direction::Ingress)]
        {
            let chain = graph.acquire(workloads::content(endpoint, state, direction));
            targets.entry(graph.name(chain)).or_default().extend(&own);
            used.push(chain);
        }
    }
    let [from_chain, to_chain] = chains(interface);
    for (chain, side, targets) in
        [(&from_chain, Side::Source, from), (&to_chain, Side::Destination, to)]
    {
        output.put_chain(chain, None, rules(side, targets));
    }
    let dispatch = |chain: &SmolStr| Element::Dispatch(interface.clone(), chain.clone());
    let mut elements: Elements = taken.into_iter().map(|ip| source(interface, ip)).collect();
    elements.insert((FROM_WORKLOAD, dispatch(&from_chain)));
    elements.insert((TO_WORKLOAD, dispatch(&to_chain)));
    if workloads::is_unnamed(interface, options) {
        elements.extend(workloads::unnamed_elements(interface));
    }
    Wired { chains: used, elements }
}

fn source(interface: &SmolStr, address: IpAddr) -> (SmolStr, Element) {
    let (set, _) = base::sources(Family::of(address), false);
    (set, Element::InterfaceNet(interface.clone(), address.into()))
}

/// From addresses to chains; what is left is dropped.
fn rules(side: Side, targets: Targets) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (chain, mut nets) in targets {
        nets.sort_unstable();
        for family in Family::BOTH {
            let own = nets.iter().filter(|net| Family::of(net.addr()) == family);
            let nets: Vec<IpNet> = own.copied().collect();
            if !nets.is_empty() {
                rules.push(Rule {
                    matches: vec![Match::Family(family), Match::Nets { side, not: false, nets }],
                    verdict: Some(Verdict::Goto(chain.clone())),
                    ..Rule::default()
                });
            }
        }
    }
    let direction = match side {
        Side::Source => Direction::Egress,
        Side::Destination => Direction::Ingress,
    };
    rules.push(base::fixed_rule(Vec::new(), "unknown address", direction, Verdict::Drop));
    rules
}
