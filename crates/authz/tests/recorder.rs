//! Under changes of policy, every verdict is that of a policy in force at the time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use common::judge;
use common::recorder::{Change, Checked, Clock, cluster, expected, flows, variants, violations};
use tortie_authz::guarded::Mode;
use tortie_authz::service::{Authorizer, Setup};
use tortie_authz::snapshot::{Snapshot, View};

/// Checks of one run, unless the environment says otherwise.
const CHECKS: usize = 100_000;
/// Threads that check.
const CHECKERS: usize = 3;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_verdict_is_that_of_a_policy_in_force() {
    let checks = number("TORTIE_RECORDER_CHECKS", CHECKS);
    let seed = number("TORTIE_RECORDER_SEED", 7);
    let clusters: Vec<_> = variants(seed as u64, 40).iter().map(|v| cluster(v)).collect();
    let states: Vec<_> = clusters.iter().map(|c| tortie_calc::batch(c, None)).collect();
    let flows = flows();
    let expected = expected(&clusters, &flows);

    let view = View::new(Mode::Workload(Some("default/database".parse().unwrap())));
    let first = Snapshot::nothing(&view).next(&states[0], &view, None);
    let snapshot = Arc::new(ArcSwap::from_pointee(first));
    let authorizer = Authorizer::new(Arc::clone(&snapshot), Setup::default());
    let (clock, done) = (Clock::default(), AtomicBool::new(false));

    // In force before anybody checks.
    let first = Change { variant: 0, begun: clock.tick(), done: clock.tick() };
    let change = || {
        let mut changes = vec![first];
        while !done.load(Ordering::Relaxed) {
            let variant = changes.len() * 7 % states.len();
            let next = snapshot.load().next(&states[variant], &view, None);
            let begun = clock.tick();
            snapshot.store(Arc::new(next));
            changes.push(Change { variant, begun, done: clock.tick() });
        }
        changes
    };
    let check = |number: usize| {
        let record = |turn: usize| {
            let flow = (turn * CHECKERS + number) % flows.len();
            let begun = clock.tick();
            let answer = judge(&authorizer, &flows[flow].check);
            let allowed = answer.status.unwrap().code == 0;
            Checked { flow, allowed, begun, done: clock.tick() }
        };
        (0..checks / CHECKERS + 1).map(record).collect::<Vec<_>>()
    };
    let (changes, records) = std::thread::scope(|scope| {
        let changes = scope.spawn(change);
        let check = &check;
        let checkers: Vec<_> = (0..CHECKERS).map(|n| scope.spawn(move || check(n))).collect();
        let records: Vec<_> = checkers.into_iter().flat_map(|c| c.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        (changes.join().unwrap(), records)
    });

    let wrong = violations(&changes, &records, &expected);
    println!("seed {seed}: {} checks, {} changes", records.len(), changes.len());
    assert_eq!(
        wrong.len(),
        0,
        "seed {seed}: {:?} of {}",
        &wrong[..wrong.len().min(3)],
        wrong.len()
    );
    let allowed = records.iter().filter(|record| record.allowed).count();
    assert!(records.len() >= checks && changes.len() > 20, "{} changes", changes.len());
    assert!(allowed > checks / 50 && allowed < checks - checks / 50, "{allowed} allowed");
}

#[test]
fn the_recorder_finds_what_is_wrong() {
    let expected = vec![vec![true], vec![false], vec![true]];
    let change = |variant, begun| Change { variant, begun, done: begun + 1 };
    let changes = [change(0, 0), change(1, 10), change(2, 20)];
    for (begun, done, allowed, right) in [
        (2, 5, true, true),
        (2, 5, false, false),
        (2, 12, false, true),
        (12, 15, true, false),
        (11, 15, true, true),
        (12, 21, true, true),
        (30, 31, false, false),
    ] {
        let check = Checked { flow: 0, allowed, begun, done };
        let wrong = violations(&changes, &[check], &expected);
        assert_eq!(wrong.is_empty(), right, "{check:?}");
    }
}
