//! The ruleset: as text, in the kernel, and by which listener ends up with a connection.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use support::net::{self, Node, Pod};
use tortie_mesh::redirect::{Redirect, TABLE};
use tortie_mesh::{INBOUND_PORT, OUTBOUND_PORT};

const EXCLUSIONS: [(&str, &str); 5] = [
    ("traffic.sidecar.istio.io/excludeInboundPorts", "9090, 8080"),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", "5432"),
    (
        "traffic.sidecar.istio.io/excludeOutboundIPRanges",
        "10.0.0.0/8,10.1.2.3/16, 192.0.2.7/32,fd00::1/8",
    ),
    ("traffic.sidecar.istio.io/includeInboundPorts", "*"),
    ("sidecar.istio.io/inject", "true"),
];

fn annotated(annotations: &[(&'static str, &'static str)]) -> Redirect {
    Redirect::from_annotations(annotations.iter().copied()).unwrap()
}

/// Compares with the golden file and loads it, twice, in a scratch namespace.
fn check(name: &str, redirect: &Redirect) {
    let ruleset = redirect.ruleset();
    insta::with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, ruleset);
    });
    if net::possible() {
        let scratch = net::Namespace::new();
        scratch.load(&ruleset);
        let listed = || {
            let output = scratch.command("nft").args(["list", "ruleset"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let once = listed();
        scratch.load(&ruleset);
        assert!(once.contains(TABLE) && once == listed(), "{once}");
    }
}

#[test]
fn everything_is_redirected_unless_told() {
    check("redirect", &Redirect::default());
}

#[test]
fn exclusions_of_every_kind() {
    check("redirect-exclusions", &annotated(&EXCLUSIONS));
}

#[test]
fn only_some_inbound_ports() {
    let included = "traffic.sidecar.istio.io/includeInboundPorts";
    check("redirect-inbound-ports", &annotated(&[(included, "80,443")]));
    check("redirect-inbound-none", &annotated(&[(included, "")]));
}

#[test]
fn annotations_that_cannot_be_followed_are_refused() {
    for (name, value, expected) in [
        ("includeOutboundPorts", "1", "not supported (hint: includeInboundPorts"),
        ("kubevirtInterfaces", "x", "not supported"),
        ("excludeInboundPorts", "80,http", "`http` is not a port from 1 to 65535"),
        ("excludeInboundPorts", "0", "`0` is not a port"),
        ("excludeOutboundPorts", "65536", "`65536` is not a port"),
        ("excludeOutboundPorts", "1-2", "`1-2` is not a port"),
        ("includeInboundPorts", "*,80", "`*` is not a port"),
        ("excludeOutboundIPRanges", "10.0.0.1", "`10.0.0.1` is not an address range"),
        ("excludeOutboundIPRanges", "10.0.0.0/33", "`10.0.0.0/33` is not an address range"),
    ] {
        let key = format!("traffic.sidecar.istio.io/{name}");
        let error = Redirect::from_annotations([(key.as_str(), value)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("annotation `{key}`: ")), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

/// Answers every connection with a name.
fn answer(listener: TcpListener, name: &'static str) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(name.as_bytes());
        }
    });
}

/// Who answers a connection.
fn asked(from: &Pod, to: SocketAddr) -> String {
    let mut name = String::new();
    from.namespace.connect(to).unwrap().read_to_string(&mut name).unwrap();
    name
}

#[test]
fn connections_end_where_the_rules_say() {
    if !net::possible() {
        return;
    }
    let mut node = Node::new();
    let (pod, peer) = (node.pod(), node.pod());
    pod.namespace.load(&annotated(&EXCLUSIONS[..2]).ruleset());
    for (port, name) in
        [(INBOUND_PORT, "inbound"), (OUTBOUND_PORT, "outbound"), (80, "app"), (9090, "app")]
    {
        answer(pod.namespace.listen(port), name);
    }
    for port in [80, 5432] {
        answer(peer.namespace.listen(port), "peer");
    }
    for (from, to, port, expected) in [
        (&peer, &pod, 80, "inbound"),
        (&peer, &pod, 81, "inbound"),
        (&peer, &pod, 9090, "app"),
        (&pod, &peer, 80, "outbound"),
        (&pod, &peer, 81, "outbound"),
        (&pod, &peer, 5432, "peer"),
        (&pod, &pod, 80, "app"),
    ] {
        for to in to.at(port) {
            assert_eq!(asked(from, to), expected, "{to}");
        }
    }
    for loopback in ["127.0.0.1:80", "[::1]:80"] {
        assert_eq!(asked(&pod, loopback.parse().unwrap()), "app");
    }
}
