//! The agent and the kernel, in network namespaces: what it programs, what of it stays, and what it
//! repairs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "../common/admin.rs"]
mod admin;
mod bridges;
mod flows;
mod net;
mod settings;
mod units;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::{Namespace, Node, can_run, until};

const CLIENT: &str = "10.65.0.2";
const OTHER: &str = "10.65.0.3";
const SERVER: &str = "10.65.0.4";
/// For connections that must come about.
const LONG: Duration = net::DEADLINE;
/// For those that must not.
const SHORT: Duration = Duration::from_millis(150);

fn pod(name: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}\n\
         spec: {{nodeName: here, containers: [{{name: c, image: i}}]}}\n\
         status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}\n---\n"
    )
}

fn pods() -> String {
    [pod("client", CLIENT), pod("other", OTHER), pod("server", SERVER)].concat()
}

/// Only some may reach the server, over some ports.
fn policy(who: &str, ports: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
         metadata: {{name: server, namespace: default}}\n\
         spec:\n  selector: app == 'server'\n  types: [Ingress]\n  ingress:\n  - action: Allow\n    \
         protocol: TCP\n    source: {{selector: \"{who}\"}}\n    destination: {{ports: [{ports}]}}\n"
    )
}

const CLIENTS: &str = "app == 'client'";

fn server() -> SocketAddr {
    format!("{SERVER}:80").parse().unwrap()
}

/// A node with a client, somebody else, and a server that the client alone may reach.
struct Bank {
    node: Node,
    client: Namespace,
    other: Namespace,
    server: Namespace,
    listener: std::net::TcpListener,
}

impl Bank {
    fn new() -> Bank {
        let node = Node::new();
        let pod = |name, address: &str| node.pod(name, address.parse().unwrap());
        let (client, other, server) =
            (pod("client", CLIENT), pod("other", OTHER), pod("server", SERVER));
        let listener = server.listen(self::server());
        node.write("pods.yaml", &pods());
        node.write("policy.yaml", &policy(CLIENTS, "80"));
        Bank { node, client, other, server, listener }
    }

    fn check(&self) {
        assert!(self.client.connects(server(), LONG), "the client is kept out");
        assert!(!self.other.connects(server(), SHORT), "somebody else is let in");
    }
}

#[test]
fn policy_holds_in_the_kernel() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    assert!(bank.other.connects(server(), LONG), "before the agent anybody is let in");
    let agent = bank.node.agent().ready();
    bank.check();
    let dropped = || {
        let answer = agent.get("/metrics").unwrap();
        let line = answer.lines().find(|line| {
            line.starts_with("tortie_network_dropped_packets_total{kind=\"Tier\"")
                && line.contains("direction=\"ingress\"")
        });
        line.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    until("the drop is counted", || dropped().filter(|packets| *packets > 0));
    assert!(agent.metric("tortie_network_chains") > 8.0);
    // A change comes into force, and what the old rules had dropped is not forgotten.
    let before = dropped().unwrap();
    bank.node.write("policy.yaml", &policy("all()", "80"));
    until("others are let in", || bank.other.connects(server(), SHORT).then_some(()));
    bank.node.write("policy.yaml", &policy(CLIENTS, "80"));
    until("others are kept out", || bank.other.is_kept_out(server()).then_some(()));
    until("more is counted", || dropped().filter(|packets| *packets > before));
    agent.end();
    bank.check();
}

#[test]
fn a_restart_leaves_no_gap_and_changes_nothing() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    bank.node.agent().ready().end();
    let before = bank.node.net.nft("-a list table inet tortie");
    bank.check();
    let counted = bank.node.net.nft("list table inet tortie");
    let agent = bank.node.agent().ready();
    let strip = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        let numbers = |i: usize| i > 0 && ["packets", "bytes"].contains(&words[i - 1]);
        let kept = words.iter().enumerate().filter(|(i, _)| !numbers(*i)).map(|(_, word)| *word);
        let mut kept: Vec<_> = kept.collect();
        kept.sort_unstable();
        kept.join(" ")
    };
    let after = bank.node.net.nft("-a list table inet tortie");
    assert_eq!(strip(&after), strip(&before), "rules keep their handles");
    assert!(agent.metric("tortie_network_batches_total") == 0.0);
    // What had been counted before is still there.
    let packets = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        let after = words.windows(2).filter(|pair| pair[0] == "packets");
        after.map(|pair| pair[1].parse::<u64>().unwrap()).sum::<u64>()
    };
    let now = bank.node.net.nft("list table inet tortie");
    assert!(packets(&counted) > 0 && packets(&now) >= packets(&counted));
    bank.check();
}

#[test]
fn whatever_others_remove_is_put_back() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let agent = bank.node.agent().ready();
    let net = &bank.node.net;
    let whole = net.table().unwrap();
    let set = |kind: &str| {
        let sets = net.nft("list sets inet");
        let mut name = "";
        for line in sets.lines() {
            name = line.trim().strip_prefix("set ").map_or(name, |l| l.trim_end_matches(" {"));
            if line.contains(kind) {
                return name.to_owned();
            }
        }
        panic!("no set of {kind} in {sets}")
    };
    let ours = set("type ipv4_addr");
    let wrongs = [
        "delete table inet tortie".to_owned(),
        "flush ruleset".to_owned(),
        "flush chain inet tortie forward-to".to_owned(),
        "insert rule inet tortie forward-to counter accept".to_owned(),
        "flush table inet tortie".to_owned(),
        format!("delete element inet tortie {ours} {{ {CLIENT} }}"),
        format!("add element inet tortie {ours} {{ {OTHER} }}"),
        format!("flush set inet tortie {ours}"),
        "add chain inet tortie theirs".to_owned(),
        "add set inet tortie theirs { type mark ; }".to_owned(),
        "add chain inet tortie first { type filter hook forward priority -5 ; }".to_owned(),
        "flush map inet tortie to-workload".to_owned(),
    ];
    for wrong in &wrongs {
        let repairs = agent.metric("tortie_network_repairs_total");
        let start = Instant::now();
        net.nft(wrong);
        until(wrong, || (net.table().as_ref() == Some(&whole)).then_some(()));
        println!("{wrong}: {:?}", start.elapsed());
        let counted = || agent.metric("tortie_network_repairs_total") > repairs;
        until("the repair is counted", || counted().then_some(()));
        bank.check();
    }
    let repairs = agent.metric("tortie_network_repairs_total");
    net.nft("add table inet theirs");
    bank.node.write("policy.yaml", &policy(CLIENTS, "80, 81"));
    until("the policy is there", || net.table().filter(|table| *table != whole));
    assert!(agent.metric("tortie_network_repairs_total") == repairs, "tables of others are theirs");
}

/// Ends what goes on beside a test.
struct End<'a>(&'a AtomicBool, &'a Bank);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        // For who waits for one more connection.
        self.1.client.connects(server(), LONG);
    }
}

#[test]
fn the_kernel_holds_the_old_or_the_new_whenever_the_agent_is_killed() {
    if !can_run() {
        return;
    }
    let kills = std::env::var("TORTIE_KILLS").map_or(30, |n| n.parse().unwrap());
    let bank = Bank::new();
    let net = &bank.node.net;
    let more = |port: u32| {
        format!("  - {{action: Allow, protocol: TCP, destination: {{ports: [{port}]}}}}\n")
    };
    let many = policy(CLIENTS, "80") + &(1000..1200).map(more).collect::<String>();
    let policies = [policy(CLIENTS, "80"), many];
    let complete = policies.each_ref().map(|policy| {
        bank.node.write("policy.yaml", policy);
        bank.node.agent().ready().end();
        net.table().unwrap()
    });
    assert_ne!(complete[0], complete[1]);
    let (done, connections) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(bank.listener.accept());
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(bank.client.connects(server(), LONG), "a connection is lost");
                    connections.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(!bank.other.connects(server(), SHORT), "a leak");
            }
        });
        // Also if this fails: else the others go on for ever.
        let _end = End(&done, &bank);
        let mut state = 7_u64;
        for kill in 0..kills {
            bank.node.write("policy.yaml", &policies[kill % 2]);
            let agent = bank.node.agent();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // From before it has read anything until after it is done.
            #[allow(clippy::disallowed_methods, reason = "a random moment is the point")]
            thread::sleep(Duration::from_micros((state >> 33) % 60_000));
            agent.kill();
            let table = net.table().unwrap();
            assert!(complete.contains(&table), "neither old nor new:\n{table}");
        }
    });
    println!("{kills} kills, {} connections", connections.load(Ordering::Relaxed));
    bank.node.agent().ready();
    bank.check();
}

#[test]
fn one_agent_for_each_network_namespace() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let agent = bank.node.agent().ready();
    let files = bank.node.dir.path().join("files");
    let second = ["--node", "here", "-f", files.to_str().unwrap()];
    let (code, text) = bank.node.says(&[], &second);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("error: another agent programs this network namespace\nhint: "),
        "{text}"
    );
    let (code, text) = bank.node.says(&[], &["--cleanup"]);
    assert_eq!(code, Some(3), "{text}");
    agent.kill();
    bank.check();
    let (code, text) = bank.node.says(&[], &["--cleanup"]);
    assert_eq!((code, text.as_str()), (Some(0), "removed the table `inet tortie`\n"));
    assert_eq!(bank.node.net.table(), None);
    let (code, text) = bank.node.says(&[], &["--cleanup"]);
    assert_eq!((code, text.contains("nothing to do")), (Some(0), true), "{text}");
    assert!(bank.other.connects(server(), LONG));
}

#[test]
fn two_capabilities_are_enough_and_without_them_it_says_so() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let files = bank.node.dir.path().join("files");
    let (code, text) = bank.node.says(
        &["setpriv", "--bounding-set=-net_admin"],
        &["--node", "here", "-f", files.to_str().unwrap()],
    );
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("CAP_NET_ADMIN\nhint: ") && text.contains("--dataplane none"), "{text}");
    let agent = bank.node.agent_by(&["setpriv", "--bounding-set=-all,+net_admin,+net_raw"]).ready();
    bank.check();
    agent.end();
}

#[test]
fn an_interface_of_another_name_is_found_by_its_route() {
    if !can_run() {
        return;
    }
    let node = Node::new();
    let client = node.pod("client", CLIENT.parse().unwrap());
    let other = node.pod("other", OTHER.parse().unwrap());
    node.write("pods.yaml", &pods());
    node.write("policy.yaml", &policy(CLIENTS, "80"));
    let agent = node.agent().ready();
    // It comes when the policy is long there.
    let listen = |interface: &str| {
        let pod = node.pod_on(interface, SERVER.parse().unwrap());
        (pod.listen(server()), pod)
    };
    let pod = listen("tap7");
    until("the client is let in", || client.connects(server(), SHORT).then_some(()));
    until("somebody else is kept out", || other.is_kept_out(server()).then_some(()));
    node.net.ip("link delete tap7");
    drop(pod);
    let _pod = listen("tap8");
    until("the client is let in", || client.connects(server(), SHORT).then_some(()));
    until("somebody else is kept out", || other.is_kept_out(server()).then_some(()));
    agent.end();
}

#[test]
fn interfaces_come_go_and_change_names_in_bursts() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let agent = bank.node.agent().ready();
    let net = &bank.node.net;
    let pairs = std::env::var("TORTIE_INTERFACE_PAIRS").map_or(1000, |n| n.parse().unwrap());
    let batch = |line: &dyn Fn(u32) -> String| {
        let lines: Vec<_> = (0..pairs).map(line).collect();
        net.ip_batch(&(lines.join("\n") + "\n"));
    };
    let start = Instant::now();
    // Each has two ends. The kernel takes its time to delete them, unless it is told of all at once.
    batch(&|n| format!("link add name d{n} group 7 type veth peer name f{n}"));
    batch(&|n| format!("link set dev d{n} name e{n}"));
    batch(&|n| format!("link set dev e{n} up\nlink set dev f{n} up"));
    batch(&|n| format!("route add 10.70.{}.{} dev e{n}", n / 250, n % 250));
    // The last one is a pod's, who moves to another one.
    let last = pairs - 1;
    let address = format!("10.70.{}.{}", last / 250, last % 250);
    let name = |back: u32| format!("e{}", pairs - back);
    bank.node.write("pod.yaml", &pod("late", &address));
    let has =
        |name: &str| net.nft("list map inet tortie to-workload").contains(&format!("\"{name}\""));
    until("the pod's interface is known", || has(&name(1)).then_some(()));
    net.ip(&format!("route replace {address} dev {}", name(2)));
    until("and the next one", || (has(&name(2)) && !has(&name(1))).then_some(()));
    net.ip("link delete group 7");
    until("it is gone", || (!has(&name(2))).then_some(()));
    println!("{} changes of {} interfaces in {:?}", pairs * 7, pairs * 2, start.elapsed());
    bank.check();
    assert!(agent.is_ready(), "{}", bank.node.log());
}

#[test]
fn an_address_leaves_all_sets_before_another_pod_has_it() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let agent = bank.node.agent().ready();
    let batches = agent.metric("tortie_network_batches_total");
    // The client's address is somebody else's from now on.
    let exchanged = [pod("client", OTHER), pod("other", CLIENT), pod("server", SERVER)].concat();
    bank.node.write("pods.yaml", &exchanged);
    let changed = || agent.metric("tortie_network_batches_total") > batches;
    until("the change is in force", || changed().then_some(()));
    assert!(agent.metric("tortie_network_batches_total") == batches + 1.0, "in one batch");
    assert!(!bank.client.connects(server(), SHORT), "with another's address");
    let _ = &bank.server;
}

/// Whether something that one end says arrives at the other.
fn arrives(from: &mut TcpStream, to: &mut TcpStream, patience: Duration) -> bool {
    from.write_all(b"x").unwrap();
    to.set_read_timeout(Some(patience)).unwrap();
    to.read(&mut [0; 16]).is_ok_and(|read| read > 0)
}

#[test]
fn open_connections_go_on_or_are_cut_as_the_configuration_says() {
    if !can_run() {
        return;
    }
    for (established, goes_on) in [("Continue", true), ("Cut", false)] {
        let bank = Bank::new();
        bank.node.write("policy.yaml", &policy("all()", "80"));
        bank.node.write(
            "configuration.yaml",
            &format!(
                "apiVersion: tortie.dev/v1\nkind: TortieConfiguration\n\
                 metadata: {{name: default}}\nspec: {{establishedFlows: {established}}}\n"
            ),
        );
        let agent = bank.node.agent().ready();
        let open = |from: &Namespace| {
            let stream = from.connect(server(), LONG).unwrap();
            (stream, bank.listener.accept().unwrap().0)
        };
        let (mut client, mut for_client) = open(&bank.client);
        let (mut other, mut for_other) = open(&bank.other);
        assert!(arrives(&mut client, &mut for_client, LONG));
        assert!(arrives(&mut other, &mut for_other, LONG));
        bank.node.write("policy.yaml", &policy(CLIENTS, "80"));
        if goes_on {
            until("others are kept out", || bank.other.is_kept_out(server()).then_some(()));
        } else {
            let start = Instant::now();
            let cut = || agent.metric("tortie_network_cut_connections_total") >= 1.0;
            until("a connection is cut", || cut().then_some(()));
            println!("cut after {:?}", start.elapsed());
            // What the server still has to say must not open it again.
            let _ = for_other.write_all(b"y");
        }
        let patience = if goes_on { LONG } else { SHORT };
        assert_eq!(arrives(&mut other, &mut for_other, patience), goes_on, "{established}");
        assert!(arrives(&mut client, &mut for_client, LONG), "a connection that policy allows");
        assert!(arrives(&mut for_client, &mut client, LONG), "and back");
        let cut = agent.metric("tortie_network_cut_connections_total");
        assert!(goes_on == (cut == 0.0) && cut <= 1.0, "{cut} connections cut");
    }
}

#[test]
fn workloads_are_closed_from_boot_until_the_agent_is_ready() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let (code, text) = bank.node.says(&[], &["--close"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!bank.client.connects(server(), SHORT));
    let agent = bank.node.agent().ready();
    bank.check();
    for _ in 0..2 {
        let (code, text) = bank.node.says(&[], &["--close"]);
        assert_eq!((code, text.contains("nothing to do")), (Some(0), true), "{text}");
    }
    agent.kill();
    let (code, text) = bank.node.says(&[], &["--close"]);
    assert_eq!((code, text.contains("nothing to do")), (Some(0), true), "{text}");
    bank.check();
}

/// As the guide in `examples/host` has it: ssh and the API are open, and a mistake locks out nobody who
/// comes from the administrators' network.
#[test]
fn a_machine_is_guarded_as_in_the_example() {
    if !can_run() {
        return;
    }
    let node = Node::new();
    let outside = node.beyond("eth0", "203.0.113.10", "203.0.113.1");
    let ports = [22, 6443, 8080].map(|port| SocketAddr::from(([203, 0, 113, 10], port)));
    let _listeners = ports.map(|address| node.net.listen(address));
    let [ssh, api, other] = ports;
    let come = |from: &str| {
        outside.ip(&format!("address replace {from}/32 dev eth0"));
        outside.ip(&format!("route replace 203.0.113.10 dev eth0 src {from}"));
    };
    let connects = |from: &str, to, patience| {
        come(from);
        outside.connects(to, patience)
    };
    let keeps_out = |from: &str, to| {
        come(from);
        outside.is_kept_out(to)
    };
    let (administrator, anybody) = ("198.51.100.7", "192.0.2.7");
    let example = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/host").join(name);
        fs::read_to_string(path).unwrap().replace("node: server", "node: here")
    };
    assert!(connects(anybody, other, LONG), "not guarded yet");
    node.write("host.yaml", &example("10-host.yaml"));
    node.write("policy.yaml", &example("20-policy.yaml"));
    let _agent = node.agent().ready();
    for from in [administrator, anybody] {
        assert!(connects(from, ssh, LONG) && connects(from, api, LONG), "{from}");
        assert!(!connects(from, other, SHORT), "{from}");
    }
    node.write("lockout.yaml", &example("mistake/lockout.yaml"));
    until("everybody is locked out", || keeps_out(anybody, api).then_some(()));
    assert!(!connects(anybody, ssh, SHORT) && !connects(administrator, api, SHORT));
    assert!(connects(administrator, ssh, LONG), "the failsafe port stays open");
}
