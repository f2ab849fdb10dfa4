//! What is rendered depends on what has been told in all, not on the way there; and deltas lead from
//! each ruleset to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tortie_calc::{Calculation, Key, State, Update};
use tortie_model::Resource;
use tortie_nft::render::{Interfaces, Options, Renderer};
use tortie_nft::{Delta, Ruleset};
use tortie_policy::EndpointId;
use tortie_testkit::Property;
use tortie_testkit::world::strategy;

use crate::{draw, whole};

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from((self.0 >> 33) % sides.max(1) as u64).unwrap()
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.roll(last + 1);
            list.swap(last, other);
        }
    }
}

/// A renderer with somebody who does what it says.
struct Followed {
    calculation: Calculation,
    state: State,
    renderer: Renderer,
    interfaces: Interfaces,
    /// The ruleset as deltas have made it.
    programmed: Ruleset,
    /// What is not programmed yet.
    delta: Delta,
    options: Options,
}

impl Followed {
    fn new(options: Options) -> Followed {
        let renderer = Renderer::new(options.clone());
        let programmed = renderer.ruleset().clone();
        let calculation = Calculation::new(None).assigning_addresses();
        let (state, interfaces, delta) = Default::default();
        Followed { calculation, state, renderer, interfaces, programmed, delta, options }
    }

    /// Tells what has changed, a part at a time, and now and then programs it.
    fn flush(&mut self, dice: &mut Dice) {
        let mut updates = Vec::new();
        self.calculation.flush(&mut updates);
        while !updates.is_empty() {
            let rest = updates.split_off(1 + dice.roll(updates.len()));
            self.renderer.update(&updates, &mut self.delta);
            for update in updates {
                self.state.apply(update).unwrap();
            }
            updates = rest;
            if dice.roll(2) == 0 {
                self.program();
            }
        }
    }

    fn program(&mut self) {
        follow(&mut self.programmed, self.renderer.ruleset(), &std::mem::take(&mut self.delta));
        assert_eq!(self.programmed, *self.renderer.ruleset(), "a delta leads elsewhere");
    }

    fn find_interfaces(&mut self, dice: &mut Dice) {
        let ids: Vec<EndpointId> = self.state.endpoints.keys().cloned().collect();
        let names = ["veth-a", "veth-b", "eni123", "cali0"];
        let mut workloads = BTreeMap::new();
        for id in ids {
            if dice.roll(4) == 0 {
                workloads.insert(id, names[dice.roll(names.len())].into());
            }
        }
        let host = |address: &str| [address.parse().unwrap()].into();
        let mut hosts = BTreeMap::from([("eth0".into(), host("192.0.2.1"))]);
        if dice.roll(2) == 0 {
            hosts.insert("eth1".into(), host("10.0.0.3"));
        }
        let shared = names.into_iter().filter(|_| dice.roll(2) == 0).map(Into::into).collect();
        self.interfaces = Interfaces { hosts, workloads, shared, ..Interfaces::default() };
        self.renderer.interfaces(self.interfaces.clone(), &mut self.delta);
    }

    fn choose_options(&mut self, dice: &mut Dice) {
        let prefixes = [vec!["cali".into()], vec!["cali".into(), "veth".into()]];
        self.options = Options {
            prefixes: prefixes[dice.roll(2)].clone(),
            records: dice.roll(2) == 0,
            mark: Options::mark_within([0xffff_0000, 0x0000_0a00][dice.roll(2)]).unwrap(),
            drop_invalid: dice.roll(2) == 0,
        };
        self.renderer.options(self.options.clone(), &mut self.delta);
    }

    fn check(&mut self, dice: &mut Dice) -> Result<(), TestCaseError> {
        self.program();
        let mut updates = told(&self.state);
        dice.shuffle(&mut updates);
        // A set is told before anything else is said of it.
        updates.sort_by_key(|update| match update {
            Update::IpSet { .. } => 0,
            Update::InSync => 2,
            _ => 1,
        });
        let mut fresh = Renderer::new(self.options.clone());
        let mut delta = Delta::default();
        fresh.interfaces(self.interfaces.clone(), &mut delta);
        fresh.update(&updates, &mut delta);
        let (ours, fresh) = (self.renderer.ruleset(), fresh.ruleset());
        prop_assert_eq!(&ours.chains, &fresh.chains);
        prop_assert_eq!(&ours.sets, &fresh.sets);
        whole::check(ours).map_err(TestCaseError::fail)
    }
}

/// A state as updates, in no order.
fn told(state: &State) -> Vec<Update> {
    let mut updates = Vec::new();
    for (id, set) in &state.sets {
        let members = set.members.iter().copied().collect();
        updates.push(Update::IpSet { id: id.clone(), kind: set.kind, members });
        updates.push(Update::IpSetIncomplete(id.clone(), set.incomplete));
    }
    updates.extend(state.policies.values().map(|policy| Update::Policy(Arc::clone(policy))));
    updates.extend(state.profiles.values().map(|profile| Update::Profile(Arc::clone(profile))));
    updates.extend(state.endpoints.values().map(|e| Update::Endpoint(Arc::clone(e))));
    updates.extend(state.hosts.values().map(|host| Update::Host(Arc::clone(host))));
    updates.extend(state.addresses.iter().map(|(ip, a)| Update::Address(*ip, a.to_vec())));
    updates.extend(state.settings.iter().map(|s| Update::Settings(Arc::clone(s))));
    updates.extend(state.in_sync.then_some(Update::InSync));
    updates
}

/// Does what a delta says, and makes sure it says nothing that cannot be.
fn follow(programmed: &mut Ruleset, next: &Ruleset, delta: &Delta) {
    for name in &delta.gone_sets {
        assert!(programmed.sets.remove(name).is_some(), "set {name} was not there");
    }
    for name in &delta.new_sets {
        let old = programmed.sets.insert(name.clone(), next.sets[name].clone());
        assert!(old.is_none(), "set {name} was there");
    }
    for (name, elements) in &delta.elements {
        let set = programmed.sets.get_mut(name).unwrap();
        assert!(!(elements.added.is_empty() && elements.removed.is_empty()));
        elements.removed.iter().for_each(|element| assert!(set.elements.remove(element)));
        elements.added.iter().for_each(|e| assert!(set.elements.insert(e.clone())));
    }
    for name in &delta.gone_chains {
        assert!(programmed.chains.remove(name).is_some(), "chain {name} was not there");
    }
    for name in &delta.chains {
        programmed.chains.insert(name.clone(), next.chains[name].clone());
    }
}

fn decode(documents: impl IntoIterator<Item = serde_json::Value>) -> Vec<Resource> {
    documents.into_iter().flat_map(|document| tortie_model::decode(document).unwrap()).collect()
}

/// Changes that lead from some resources to others, in any order.
fn steps(from: &[Resource], to: &[Resource], dice: &mut Dice) -> Vec<(Key, Option<Resource>)> {
    let gone = from.iter().filter(|old| !to.iter().any(|new| Key::of(new) == Key::of(old)));
    let mut steps: Vec<_> = gone.map(|old| (Key::of(old), None)).collect();
    steps.extend(to.iter().map(|new| (Key::of(new), Some(new.clone()))));
    dice.shuffle(&mut steps);
    steps
}

fn journey(worlds: &[Vec<Resource>], options: Options, seed: u64) -> Result<(), TestCaseError> {
    let (mut dice, mut followed) = (Dice(seed), Followed::new(options));
    let mut before: &[Resource] = &[];
    for (number, resources) in worlds.iter().enumerate() {
        let often = 1 + dice.roll(10);
        for (key, resource) in steps(before, resources, &mut dice) {
            followed.calculation.apply(&key, resource.as_ref());
            if dice.roll(often) == 0 {
                followed.flush(&mut dice);
            }
            if dice.roll(12) == 0 {
                followed.find_interfaces(&mut dice);
            }
            if dice.roll(20) == 0 {
                followed.choose_options(&mut dice);
            }
        }
        if number == 0 {
            let closed = Renderer::new(followed.options.clone());
            let (closed, now) = (closed.ruleset(), followed.renderer.ruleset());
            prop_assert_eq!(closed, now, "something before all is known");
            followed.calculation.in_sync();
        }
        followed.flush(&mut dice);
        followed.check(&mut dice)?;
        before = resources;
    }
    Ok(())
}

#[test]
fn the_order_of_updates_does_not_matter() {
    let worlds = vec((strategy::world(), draw::extras()), 1..5);
    let drawn = (worlds, any::<bool>(), any::<u64>());
    Property::new("rendering from updates in any order", 150).check(
        &drawn,
        |(worlds, records, seed)| {
            let worlds: Vec<_> = worlds
                .into_iter()
                .map(|(world, extras)| decode(world.documents().into_iter().chain(extras)))
                .collect();
            journey(&worlds, Options { records, ..Options::default() }, seed)
        },
    );
}
