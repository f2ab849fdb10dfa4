//! From updates to a ruleset.
//!
//! The ruleset is a function of what updates tell in all, whatever their order and however they are
//! split; a change costs what it changes.

mod alternatives;
mod base;
mod content;
mod criteria;
mod failsafes;
mod graph;
mod hosts;
mod names;
mod output;
mod pool;
mod rule;
mod sets;
mod shared;
mod state;
mod words;
mod workloads;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::{ActivePolicy, ActiveProfile, Settings, Update};
use tortie_policy::{Account, Direction, EndpointId, HostSettings, PolicyId};

use crate::{Delta, Element, Family, InterfaceMatch, Match, Ruleset, SetKind, Way};
use base::Bases;
use graph::Graph;
use hosts::Hosts;
use output::Output;
use state::{ById, State};
use words::Words;
use workloads::Workloads;
use write::Input;

/// Longest name of an interface, in bytes.
const MAX_INTERFACE: usize = 15;

/// What a node's operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What the names of workloads' interfaces begin with. An interface of such a name that is none
    /// of a workload we know of is closed.
    pub prefixes: Vec<SmolStr>,
    /// Whether decisions are recorded, for flow logs: NFLOG groups 1 (ingress) and 2 (egress).
    pub records: bool,
    /// A bit of packets' marks, for what policy before NAT and untracked policy allow: it is not asked
    /// about again. Nobody else may use it. As default the lowest bit that Calico uses; see
    /// [`Options::mark_within`].
    pub mark: u32,
    /// Whether packets are dropped that belong to no connection and cannot begin one, before policy
    /// is asked (unless `disableConntrackInvalidCheck`). Not before tracking.
    pub drop_invalid: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            prefixes: vec![SmolStr::new_static("cali")],
            records: false,
            mark: 0x0001_0000,
            drop_invalid: true,
        }
    }
}

impl Options {
    /// The bit for [`Options::mark`] of those that a mask grants (`nftablesMarkMask`): the lowest.
    /// None if it grants none.
    pub fn mark_within(mask: u32) -> Option<u32> {
        (mask != 0).then(|| mask & mask.wrapping_neg())
    }
}

/// Facts of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// The host's interfaces with their addresses: for host endpoints that name none.
    pub hosts: BTreeMap<SmolStr, BTreeSet<IpAddr>>,
    /// Workloads whose interface is another than the one they are said to have.
    pub workloads: BTreeMap<EndpointId, SmolStr>,
    /// Those of these interfaces that several workloads share, as bridges: there workloads are told
    /// apart by their addresses, and what is of no workload's address is dropped.
    pub shared: BTreeSet<SmolStr>,
    /// Addresses of the cluster's nodes, as far as known: tunnels between them stay open.
    pub nodes: BTreeSet<IpAddr>,
}

/// Keeps a ruleset current.
#[derive(Debug)]
pub struct Renderer {
    options: Options,
    words: Words,
    interfaces: Interfaces,
    state: State,
    graph: Graph,
    workloads: Workloads,
    hosts: Hosts,
    output: Output,
    /// What was told before everything was there; nothing after that.
    early: Option<Vec<Update>>,
    /// Whether host endpoints have to be looked at.
    hosts_dirty: bool,
}

impl Renderer {
    /// A renderer that knows of nothing: until everything that was there at the start has been told,
    /// interfaces of workloads are closed, and nothing else is touched.
    pub fn new(options: Options) -> Renderer {
        let mut output = Output::default();
        base::closed(&options, &mut output);
        output.end();
        let words = Words::new(&HostSettings::default(), &options);
        Renderer {
            options,
            words,
            interfaces: Interfaces::default(),
            state: State::default(),
            graph: Graph::default(),
            workloads: Workloads::default(),
            hosts: Hosts::default(),
            output,
            early: Some(Vec::new()),
            hosts_dirty: true,
        }
    }

    /// The ruleset as it should be.
    pub fn ruleset(&self) -> &Ruleset {
        self.output.ruleset()
    }

    /// Takes in updates, all of which come into force together. What changes is added to the delta,
    /// which is the one that came last, or an empty one once that has been done.
    pub fn update(&mut self, updates: &[Update], delta: &mut Delta) {
        self.output.begin(delta);
        for update in updates {
            match (&mut self.early, update) {
                (None, update) => self.take(update),
                (Some(early), Update::InSync) => {
                    let early = std::mem::take(early);
                    self.early = None;
                    Bases::put_sets(&mut self.output);
                    early.iter().for_each(|update| self.take(update));
                }
                (Some(early), update) => early.push(update.clone()),
            }
        }
        self.settle();
        *delta = self.output.end();
    }

    /// Takes in facts of the node. What changes is added to the delta.
    pub fn interfaces(&mut self, interfaces: Interfaces, delta: &mut Delta) {
        if self.interfaces == interfaces {
            return;
        }
        self.output.begin(delta);
        let old = std::mem::replace(&mut self.interfaces, interfaces);
        let reshared: BTreeSet<_> =
            old.shared.symmetric_difference(&self.interfaces.shared).collect();
        let (old, new) = (&old.workloads, &self.interfaces.workloads);
        let changed = |(id, name): &(&EndpointId, &SmolStr), other: &BTreeMap<_, _>| {
            other.get(*id) != Some(*name) || reshared.contains(name)
        };
        let changes = old.iter().filter(|entry| changed(entry, new));
        let changes = changes.chain(new.iter().filter(|entry| changed(entry, old)));
        changes.for_each(|(id, _)| self.workloads.touch(id));
        self.hosts_dirty = true;
        self.settle();
        *delta = self.output.end();
    }

    /// Takes in that the operator chooses otherwise. What changes is added to the delta.
    pub fn options(&mut self, options: Options, delta: &mut Delta) {
        if self.options == options {
            return;
        }
        self.output.begin(delta);
        self.options = options;
        self.words = Words::new(&self.state.settings.host, &self.options);
        if self.early.is_some() {
            base::closed(&self.options, &mut self.output);
        }
        self.graph.touch_all();
        self.state.endpoints.iter().for_each(|ById(e)| self.workloads.touch(&e.id));
        self.hosts_dirty = true;
        self.settle();
        *delta = self.output.end();
    }

    /// Takes in one update.
    fn take(&mut self, update: &Update) {
        let (state, output) = (&mut self.state, &mut self.output);
        match update {
            Update::IpSet { id, kind, members } => {
                if state.sets.replace(id, *kind, members, output) {
                    self.graph.touch(&Input::Set(id.clone()));
                }
            }
            Update::IpSetDelta { id, added, removed } => {
                if state.sets.change(id, added, removed, output) {
                    self.graph.touch(&Input::Set(id.clone()));
                }
            }
            Update::IpSetIncomplete(id, incomplete) => {
                if state.sets.mark(id, *incomplete) {
                    self.graph.touch(&Input::Set(id.clone()));
                }
            }
            Update::IpSetRemove(id) => {
                if state.sets.remove(id, output) {
                    self.graph.touch(&Input::Set(id.clone()));
                }
            }
            Update::Policy(policy) => self.policy(&policy.policy.id, Some(policy)),
            Update::PolicyRemove(id) => self.policy(id, None),
            Update::Profile(profile) => self.profile(&profile.profile.name, Some(profile)),
            Update::ProfileRemove(name) => self.profile(name, None),
            Update::Endpoint(endpoint) => {
                self.workloads.touch(&endpoint.id);
                state.endpoints.replace(ById(Arc::clone(endpoint)));
            }
            Update::EndpointRemove(id) => {
                self.workloads.touch(id);
                state.endpoints.remove(id);
            }
            Update::Host(host) => {
                self.hosts_dirty = true;
                state.hosts.insert(host.name.clone(), Arc::clone(host));
            }
            Update::HostRemove(name) => {
                self.hosts_dirty = true;
                state.hosts.remove(name);
            }
            Update::Address(address, accounts) => self.address(address.to_canonical(), accounts),
            Update::Settings(settings) => self.settings(settings),
            // What names them has been turned into sets.
            Update::ServiceAccount(..)
            | Update::ServiceAccountRemove(_)
            | Update::Namespace(..)
            | Update::NamespaceRemove(_)
            | Update::InSync => {}
        }
    }

    /// A profile has changed, come or gone.
    fn profile(&mut self, name: &SmolStr, profile: Option<&Arc<ActiveProfile>>) {
        let ways = [Direction::Ingress, Direction::Egress];
        let asks = |state: &State| ways.map(|way| state.asks_nothing(name, way));
        let before = asks(&self.state);
        match profile {
            Some(profile) => drop(self.state.profiles.insert(name.clone(), Arc::clone(profile))),
            None => drop(self.state.profiles.remove(name)),
        }
        self.graph.touch(&Input::Profile(name.clone()));
        if asks(&self.state) != before {
            let users = self.state.endpoints.iter().filter(|ById(e)| e.profiles.contains(name));
            users.for_each(|ById(e)| self.workloads.touch(&e.id));
        }
    }

    fn policy(&mut self, id: &PolicyId, policy: Option<&Arc<ActivePolicy>>) {
        let was = self.state.is_enforced(id);
        match policy {
            Some(policy) => drop(self.state.policies.insert(id.clone(), Arc::clone(policy))),
            None => drop(self.state.policies.remove(id)),
        }
        self.graph.touch(&Input::Policy(id.clone()));
        if was != self.state.is_enforced(id) {
            // The tiers of endpoints have others in them.
            self.state.endpoints.iter().for_each(|ById(e)| self.workloads.touch(&e.id));
            self.hosts_dirty = true;
        }
    }

    /// Notes whether several workloads claim an address.
    fn address(&mut self, address: IpAddr, accounts: &[Account]) {
        let was = self.state.known().disputed;
        let family = Family::of(address);
        let set = SmolStr::new_static(criteria::disputed(family));
        let element = Element::Net(address.into());
        if accounts.len() > 1 {
            self.output.put_set(&set, SetKind::Address(family));
            self.output.add(&set, element);
            self.state.disputed.insert(address);
        } else {
            self.output.remove(&set, element);
            self.state.disputed.remove(&address);
            if self.output.len(&set) == 0 {
                self.output.drop_set(&set);
            }
        }
        if was != self.state.known().disputed {
            self.graph.touch_all();
        }
    }

    fn settings(&mut self, settings: &Arc<Settings>) {
        let old = std::mem::replace(&mut self.state.settings, Arc::clone(settings));
        let part = |s: &Settings| (s.compat, s.addresses, s.host.clone());
        if part(&old) != part(settings) {
            self.words = Words::new(&settings.host, &self.options);
            self.graph.touch_all();
            self.hosts_dirty = true;
        }
    }

    /// Writes everything that has to be written.
    fn settle(&mut self) {
        if self.early.is_some() {
            return;
        }
        let Renderer { options, words, interfaces, state, graph, workloads, hosts, output, .. } =
            self;
        let unnamed = |output: &Output| {
            let maps = base::UNNAMED.into_iter();
            maps.map(|(map, _)| output.len(&map) > 0).collect::<Vec<_>>()
        };
        let before = unnamed(output);
        workloads.settle(state, (options, interfaces), graph, output);
        if self.hosts_dirty {
            hosts.settle(state, interfaces, graph, output);
        }
        if self.hosts_dirty || before != unnamed(output) {
            let to_host = state.host().endpoint_to_host;
            Bases { options, to_host, wildcard: &hosts.wildcard }.put(output);
        }
        if self.hosts_dirty {
            // The nodes' addresses are in the chains of hosts.
            graph.touch_hosts();
        }
        self.hosts_dirty = false;
        graph.settle(|content| write::write(content, state, words, &interfaces.nodes), output);
    }
}

/// The names of workloads' interfaces.
fn names_of(options: &Options, way: Way) -> Vec<Match> {
    let prefixes = options.prefixes.iter();
    let name = |prefix: &SmolStr| Match::Interface {
        way,
        not: false,
        name: InterfaceMatch::Prefix(prefix.clone()),
    };
    prefixes.map(name).collect()
}

/// Whether an interface can have that name.
fn is_usable(name: &str) -> bool {
    (1..=MAX_INTERFACE).contains(&name.len()) && !name.contains(['/', ' ', '\0'])
}
