//! One change to a big cluster: from `apply` to the updates it leads to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "benchmark"
)]

mod cluster;

use std::time::{Duration, Instant};

use cluster::{NODE, kubernetes_policy, namespace, of_app, pod};
use tortie_calc::{Calculation, Key};
use tortie_model::Resource;

const NAMESPACES: usize = 1_000;
const PODS: usize = 100_000;
const POLICIES: usize = 10_000;
/// Pods of the namespace that is given other labels.
const BIG: usize = 1_000;

/// Every hundredth pod is local, and another thousand live in a namespace of their own.
fn cluster() -> Calculation {
    let mut calculation = Calculation::new(Some(NODE.into()));
    let mut apply = |resource: &Resource| calculation.apply(&Key::of(resource), Some(resource));
    (0..=NAMESPACES).for_each(|n| apply(&space(n, n)));
    (0..POLICIES).for_each(|n| apply(&kubernetes_policy(n, NAMESPACES)));
    (0..PODS).for_each(|n| apply(&labelled(n, n / NAMESPACES)));
    (PODS..PODS + BIG).for_each(|n| apply(&pod(n, NAMESPACES, false, &of_app(n))));
    calculation.in_sync();
    calculation.flush(&mut Vec::new());
    calculation
}

fn space(n: usize, team: usize) -> Resource {
    namespace(n, &[("team", format!("team-{}", team % 50))])
}

fn labelled(n: usize, app: usize) -> Resource {
    pod(n, n % NAMESPACES, n.is_multiple_of(100), &of_app(app))
}

/// Applies and flushes; how long that took, and how much came of it.
fn change(calculation: &mut Calculation, resource: &Resource) -> (Duration, usize) {
    let (key, mut updates) = (Key::of(resource), Vec::new());
    let start = Instant::now();
    calculation.apply(&key, Some(resource));
    calculation.flush(&mut updates);
    (start.elapsed(), updates.len())
}

fn report(what: &str, mut times: Vec<(Duration, usize)>) {
    let told = times.iter().filter(|(_, updates)| *updates > 0).count();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].0;
    println!(
        "{what}: {} changes, {told} of them told; median {:?}, p99 {:?}, most {:?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn main() {
    let mut calculation = cluster();
    let mut relabel = |what, step: usize, first: usize| {
        let changes = (0..2_000).map(|i| labelled((first + i * step) % PODS, i + 1));
        let times = changes.map(|resource| change(&mut calculation, &resource)).collect();
        report(what, times);
    };
    relabel("label of a pod elsewhere", 37, 1);
    relabel("label of a pod of the node", 100, 0);
    let times = (0..100).map(|n| change(&mut calculation, &space(NAMESPACES, n))).collect();
    report("label of a namespace with 1,000 pods", times);
    let times = (0..100).map(|n| change(&mut calculation, &space(n * 10, n))).collect();
    report("label of a namespace with pods of the node", times);
}
