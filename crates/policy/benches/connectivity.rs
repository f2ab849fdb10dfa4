//! `connectivity` with the reference evaluator: 200 pods, 200 policies and 3 ports, every pair.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tortie_policy::{Cluster, Matrix, PortSpec};
use tortie_testkit::{scale, world};

/// Every cell; how many of them are allowed.
fn connectivity(cluster: &Cluster, ports: &[PortSpec]) -> usize {
    let matrix = Matrix::new(cluster);
    let rows = ports.iter().flat_map(|port| (0..matrix.len()).map(|from| matrix.row(from, *port)));
    rows.map(|row| row.iter().filter(|cell| cell.allowed).count()).sum()
}

#[expect(clippy::expect_used, reason = "a benchmark without its cluster cannot go on")]
fn reference(criterion: &mut Criterion) {
    let cluster = world::build(scale::documents(200, 200)).expect("a valid cluster");
    let ports = ["tcp/80", "tcp/443", "udp/53"].map(|p| p.parse().expect("a port"));
    let cells = ports.len() * 200 * 200;
    println!("{} of {cells} pairs are allowed", connectivity(&cluster, &ports));
    let mut group = criterion.benchmark_group("connectivity");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("200 pods, 200 policies, 3 ports", |b| {
        b.iter(|| black_box(connectivity(&cluster, &ports)));
    });
    group.finish();
}

criterion_group!(benches, reference);
criterion_main!(benches);
