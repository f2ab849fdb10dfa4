//! What a calculation tells in all depends on the resources as they are, not on the way there:
//! changes are shuffled, split between flushes, squashed, repeated, taken back and preceded by
//! removals, and after each flush the state must be that of all resources read at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::{Dice, Heard};
use proptest::prelude::*;
use tortie_calc::Key;
use tortie_model::Resource;
use tortie_testkit::{Property, verdicts, world};

/// One change.
type Step = (Key, Option<Resource>);

/// Changes that lead from some resources to others, in any order, with detours.
fn steps(from: &[Resource], to: &[Resource], dice: &mut Dice) -> Vec<Step> {
    let gone = from.iter().filter(|old| !to.iter().any(|new| Key::of(new) == Key::of(old)));
    let mut last: Vec<Step> = gone.map(|old| (Key::of(old), None)).collect();
    last.extend(to.iter().map(|new| (Key::of(new), Some(new.clone()))));
    dice.shuffle(&mut last);
    let mut steps: Vec<Step> = Vec::new();
    for (key, resource) in last {
        for _ in 0..dice.roll(3) {
            let place = dice.roll(steps.len() + 1);
            let earlier = match dice.roll(3) {
                0 => None,
                1 => resource.clone(),
                _ => from.iter().find(|old| Key::of(old) == key).cloned(),
            };
            // A detour of a key must come before its last step: none of its steps is behind yet.
            steps.insert(place, (key.clone(), earlier));
        }
        steps.push((key, resource));
    }
    steps
}

/// Takes the steps with flushes now and then, and checks after each.
fn walk(heard: &mut Heard, steps: &[Step], dice: &mut Dice) -> Result<(), String> {
    let often = 1 + dice.roll(8);
    for (key, resource) in steps {
        heard.apply(key, resource.as_ref());
        if dice.roll(often) == 0 {
            heard.settle()?;
        }
        if dice.roll(4) == 0 {
            heard.flush()?;
            heard.flush()?;
        }
    }
    Ok(())
}

fn journey(worlds: &[Vec<Resource>], node: Option<&str>, seed: u64) -> Result<(), String> {
    let (mut dice, mut heard) = (Dice(seed), Heard::new(node));
    let mut before: &[Resource] = &[];
    // In sync right away, in the middle of the first world, or after it.
    let early = dice.roll(3);
    if early == 0 {
        heard.in_sync();
    }
    for resources in worlds {
        let steps = steps(before, resources, &mut dice);
        if early == 1 {
            let (first, second) = steps.split_at(steps.len() / 2);
            walk(&mut heard, first, &mut dice)?;
            heard.in_sync();
            walk(&mut heard, second, &mut dice)?;
        } else {
            walk(&mut heard, &steps, &mut dice)?;
        }
        heard.in_sync();
        heard.settle()?;
        before = resources;
    }
    let none = steps(before, &[], &mut dice);
    walk(&mut heard, &none, &mut dice)?;
    heard.settle()?;
    let left = [heard.state.sets.len(), heard.state.policies.len(), heard.state.endpoints.len()];
    if left == [0; 3] { Ok(()) } else { Err(format!("left behind: {left:?}")) }
}

fn decoded(world: &world::World) -> Vec<Resource> {
    let documents = world.documents().into_iter();
    documents.flat_map(|document| tortie_model::decode(document).unwrap()).collect()
}

#[test]
fn random_worlds() {
    let worlds = prop::collection::vec(world::strategy::world(), 1..4);
    Property::new("order of changes", 200).check(&(worlds, any::<u64>()), |(worlds, seed)| {
        let worlds: Vec<_> = worlds.iter().map(decoded).collect();
        journey(&worlds, None, seed).map_err(TestCaseError::fail)
    });
}

#[test]
fn scenarios_of_the_corpus() {
    let scenarios = verdicts::scenarios().unwrap();
    assert!(scenarios.len() > 30);
    for (number, scenario) in scenarios.iter().enumerate() {
        let next = &scenarios[(number + 1) % scenarios.len()];
        let worlds = [scenario.resources.clone(), next.resources.clone()];
        for node in [None, Some("node-a")] {
            let seed = number as u64;
            journey(&worlds, node, seed)
                .unwrap_or_else(|error| panic!("{}: {error}", scenario.file.display()));
        }
    }
}
