//! What requests leave unknown: absent addresses, certificates that cannot be placed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::net::IpAddr;

use tortie_policy::{
    Address, Cluster, Direction, HttpRequest, Principal, Protocol, Request, Trust, evaluate,
};
use tortie_testkit::cluster;

const BAD: &str = "10.0.0.3";
const GOOD: &str = "10.0.0.2";

fn world(rules: &str) -> Cluster {
    cluster(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: server, labels: {{app: server}}}}, \
           status: {{podIP: 10.0.0.1}}}}\n---\n\
         {{apiVersion: v1, kind: Pod, metadata: {{name: good}}, spec: {{serviceAccountName: good}}, \
           status: {{podIP: {GOOD}}}}}\n---\n\
         {{apiVersion: v1, kind: Pod, metadata: {{name: bad}}, spec: {{serviceAccountName: bad}}, \
           status: {{podIP: {BAD}}}}}\n---\n\
         {{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: p}}, \
           spec: {{selector: app == 'server', ingress: {rules}}}}}\n"
    ))
    .unwrap()
}

/// One end of a request: an address or none, and a service account or no certificate.
type End = (Option<&'static str>, Option<&'static str>);

fn allowed(cluster: &Cluster, source: End, destination: End) -> bool {
    let end = |(ip, account): End| {
        let ip = ip.map(|ip| ip.parse::<IpAddr>().unwrap());
        let principal = account.map(|a| format!("spiffe://cluster.local/ns/default/sa/{a}"));
        (Address { ip, port: None }, Principal::parse(&principal.unwrap_or_default()))
    };
    let http = Some(HttpRequest::new("GET", "/"));
    let trust = Trust::default();
    let request = Request::new(cluster, &trust, end(source), end(destination), Protocol::TCP, http);
    let server = cluster.endpoint(&"default/server".parse().unwrap()).unwrap();
    evaluate(&cluster.applicable(server, Direction::Ingress), &request).allowed
}

const SERVER: End = (Some("10.0.0.1"), None);

#[test]
fn absent_addresses_are_unknown_to_identity_criteria() {
    let allow = world("[{action: Allow, source: {serviceAccounts: {names: [good]}}}]");
    let deny =
        world("[{action: Deny, source: {serviceAccounts: {names: [bad]}}}, {action: Allow}]");
    for (source, by_allow, by_deny) in [
        ((Some(GOOD), Some("good")), true, true),
        ((Some(GOOD), None), true, true),
        ((Some(BAD), Some("good")), false, false),
        ((None, None), false, false),
        ((None, Some("good")), false, false),
        ((None, Some("bad")), false, false),
        ((Some("192.0.2.1"), Some("good")), false, true),
    ] {
        assert_eq!(allowed(&allow, source, SERVER), by_allow, "allow {source:?}");
        assert_eq!(allowed(&deny, source, SERVER), by_deny, "deny {source:?}");
    }
}

#[test]
fn absent_addresses_are_unknown_to_nets_both_ways() {
    for (rules, want) in [
        ("[{action: Allow, source: {nets: [0.0.0.0/0]}}]", false),
        ("[{action: Allow, source: {notNets: [192.0.2.0/24]}}]", false),
        ("[{action: Deny, source: {nets: [192.0.2.0/24]}}, {action: Allow}]", false),
        ("[{action: Deny, source: {notNets: [192.0.2.0/24]}}, {action: Allow}]", false),
        ("[{action: Pass, source: {nets: [192.0.2.0/24]}}, {action: Allow}]", false),
        ("[{action: Allow, source: {notSelector: has(x)}}]", false),
        ("[{action: Allow}]", true),
        ("[{action: Allow, ipVersion: 4}]", true),
        ("[{action: Allow, ipVersion: 6}]", false),
    ] {
        assert_eq!(allowed(&world(rules), (None, None), SERVER), want, "{rules}");
    }
}

#[test]
fn the_family_is_known_from_either_end() {
    let world = world("[{action: Allow, source: {nets: [10.0.0.0/8]}}]");
    assert!(allowed(&world, (Some(GOOD), None), (None, None)));
    assert!(!allowed(&world, (None, None), (None, None)));
    assert!(!allowed(&world, (Some(GOOD), None), (Some("fd00::1"), None)), "impossible traffic");
}

#[test]
fn the_receivers_certificate_is_bound_to_its_address_too() {
    let rules = "[{action: Allow, destination: {selector: app == 'server'}}]";
    let world = world(rules);
    assert!(allowed(&world, (None, None), SERVER));
    assert!(allowed(&world, (None, None), (Some("10.0.0.1"), Some("default"))));
    assert!(!allowed(&world, (None, None), (Some("10.0.0.1"), Some("good"))));
    assert!(!allowed(&world, (None, None), (None, Some("default"))));
}
