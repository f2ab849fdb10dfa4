//! What becomes of connections that are open.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::net::{Namespace, Node, can_run, until};
use crate::{Bank, CLIENT, CLIENTS, OTHER, SERVER, pod, policy, server};

const CUT: &str = "apiVersion: tortie.dev/v1\nkind: TortieConfiguration\n\
                   metadata: {name: default}\nspec: {establishedFlows: Cut}\n";

fn loose(node: &Node) -> String {
    node.net.get("netfilter/nf_conntrack_tcp_loose").trim().to_owned()
}

#[test]
fn what_the_agent_changes_of_tracking_is_put_back() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let node = &bank.node;
    node.net.set("netfilter/nf_conntrack_tcp_loose", "1");
    let is = |value: &str| until(value, || (loose(node) == value).then_some(()));
    node.write("tortie.yaml", CUT);
    let agent = node.agent().ready();
    is("0");
    agent.end();
    assert_eq!(loose(node), "1", "at its end");
    node.agent().ready().kill();
    assert_eq!(loose(node), "0", "a crash cannot");
    let agent = node.agent().ready();
    is("0");
    node.write("tortie.yaml", "");
    is("1");
    node.write("tortie.yaml", CUT);
    is("0");
    agent.kill();
    node.write("tortie.yaml", "");
    let agent = node.agent().ready();
    is("1");
    node.write("tortie.yaml", CUT);
    is("0");
    agent.kill();
    let state = node.state();
    let (code, text) = node.says(&[], &["--cleanup", "--state-dir", state.to_str().unwrap()]);
    assert_eq!((code, loose(node).as_str()), (Some(0), "1"), "{text}");
    assert_eq!(fs::read_dir(state).unwrap().count(), 0);
}

/// Connects so many UDP ports with a server, each a connection of its own, which the node remembers
/// for longer than any test takes.
fn begin(node: &Node, from: &Namespace, to: &UdpSocket, count: usize) {
    for timeout in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
        node.net.set(&format!("netfilter/{timeout}"), "3600");
    }
    to.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let address = to.local_addr().unwrap();
    from.run(|| {
        for port in (20_000..).take(count) {
            let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
            let back = until("it arrives", || {
                socket.send_to(&[1], address).unwrap();
                arrived(to, port)
            });
            to.send_to(&[1], back).unwrap();
        }
    });
}

/// Where a packet came from, if one from a port arrives: a busy machine may lose some.
fn arrived(to: &UdpSocket, port: u16) -> Option<SocketAddr> {
    let arrivals = std::iter::from_fn(|| to.recv_from(&mut [0]).ok());
    arrivals.map(|(_, back)| back).find(|back| back.port() == port)
}

fn tracked(node: &Node) -> usize {
    node.net.get("netfilter/nf_conntrack_count").trim().parse().unwrap()
}

#[test]
fn connections_of_a_pod_that_is_gone_are_forgotten() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let node = &bank.node;
    node.write("policy.yaml", &policy("all()", "80").replace("TCP", "UDP"));
    let agent = node.agent().ready();
    let socket = bank.server.run(|| UdpSocket::bind(server()).unwrap());
    let before = tracked(node);
    begin(node, &bank.client, &socket, 20);
    begin(node, &bank.other, &socket, 10);
    assert!(tracked(node) >= before + 30);
    let forgotten = || agent.metric("tortie_network_forgotten_connections_total");
    assert!(forgotten() == 0.0);
    node.write("pods.yaml", &[pod("other", OTHER), pod("server", SERVER)].concat());
    until("those of the client are gone", || (forgotten() == 20.0).then_some(()));
    // Its address is another pod's, and its own is somebody's who has none yet.
    let exchanged = [pod("other", CLIENT), pod("server", SERVER), pod("new", OTHER)];
    node.write("pods.yaml", &exchanged.concat());
    until("so are those of who has moved", || (forgotten() == 30.0).then_some(()));
}

#[test]
fn ten_thousand_connections_among_a_thousand_workloads_are_cut() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let node = &bank.node;
    let (connections, workloads) = (10_000, 1_000);
    let others =
        (0..workloads).map(|n| pod(&format!("p{n}"), &format!("10.67.{}.{}", n / 250, n % 250)));
    node.write("others.yaml", &others.collect::<String>());
    let udp = |who: &str| policy(who, "80").replace("TCP", "UDP");
    node.write("policy.yaml", &udp("all()"));
    node.write("tortie.yaml", CUT);
    let agent = node.agent().ready();
    let socket = bank.server.run(|| UdpSocket::bind(server()).unwrap());
    begin(node, &bank.client, &socket, 100);
    begin(node, &bank.other, &socket, connections);
    let start = Instant::now();
    node.write("policy.yaml", &udp(CLIENTS));
    let cut = || agent.metric("tortie_network_cut_connections_total");
    until("those that policy denies are cut", || (cut() == connections as f64).then_some(()));
    let took = agent.metric("tortie_network_cut_seconds_sum");
    println!(
        "{connections} connections cut in {took:.3} s, {:?} after the change",
        start.elapsed()
    );
}
