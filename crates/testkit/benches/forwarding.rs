//! Connections per second through a node: behind connection tracking and one rule, and behind our
//! ruleset at several sizes, each in namespaces of its own, in turns. Needs root and nft.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod node;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use node::{Dataplane, connect, interface, pod, policy, probed, router, told};
use serde_json::{Value, json};
use tortie_testkit::network::{Namespace, may_run};
use tortie_testkit::scale;

/// Connections at the same time.
const IN_FLIGHT: usize = 16;
/// Turns of each ruleset; `TORTIE_BENCH_ROUNDS` asks for another number.
const ROUNDS: usize = 41;
/// How long a turn is: short, so that what else goes on touches neighbours alike.
const TURN: Duration = Duration::from_millis(150);
/// Pods of the cluster, a tenth of them on the node.
const PODS: usize = 2_000;
/// Policies that all select the server, in the case made to hurt.
const ALL_AT_ONE: usize = 1_000;

const CLIENT: &str = "10.200.0.1";
const SERVER: &str = "10.200.0.2";
const PORT: u16 = 8080;

/// What is measured: a client, a server, and a ruleset in between.
struct Path {
    name: String,
    client: Namespace,
    _router: Namespace,
    _dataplane: Option<Dataplane>,
}

/// What one turn came to.
#[derive(Clone, Copy)]
struct Turn {
    /// Connections per second.
    rate: f64,
    /// CPU time of client, server and kernel for each connection, in microseconds.
    cpu: f64,
}

fn main() {
    if !may_run() {
        return;
    }
    let mut paths =
        vec![path("conntrack and one rule", one_rule), path("the same again", one_rule)];
    for policies in [10, 1_000, 10_000] {
        paths.push(path(&format!("{policies} policies"), |router| {
            Some(ours(router, scale::documents(PODS, policies), few()))
        }));
    }
    paths.push(path("1,000 policies, all for the server", |router| {
        Some(ours(router, scale::documents(PODS, 10), all_at_one()))
    }));
    let turns = measure(&paths);
    for (path, own) in paths.iter().zip(&turns) {
        report(&path.name, own, &turns[0]);
    }
}

// === rulesets ===

fn path(name: &str, enforce: impl FnOnce(&Namespace) -> Option<Dataplane>) -> Path {
    let begin = Instant::now();
    let router = router();
    let client = connect(&router, &interface("client"), CLIENT);
    let server = connect(&router, &interface("server"), SERVER);
    let dataplane = enforce(&router);
    // Ports come round sooner than they would be free again.
    client.set(&[("ipv4/tcp_max_tw_buckets", "1000")]).unwrap();
    client.set(&[("ipv4/ip_local_port_range", "1024 65000")]).unwrap();
    router.set(&[("netfilter/nf_conntrack_tcp_timeout_time_wait", "1")]).unwrap();
    serve(&server);
    println!("{name}: ready after {:?}", begin.elapsed());
    Path { name: name.to_owned(), client, _router: router, _dataplane: dataplane }
}

fn one_rule(router: &Namespace) -> Option<Dataplane> {
    let text = format!(
        "table inet one {{
           chain forward {{
             type filter hook forward priority 0; policy drop;
             ct state established,related accept
             iifname {} accept
           }}
         }}\n",
        interface("client")
    );
    router.run("nft", &["-f", "-"], &text).unwrap();
    None
}

fn ours(router: &Namespace, mut documents: Vec<Value>, policies: Vec<Value>) -> Dataplane {
    documents.push(probed());
    documents.push(pod("client", "client", CLIENT));
    documents.push(pod("server", "server", SERVER));
    documents.extend(policies);
    Dataplane::new(router, documents).0
}

/// Three policies: two for the server, one for the client.
fn few() -> Vec<Value> {
    let storage = json!([{"action": "Deny", "source": {"selector": "layer == 'storage'"}}]);
    let clients = json!([{"action": "Allow", "protocol": "TCP",
        "source": {"selector": "app == 'client'"}, "destination": {"ports": [80, 8080]}}]);
    let servers = json!([{"action": "Allow", "protocol": "TCP",
        "destination": {"selector": "app == 'server'"}}]);
    vec![
        policy(
            "a",
            json!({"selector": "app == 'server'", "types": ["Ingress"], "ingress": storage}),
        ),
        policy(
            "b",
            json!({"selector": "app == 'server'", "types": ["Ingress"], "ingress": clients}),
        ),
        policy("c", json!({"selector": "app == 'client'", "types": ["Egress"], "egress": servers})),
    ]
}

/// As many for the server that do not match before the one that does.
fn all_at_one() -> Vec<Value> {
    let never = |n: usize| {
        let ingress = json!([{"action": "Allow", "protocol": "TCP",
            "source": {"selector": format!("app == 'other-{n}'")}, "destination": {"ports": [8080]}}]);
        policy(
            &format!("a-{n}"),
            json!({"selector": "app == 'server'", "types": ["Ingress"], "ingress": ingress}),
        )
    };
    let few = few().into_iter().skip(1);
    (0..ALL_AT_ONE - 1).map(never).chain(few).collect()
}

// === load ===

/// Answers every connection with the byte it sends. The threads end with the program.
fn serve(server: &Namespace) {
    let listener = server.within(|| Ok(TcpListener::bind((SERVER, PORT))?)).unwrap();
    for _ in 0..IN_FLIGHT {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).is_ok_and(|count| count > 0) {
                    // Who is gone misses nothing.
                    let _ = stream.write_all(&byte);
                }
            }
        });
    }
}

fn measure(paths: &[Path]) -> Vec<Vec<Turn>> {
    let rounds = std::env::var("TORTIE_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut turns = vec![Vec::new(); paths.len()];
    paths.iter().for_each(|path| {
        turn(path);
    });
    for round in 0..rounds.unwrap_or(ROUNDS) {
        for n in 0..paths.len() {
            let at = (n + round) % paths.len();
            turns[at].push(turn(&paths[at]));
        }
    }
    turns
}

fn turn(path: &Path) -> Turn {
    let (begin, used) = (Instant::now(), cpu());
    let count = path.client.within(|| {
        let clients = || {
            thread::scope(|scope| {
                let clients: Vec<_> =
                    (0..IN_FLIGHT).map(|_| scope.spawn(|| client(begin))).collect();
                clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>()
            })
        };
        Ok(clients())
    });
    let count = f64::from(count.unwrap());
    let rate = count / begin.elapsed().as_secs_f64();
    Turn { rate, cpu: (cpu() - used).as_secs_f64() * 1e6 / count }
}

/// Connects until a turn is over; how often.
fn client(begin: Instant) -> u32 {
    let (mut count, mut byte) = (0, [1]);
    let server = SocketAddr::new(SERVER.parse().unwrap(), PORT);
    while begin.elapsed() < TURN {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
        count += 1;
    }
    count
}

/// CPU time of all threads so far, those that have ended included.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may have spaces in it. A tick is a hundredth of a second.
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn report(name: &str, own: &[Turn], base: &[Turn]) {
    let ratios = |of: fn(&Turn) -> f64| {
        told(own.iter().zip(base).map(|(own, base)| of(own) / of(base)).collect())
    };
    let mut rates: Vec<f64> = own.iter().map(|turn| turn.rate).collect();
    rates.sort_by(f64::total_cmp);
    let mut cpu: Vec<f64> = own.iter().map(|turn| turn.cpu).collect();
    cpu.sort_by(f64::total_cmp);
    println!(
        "{name}: {:.0} connections/s, ratio {}; CPU {:.1} us each, ratio {}",
        rates[rates.len() / 2],
        ratios(|turn| turn.rate),
        cpu[cpu.len() / 2],
        ratios(|turn| turn.cpu),
    );
}
