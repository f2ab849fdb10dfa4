//! Everything there is, applied to a new calculation and told at once. Each shape runs in a process
//! of its own; what is measured is time on the processor in `apply` and `flush`, and the most memory
//! the process ever had, the updates included. Making the resources is not counted: they are typed,
//! as a decoder leaves them, and each is dropped once it is applied.
#![allow(clippy::unwrap_used, clippy::panic, reason = "benchmark")]

mod cluster;

use std::process::Command;
use std::time::Duration;

use cluster::{
    NODE, isolating_policy, kubernetes_policy, namespace, network_set, network_set_policy, of_app,
    pod, tag_policy, tagged,
};
use tortie_calc::{Calculation, Key, Update};
use tortie_model::Resource;

/// Names the shape in the environment of a child.
const SHAPE: &str = "TORTIE_BENCH_SHAPE";

type Source = Box<dyn Iterator<Item = Resource>>;
/// What it is called, and what makes its resources.
type Shape = (&'static str, fn() -> Source);

fn shapes() -> Vec<Shape> {
    vec![
        ("250,000 endpoints (200 local), 10,000 policies by tag", || {
            let pods = |from: usize, to: usize, local| {
                (from..to).map(move |n| pod(n, n % 100, local, &tagged(n)))
            };
            let policies = (0..10_000).map(tag_policy);
            let namespaces = (0..100).map(|n| namespace(n, &[]));
            Box::new(
                policies
                    .chain(namespaces)
                    .chain(pods(0, 249_800, false))
                    .chain(pods(249_800, 250_000, true)),
            )
        }),
        ("10,000 endpoints (200 local), 10,000 network sets with policies", || {
            let pods = (0..10_000).map(|n| pod(n, n % 100, n >= 9_800, &tagged(n)));
            let sets = (0..10_000).flat_map(|n| [network_set(n), network_set_policy(n)]);
            Box::new(pods.chain(sets))
        }),
        ("100,000 isolated namespaces, 200 local endpoints", || {
            let namespaces = (0..100_000).flat_map(|n| {
                let labels = [("customer", format!("customer-{n}"))];
                [namespace(n, &labels), isolating_policy(n)]
            });
            Box::new(namespaces.chain((0..200).map(|n| pod(n, n * 500, true, &tagged(n)))))
        }),
        ("14,000 Kubernetes policies in 1,400 namespaces, 28,000 endpoints (200 local)", || {
            let namespaces =
                (0..1_400).map(|n| namespace(n, &[("team", format!("team-{}", n % 50))]));
            let policies = (0..14_000).map(|n| kubernetes_policy(n, 1_400));
            let pods = (0..28_000).map(|n| pod(n, n % 1_400, n % 140 == 0, &of_app(n / 1_400)));
            Box::new(namespaces.chain(policies).chain(pods))
        }),
    ]
}

/// Time this thread has spent on a processor.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn peak_memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

fn run(source: Source) {
    let mut calculation = Calculation::new(Some(NODE.into()));
    let mut source = source.peekable();
    let mut applying = Duration::ZERO;
    let mut resources = 0;
    while source.peek().is_some() {
        let batch: Vec<Resource> = source.by_ref().take(500).collect();
        resources += batch.len();
        let start = on_processor();
        for resource in &batch {
            calculation.apply(&Key::of(resource), Some(resource));
        }
        applying += on_processor() - start;
    }
    assert_eq!(calculation.invalid().count(), 0);
    let mut updates = Vec::new();
    let before = peak_memory();
    let start = on_processor();
    calculation.in_sync();
    calculation.flush(&mut updates);
    let flushing = on_processor() - start;
    println!(
        "  {:.2} s = apply {:.2} s ({resources} resources) + flush {:.2} s; {} MiB at most ({before} before the flush)",
        (applying + flushing).as_secs_f64(),
        applying.as_secs_f64(),
        flushing.as_secs_f64(),
        peak_memory()
    );
    println!("  {}", summary(&updates));
}

fn summary(updates: &[Update]) -> String {
    let count = |test: fn(&Update) -> bool| updates.iter().filter(|update| test(update)).count();
    let members: usize = updates
        .iter()
        .map(|update| match update {
            Update::IpSet { members, .. } => members.len(),
            _ => 0,
        })
        .sum();
    format!(
        "{} updates: {} sets with {members} members, {} policies, {} endpoints",
        updates.len(),
        count(|u| matches!(u, Update::IpSet { .. })),
        count(|u| matches!(u, Update::Policy(_))),
        count(|u| matches!(u, Update::Endpoint(_))),
    )
}

fn main() {
    let chosen = std::env::var(SHAPE).ok();
    for (name, source) in shapes() {
        match &chosen {
            Some(chosen) if chosen == name => run(source()),
            Some(_) => {}
            None => {
                println!("{name}");
                let program = std::env::current_exe().unwrap();
                let status = Command::new(program).env(SHAPE, name).status().unwrap();
                assert!(status.success(), "{status}");
            }
        }
    }
}
