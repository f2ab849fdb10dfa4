//! How long a change takes to reach 200 sidecars, before and while another one does not read, and
//! what that one costs. Prints times in milliseconds, from the update to each sidecar's message.
//!
//! `cargo bench -p tortie-policysync --bench stuck`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::script::join;
use common::{Agent, endpoint, from_set, net, nets, policy, set, set_id};
use prost::Message;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Streaming;
use tortie_calc::Update;
use tortie_proto::felix::ToDataplane;
use tortie_proto::felix::to_dataplane::Payload;

const SIDECARS: usize = 200;
const CHANGES: u32 = 200;
/// Members of the set that fills the way to the one that does not read.
const LARGE: u32 = 500_000;

/// Reports when each change arrives.
async fn sidecar(mut stream: Streaming<Bytes>, arrived: mpsc::UnboundedSender<Instant>) {
    while let Ok(Some(message)) = stream.message().await {
        let now = Instant::now();
        let message = ToDataplane::decode(message).unwrap();
        if matches!(message.payload, Some(Payload::IpsetDeltaUpdate(_) | Payload::InSync(_))) {
            arrived.send(now).unwrap();
        }
    }
}

struct Bench {
    agent: Agent,
    arrivals: mpsc::UnboundedReceiver<Instant>,
    next: u32,
}

impl Bench {
    async fn new() -> Bench {
        let agent = Agent::new();
        agent.server.update([
            set("s:1", nets(0..1000)),
            set("s:large", nets(0..LARGE)),
            policy("p", vec![from_set("s:1")]),
            policy("large", vec![from_set("s:large")]),
            endpoint("stuck", &["large"], &[]),
        ]);
        agent.server.update((0..SIDECARS).map(|n| endpoint(&format!("n{n}"), &["p"], &[])));
        agent.server.update([Update::InSync]);
        let (sender, mut arrivals) = mpsc::unbounded_channel();
        for n in 0..SIDECARS {
            let stream = join(&agent.socket(&format!("n{n}")).await).await;
            tokio::spawn(sidecar(stream, sender.clone()));
        }
        for _ in 0..SIDECARS {
            arrivals.recv().await.unwrap();
        }
        Bench { agent, arrivals, next: 0 }
    }

    /// The times of all changes at all sidecars.
    async fn measure(&mut self) -> Vec<Duration> {
        let mut times = Vec::new();
        for _ in 0..CHANGES {
            self.next += 1;
            let change = |id: &str, from: u32| Update::IpSetDelta {
                id: set_id(id),
                added: vec![net(from + self.next)],
                removed: vec![net(from + self.next - 1)],
            };
            let start = Instant::now();
            self.agent.server.update([change("s:1", 5000), change("s:large", LARGE)]);
            for _ in 0..SIDECARS {
                times.push(self.arrivals.recv().await.unwrap() - start);
            }
        }
        times.sort();
        times
    }
}

fn show(what: &str, times: &[Duration]) {
    let at = |share: usize| times.get(times.len() * share / 1000).unwrap().as_secs_f64() * 1e3;
    println!("{what:<32} p50 {:7.3}  p99 {:7.3}  p99.9 {:7.3}", at(500), at(990), at(999));
}

/// Memory of this process, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let mut bench = Bench::new().await;
    bench.measure().await; // warms up
    show("200 sidecars", &bench.measure().await);
    let before = memory();
    let socket = bench.agent.socket("stuck").await;
    let _stuck = join(&socket).await;
    common::eventually("it joins", || bench.agent.server.numbers().sidecars == SIDECARS + 1).await;
    show("and one that does not read", &bench.measure().await);
    let with = memory();
    for _ in 0..4 {
        bench.measure().await;
    }
    println!(
        "memory: {before} MiB without it, {with} MiB with it, {} MiB 800 changes later",
        memory()
    );
}
