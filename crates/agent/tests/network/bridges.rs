//! Pods of network plugins that put them behind a bridge.

use std::net::{SocketAddr, TcpListener};

use crate::net::{Namespace, Node, can_run, until};
use crate::{CLIENTS, LONG, SHORT, pod, policy};

const CLIENT: &str = "10.66.0.2";
const OTHER: &str = "10.66.0.3";
const SERVER: &str = "10.66.0.4";
const HOST: &str = "10.66.0.1";

fn server() -> SocketAddr {
    format!("{SERVER}:80").parse().unwrap()
}

/// Three pods behind a bridge, and somebody outside.
struct Village {
    node: Node,
    client: Namespace,
    other: Namespace,
    outside: Namespace,
    _server: (Namespace, TcpListener),
}

impl Village {
    fn new(filtered: &str) -> Village {
        let node = Node::new();
        for family in ["iptables", "ip6tables"] {
            node.net.set(&format!("bridge/bridge-nf-call-{family}"), filtered);
        }
        node.bridge("cni0", &format!("{HOST}/24"));
        let behind = |address| node.pod_behind("cni0", address, HOST);
        let (client, other, server) = (behind(CLIENT), behind(OTHER), behind(SERVER));
        let listener = server.listen(self::server());
        let outside = node.beyond("eth0", "203.0.113.1", "203.0.113.2");
        outside.ip("route add 10.66.0.0/24 via 203.0.113.1");
        let pods = [pod("client", CLIENT), pod("other", OTHER), pod("server", SERVER)];
        node.write("pods.yaml", &pods.concat());
        node.write("policy.yaml", &policy(CLIENTS, "80"));
        Village { node, client, other, outside, _server: (server, listener) }
    }
}

#[test]
fn pods_behind_a_bridge_are_told_apart_by_their_addresses() {
    if !can_run() {
        return;
    }
    let village = Village::new("1");
    let agent = village.node.agent().ready();
    assert!(village.client.connects(server(), LONG), "the client is kept out");
    assert!(!village.other.connects(server(), SHORT), "a neighbour is let in");
    assert!(!village.outside.connects(server(), SHORT), "somebody outside is let in");
    assert!(village.node.net.connects(server(), LONG), "the host reaches its own pods");
    // Who is not known is let neither in nor out, nor who takes an address that nobody has.
    let stranger = village.node.pod_behind("cni0", "10.66.0.9", HOST);
    let beyond = village.outside.listen("203.0.113.2:81".parse().unwrap());
    let out = beyond.local_addr().unwrap();
    assert!(!stranger.connects(server(), SHORT) && !stranger.connects(out, SHORT));
    assert!(village.other.connects(out, LONG), "nobody keeps it from going out");
    village.node.write(
        "stranger.yaml",
        &pod("client2", "10.66.0.9").replace("app: client2", "app: client"),
    );
    until("the stranger is known as a client", || stranger.connects(server(), SHORT).then_some(()));
    village.node.write("policy.yaml", &policy("app == 'other'", "80"));
    until("others are let in", || village.other.connects(server(), SHORT).then_some(()));
    assert!(!village.client.connects(server(), SHORT));
    assert!(agent.metric("tortie_network_unenforced_endpoints") == 0.0);
    agent.end();
}

#[test]
fn what_passes_by_on_a_bridge_is_not_passed_over() {
    if !can_run() {
        return;
    }
    let village = Village::new("0");
    let agent = village.node.agent();
    let number =
        || agent.get("/metrics").map(|_| agent.metric("tortie_network_unenforced_endpoints"));
    until("it is counted", || number().filter(|number| *number == 3.0));
    let says = |path: &str| agent.get(path).unwrap();
    assert!(!agent.is_ready());
    let answer = says("/ready");
    assert!(
        answer.contains("policy is not enforced for 3 workloads: `default/client`"),
        "{answer}"
    );
    let log = village.node.log();
    for word in ["default/server", "bridge `cni0`", "br_netfilter", "--accept-unenforced"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    // What comes by the host is enforced all the same.
    assert!(village.other.connects(server(), LONG), "the test proves nothing");
    assert!(!village.outside.connects(server(), SHORT));
    agent.end();
    let agent = village.node.agent_with(&[], &["--accept-unenforced"]).ready();
    assert!(agent.metric("tortie_network_unenforced_endpoints") == 3.0);
    assert!(!village.outside.connects(server(), SHORT));
}

#[test]
fn a_bridge_that_is_the_hosts_own_network_stays_open_and_is_named() {
    if !can_run() {
        return;
    }
    let village = Village::new("1");
    let node = &village.node;
    // As with a bridge to the local network: the way out leads over it.
    node.net.ip("route replace default via 10.66.0.200 dev cni0");
    let agent = node.agent();
    let number =
        || agent.get("/metrics").map(|_| agent.metric("tortie_network_unenforced_endpoints"));
    until("it is counted", || number().filter(|number| *number == 3.0));
    assert!(agent.get("/ready").unwrap().contains("own interface `cni0`"));
    assert!(village.other.connects(server(), LONG));
    node.net.ip("route replace default via 203.0.113.2 dev eth0");
    until("it is ready", || agent.is_ready().then_some(()));
    assert!(!village.other.connects(server(), SHORT) && village.client.connects(server(), LONG));
}
