//! From a change to the kernel, at 10,000 endpoints and 1,000 policies: one member of a set beside the
//! bare messages for it, a new pod until its first packet, a look at a table that nobody has changed,
//! and the memory all that takes. Needs root and nft.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod node;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use node::{Dataplane, NODE, connect, interface, pod, policy, probed, quantile, resources, router};
use serde_json::{Value, json};
use tortie_calc::{Key, Member, SetId, SetKind, Update};
use tortie_nft::program::Programmer;
use tortie_nft::render::{Options, Renderer};
use tortie_nft::{Delta, Netlink};
use tortie_testkit::bare::Bare;
use tortie_testkit::network::{Namespace, may_run};
use tortie_testkit::scale;

/// Endpoints of the cluster.
const PODS: usize = 10_000;
/// Policies of the cluster.
const POLICIES: usize = 1_000;
/// Members that come and go.
const MEMBERS: u32 = 2_000;
/// Pods that come and go, of each kind.
const NEW: usize = 300;
/// What asks a process for its memory.
const MEMORY: &str = "TORTIE_BENCH_MEMORY";
/// Nodes in one process, the same all. The first one finds room that the calculation has left behind,
/// and others what the one before has; on average these add what stays.
const COPIES: usize = 5;
/// What must happen has long to do so.
const PATIENCE: Duration = Duration::from_secs(5);

const SENDER: &str = "10.200.0.1";
const NEWCOMER: &str = "10.200.0.2";

fn main() {
    if !may_run() {
        return;
    }
    if let Ok(asked) = std::env::var(MEMORY) {
        let (local, policies) = asked.split_once(' ').unwrap();
        return memory(local.parse().unwrap(), policies.parse().unwrap());
    }
    let router = router();
    let mut documents = scale::documents(PODS, POLICIES);
    documents.extend([probed(), pod("sender", "sender", SENDER)]);
    documents.extend((0..NEW).map(|n| at(&format!("new-{n}"))));
    documents.push(at("known"));
    let begin = Instant::now();
    let (mut dataplane, updates) = Dataplane::new(&router, documents);
    let ruleset = dataplane.renderer.ruleset();
    println!(
        "{PODS} endpoints, {POLICIES} policies: {} chains, {} sets in force after {:?}",
        ruleset.chains.len(),
        ruleset.sets.len(),
        begin.elapsed()
    );
    unchanged(&mut dataplane);
    members(&router, &mut dataplane, &updates);
    newcomers(&router, &mut dataplane);
    for (local, policies) in [(PODS / 10, POLICIES), (PODS, 10), (PODS, POLICIES)] {
        let this = std::env::current_exe().unwrap();
        let status = Command::new(this).env(MEMORY, format!("{local} {policies}")).status();
        assert!(status.unwrap().success());
    }
}

fn report(what: &str, times: &mut [Duration]) -> Duration {
    let [median, high, most] = [0.5, 0.99, 1.0].map(|share| quantile(times, share));
    println!("{what}: median {median:?}, p99 {high:?}, most {most:?}");
    median
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

// === a table that nobody has changed ===

fn unchanged(dataplane: &mut Dataplane) {
    let resync = |_| {
        time(|| {
            let report = dataplane.programmer.resync(dataplane.renderer.ruleset()).unwrap();
            assert!(!report.read && !report.changed());
        })
    };
    report("a look at an unchanged table", &mut (0..1_000).map(resync).collect::<Vec<_>>());
}

// === one member ===

/// Adds one member and removes it, from the update on and by bare messages, in turns.
fn members(router: &Namespace, dataplane: &mut Dataplane, updates: &[Update]) {
    let (id, size) = biggest(updates);
    let mut text = String::from("table inet floor { set s {\n type ipv4_addr\n elements = {");
    (0..size).for_each(|n| write!(text, "{},", address(n)).unwrap());
    router.run("nft", &["-f", "-"], &format!("{text} }}\n }}\n }}")).unwrap();
    let bare = router.within(|| Ok(Bare::new("floor", "s")?)).unwrap();
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for n in size..size + MEMBERS {
        let member = vec![Member::address(IpAddr::V4(address(n)))];
        let change = |added, removed| [Update::IpSetDelta { id: id.clone(), added, removed }];
        let (join, leave) = (change(member.clone(), vec![]), change(vec![], member));
        ours.push(time(|| drop(dataplane.enforce(&join))));
        dataplane.enforce(&leave);
        let [add, remove] = [true, false].map(|joins| bare.member(address(n), false, joins));
        floor.push(time(|| bare.send(&add).unwrap()));
        bare.send(&remove).unwrap();
    }
    let what = format!("one member more of {size}");
    let ours = report(&what, &mut ours);
    let floor = report(&format!("{what}, the bare messages"), &mut floor);
    println!("{what}: ratio {:.2}", ours.as_secs_f64() / floor.as_secs_f64());
}

/// Addresses that no pod has.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + n)
}

/// The set of most members, and how many they are.
fn biggest(updates: &[Update]) -> (SetId, u32) {
    let sets = updates.iter().filter_map(|update| match update {
        Update::IpSet { id, kind: SetKind::Net, members } => Some((members.len(), id)),
        _ => None,
    });
    let (size, id) = sets.max_by_key(|(size, _)| *size).unwrap();
    (id.clone(), u32::try_from(size).unwrap())
}

// === a new pod ===

/// A policy that lets the sender reach pods of one application.
fn at(app: &str) -> Value {
    let ingress = json!([{"action": "Allow", "protocol": "UDP",
        "source": {"selector": "app == 'sender'"}, "destination": {"ports": [7]}}]);
    policy(
        app,
        json!({"selector": format!("app == '{app}'"), "types": ["Ingress"], "ingress": ingress}),
    )
}

/// Pods come to an interface that is there already. What policies select them has been told, but is
/// in force only where another pod has them, too.
fn newcomers(router: &Namespace, dataplane: &mut Dataplane) {
    let sender = connect(router, &interface("sender"), SENDER);
    let newcomer = connect(router, &interface("newcomer"), NEWCOMER);
    let sender = sender.within(|| Ok(UdpSocket::bind((SENDER, 0))?)).unwrap();
    let newcomer = newcomer.within(|| Ok(UdpSocket::bind((NEWCOMER, 7))?)).unwrap();
    newcomer.set_read_timeout(Some(PATIENCE)).unwrap();
    sender.connect((NEWCOMER, 7)).unwrap();
    put(dataplane, &pod("neighbour", "known", "10.200.0.3"));
    let (mut known, mut fresh) = (Vec::new(), Vec::new());
    for n in 0..NEW {
        known.push(arrival(dataplane, "known", &sender, &newcomer));
        fresh.push(arrival(dataplane, &format!("new-{n}"), &sender, &newcomer));
    }
    report("a new pod with policies that others have, until its first packet", &mut known);
    report("a new pod with a policy nobody had, until its first packet", &mut fresh);
}

fn put(dataplane: &mut Dataplane, document: &Value) {
    for resource in resources(document.clone()) {
        dataplane.calculation.apply(&Key::of(&resource), Some(&resource));
    }
    dataplane.flush();
}

/// From when a pod is told of until a packet has come to it; then it goes again.
fn arrival(
    dataplane: &mut Dataplane,
    app: &str,
    sender: &UdpSocket,
    newcomer: &UdpSocket,
) -> Duration {
    let pods = resources(pod("newcomer", app, NEWCOMER));
    let key = Key::of(&pods[0]);
    sender.send(b"early").unwrap();
    let mut buffer = [0; 16];
    let took = time(|| {
        dataplane.calculation.apply(&key, Some(&pods[0]));
        dataplane.flush();
        sender.send(b"allowed").unwrap();
        let count = newcomer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"allowed");
    });
    dataplane.calculation.apply(&key, None);
    dataplane.flush();
    took
}

// === memory ===

/// What a node takes beyond its calculation, of which all workloads are or a tenth. In a process of
/// its own.
fn memory(local: usize, policies: usize) {
    let mut documents = scale::documents(PODS, policies);
    if local == PODS {
        let nodes = documents.iter_mut().filter_map(|d| d.pointer_mut("/spec/nodeName"));
        nodes.for_each(|node| *node = NODE.into());
    }
    let mut calculation = node::calculation(documents);
    let mut updates = Vec::new();
    calculation.flush(&mut updates);
    let mut nodes = Vec::new();
    let more: Vec<i64> = (0..COPIES).map(|_| grown_by(|| nodes.push(node_of(&updates)))).collect();
    let ruleset = nodes[0].0.ruleset();
    let rules: usize = ruleset.chains.values().map(|chain| chain.rules.len()).sum();
    let elements: usize = ruleset.sets.values().map(|set| set.elements.len()).sum();
    let first = more[0] as f64;
    let others = more.iter().skip(1).sum::<i64>() as f64 / (COPIES - 1) as f64;
    println!(
        "{PODS} endpoints, {local} of them of the node, {policies} policies ({} chains, {rules} \
         rules, {elements} elements): KiB more for each copy {more:?}; for each endpoint {:.2} KiB \
         for the first, {:.2} for further ones",
        ruleset.chains.len(),
        first / PODS as f64,
        others / PODS as f64,
    );
}

/// What keeps a kernel's table, of which all is in force.
fn node_of(updates: &[Update]) -> (Renderer, Programmer<Netlink>) {
    let (mut renderer, mut delta) = (Renderer::new(Options::default()), Delta::default());
    renderer.update(updates, &mut delta);
    let mut programmer = Programmer::new(router().within(|| Ok(Netlink::new()?)).unwrap());
    programmer.update(renderer.ruleset(), delta).unwrap();
    (renderer, programmer)
}

/// By how many KiB this process grows.
fn grown_by(work: impl FnOnce()) -> i64 {
    let before = resident();
    work();
    resident() - before
}

/// Resident memory of this process in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
