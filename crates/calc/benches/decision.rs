//! Decisions of the compiled engine: at the shape of a production cluster, over the number of rules,
//! and for every pair of a thousand pods; what compiling costs in time and memory.

mod shape;

use std::fs;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use shape::{PRODUCTION, SENDER, Shape, endpoint, sender};
use tortie_calc::compiled::{Snapshot, Traffic};
use tortie_calc::{Member, SetId, State, Update, batch};
use tortie_policy::{Address, Direction, HttpAtNetwork, HttpRequest, Matrix, PortSpec, Protocol};
use tortie_testkit::{scale, world};

/// A request with a certificate, of a path.
fn request(path: &str) -> Traffic<'_> {
    let destination = Address::new(Ipv4Addr::new(10, 65, 0, 3).into(), 2379);
    let http = HttpRequest::new("GET", path);
    let source = (Address::new(sender(), 40_000), SENDER);
    Traffic::sidecar(source, (destination, ""), Protocol::TCP, Some(http))
}

/// The same without a certificate or a request, as the network sees it.
fn connection() -> Traffic<'static> {
    let destination = Address::new(Ipv4Addr::new(10, 65, 0, 3).into(), 2379);
    let source = Address::new(sender(), 40_000);
    Traffic::network(source, destination, Protocol::TCP, None, HttpAtNetwork::Unenforced)
}

fn decide(snapshot: &Snapshot, traffic: &Traffic<'_>) -> bool {
    let decision = snapshot.decide(&endpoint(), Direction::Ingress, traffic);
    decision.is_some_and(|decision| decision.allowed())
}

fn production(criterion: &mut Criterion) {
    let before = resident();
    let state = PRODUCTION.state();
    let with_state = resident();
    let started = Instant::now();
    let snapshot = Snapshot::new(&state);
    let compiling = started.elapsed();
    println!("compiled {:?} in {compiling:.0?}", snapshot.size());
    println!(
        "resident: {} KiB before, {} KiB more with the state, {} KiB more with the snapshot",
        before,
        with_state - before,
        resident() - with_state
    );
    assert!(decide(&snapshot, &request("/early")) && !decide(&snapshot, &request("/none")));
    let mut group = criterion.benchmark_group("decision/19,992 rules, 3,708 sets");
    for (name, traffic) in [
        ("request, no match", request("/none")),
        ("request, early match", request("/early")),
        ("connection, no match", connection()),
    ] {
        group.bench_function(name, |b| b.iter(|| decide(&snapshot, black_box(&traffic))));
        println!("best of {name}: {:.0} ns", best(|| decide(&snapshot, black_box(&traffic))));
    }
    group.finish();
    recompile(criterion, state, &snapshot);
}

/// What it costs to follow a change.
fn recompile(criterion: &mut Criterion, mut state: State, snapshot: &Snapshot) {
    let mut group = criterion.benchmark_group("recompile/19,992 rules, 3,708 sets");
    group.sample_size(10);
    group.bench_function("nothing", |b| b.iter(|| snapshot.next(black_box(&state))));
    let mut changed = |id: &str, number: u8| {
        let member = Member::address(Ipv4Addr::new(100, 64, 0, number).into());
        let added = vec![member];
        let _ = state.apply(Update::IpSetDelta { id: SetId(id.into()), added, removed: vec![] });
        state.clone()
    };
    let small = changed("s:2000", 1);
    group
        .bench_function("a member of a small set", |b| b.iter(|| snapshot.next(black_box(&small))));
    let big = changed("s:0", 2);
    group.bench_function("a member of the biggest set", |b| {
        b.iter(|| snapshot.next(black_box(&big)))
    });
    let mut policy = state.clone();
    if let Some(active) = policy.policies.values().next().cloned() {
        let _ = policy.apply(Update::Policy(Arc::new((*active).clone())));
    }
    group.bench_function("a policy", |b| b.iter(|| snapshot.next(black_box(&policy))));
    group.bench_function("everything", |b| b.iter(|| Snapshot::new(black_box(&state))));
    group.finish();
}

/// The same flow against more and more rules of which each can be looked up.
fn growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("growth");
    let mut times = Vec::new();
    for number in [10_u32, 100, 1_000, 10_000, 100_000] {
        let rules = number as usize;
        let shape = Shape { policies: (rules / 100).max(1), rules: rules.min(100), sets: 400 };
        let snapshot = Snapshot::new(&shape.state());
        let traffic = request("/none");
        group.bench_function(format!("{rules} rules"), |b| {
            b.iter(|| decide(&snapshot, black_box(&traffic)));
        });
        times.push((number, best(|| decide(&snapshot, black_box(&traffic)))));
    }
    group.finish();
    let logs: Vec<(f64, f64)> = times.iter().map(|(n, t)| (f64::from(*n).ln(), t.ln())).collect();
    println!("nanoseconds by rules: {times:?}");
    println!("slope of log cost over log rules: {:.3}", slope(&logs));
}

/// The best of many runs, in nanoseconds.
fn best(mut run: impl FnMut() -> bool) -> f64 {
    let batch = || {
        let started = Instant::now();
        for _ in 0..1_000 {
            black_box(run());
        }
        started.elapsed()
    };
    let times = std::iter::repeat_with(batch).take(200);
    times.min().map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "few points")]
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let both: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    both / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

#[expect(clippy::expect_used, reason = "a benchmark without its cluster cannot go on")]
fn connectivity(criterion: &mut Criterion) {
    let cluster = world::build(scale::documents(1_000, 500)).expect("a valid cluster");
    let ports = ["tcp/80", "tcp/443", "udp/53"].map(|p| p.parse().expect("a port"));
    let all = |ports: &[PortSpec; 3]| {
        let snapshot = Snapshot::new(&batch(&cluster, None));
        let matrix = Matrix::by(&snapshot, &cluster);
        let rows =
            ports.iter().flat_map(|port| (0..matrix.len()).map(|from| matrix.row(from, *port)));
        rows.map(|row| row.iter().filter(|cell| cell.allowed).count()).sum::<usize>()
    };
    println!("{} of 3,000,000 pairs are allowed", all(&ports));
    let mut group = criterion.benchmark_group("connectivity");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group
        .bench_function("1,000 pods, 500 policies, 3 ports", |b| b.iter(|| all(black_box(&ports))));
    group.finish();
}

/// Resident memory of this process in KiB.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or_default()
}

criterion_group!(benches, production, growth, connectivity);
criterion_main!(benches);
