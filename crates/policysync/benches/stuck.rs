//! How long a change takes to reach 200 sidecars: by themselves, beside one more that never reads, and
//! beside one more that does, in turns. Prints times in milliseconds, from the update to each sidecar's
//! message, as medians of the turns, and ratios to the turn without it. One more sidecar has a set of
//! half a million members to be told, which changes with that of the others, and joins as a turn begins.
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
use tortie_policysync::server::layout;
use tortie_proto::felix::ToDataplane;
use tortie_proto::felix::to_dataplane::Payload;

const SIDECARS: usize = 200;
/// Turns of each kind.
const TURNS: usize = 7;
/// Changes in a turn.
const CHANGES: u32 = 1000;
/// Members of the set that the one more is told.
const LARGE: u32 = 500_000;

/// Reports when each change arrives.
async fn sidecar(mut stream: Streaming<Bytes>, arrived: mpsc::UnboundedSender<Instant>) {
    while let Ok(Some(message)) = stream.message().await {
        let now = Instant::now();
        let message = ToDataplane::decode(message).unwrap();
        if matches!(message.payload, Some(Payload::IpsetDeltaUpdate(_) | Payload::InSync(_))) {
            let _ = arrived.send(now); // nobody asks how the one more is
        }
    }
}

/// Who is there besides the 200.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Nobody,
    NonReader,
    Reader,
}

impl Beside {
    const ALL: [Beside; 3] = [Beside::Nobody, Beside::NonReader, Beside::Reader];

    fn name(self) -> &'static str {
        match self {
            Beside::Nobody => "200 sidecars",
            Beside::NonReader => "and one that does not read",
            Beside::Reader => "and one that reads",
        }
    }
}

/// One turn: times within which so many of all arrivals were there, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Turn {
    p50: f64,
    p99: f64,
    p999: f64,
}

impl Turn {
    fn of(mut times: Vec<Duration>) -> Turn {
        times.sort();
        let at = |share: usize| times.get(times.len() * share / 1000).unwrap().as_secs_f64() * 1e3;
        Turn { p50: at(500), p99: at(990), p999: at(999) }
    }
}

/// Memory of this process, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
            endpoint("more", &["large"], &[]),
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
        agent.socket("more").await;
        Bench { agent, arrivals, next: 0 }
    }

    /// Waits until so many sidecars are there.
    async fn sidecars(&self, count: usize) {
        common::eventually("sidecars", || self.agent.server.numbers().sidecars == count).await;
    }

    async fn turn(&mut self, beside: Beside) -> Turn {
        self.sidecars(SIDECARS).await;
        if let Beside::Nobody = beside {
            return self.measure().await;
        }
        let stream = join(&layout::socket_path(self.agent.folder.path(), "more")).await;
        self.sidecars(SIDECARS + 1).await;
        if let Beside::NonReader = beside {
            let turn = self.measure().await;
            drop(stream);
            return turn;
        }
        let reader = tokio::spawn(sidecar(stream, mpsc::unbounded_channel().0));
        let turn = self.measure().await;
        reader.abort();
        turn
    }

    /// How long changes take to arrive at the 200.
    async fn measure(&mut self) -> Turn {
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
        Turn::of(times)
    }
}

fn show(beside: Beside, turns: &[Turn], alone: &[Turn]) {
    let of = |what: fn(&Turn) -> f64| {
        let ratio =
            median(turns.iter().zip(alone).map(|(with, without)| what(with) / what(without)));
        format!("{:6.2} ({ratio:4.2})", median(turns.iter().map(what)))
    };
    let (p50, p99, p999) = (of(|turn| turn.p50), of(|turn| turn.p99), of(|turn| turn.p999));
    println!("{:<28} p50 {p50}  p99 {p99}  p99.9 {p999}", beside.name());
}

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let mut bench = Bench::new().await;
    bench.measure().await; // warms up
    let alone = memory();
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        for (turns, beside) in turns.iter_mut().zip(Beside::ALL) {
            turns.push(bench.turn(beside).await);
        }
    }
    for (of_it, beside) in turns.iter().zip(Beside::ALL) {
        show(beside, of_it, &turns[0]);
    }
    let before = memory();
    let _stream = join(&layout::socket_path(bench.agent.folder.path(), "more")).await;
    bench.sidecars(SIDECARS + 1).await;
    bench.measure().await;
    let with = memory();
    for _ in 0..4 {
        bench.measure().await;
    }
    let (changes, later) = (4 * CHANGES, memory());
    println!("MiB: {alone} at first, {before} before one that does not read, {with} with it");
    println!("and {later} after {changes} more changes");
}
