//! Workloads behind one interface, a bridge.

use smol_str::SmolStr;
use tortie_calc::updates;
use tortie_nft::interpret::{Packet, walk};
use tortie_nft::render::{Interfaces, Options, Renderer};
use tortie_nft::{ConnectionState, Delta, Origin, Ruleset, Subject};
use tortie_policy::EndpointId;

const WORLD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default, labels: {app: a}}
spec: {nodeName: n1}
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: default, labels: {app: b}}
spec: {nodeName: n1}
status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: b, namespace: default}
spec: {selector: app == 'b', ingress: [{action: Allow, source: {selector: app == 'a'}}]}
";

fn rendered() -> Ruleset {
    let cluster = tortie_testkit::cluster(WORLD).unwrap();
    let (mut renderer, mut delta) = (Renderer::new(Options::default()), Delta::default());
    renderer.update(&updates(&cluster, Some("n1")), &mut delta);
    let id = |name: &str| EndpointId { namespace: "default".into(), name: name.into() };
    let workloads = ["a", "b"].map(|name| (id(name), "br0".into()));
    let interfaces = Interfaces {
        workloads: workloads.into(),
        shared: ["br0".into()].into(),
        ..Interfaces::default()
    };
    renderer.interfaces(interfaces, &mut delta);
    renderer.ruleset().clone()
}

fn packet(from: &str, source: &str, to: &str, destination: &str) -> Packet {
    let interface = |name: &str| (!name.is_empty()).then(|| SmolStr::from(name));
    Packet {
        from: interface(from),
        to: interface(to),
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: 6,
        ports: Some((40_000, 80)),
        icmp: None,
        state: ConnectionState::New,
        mark: 0,
        routed_back: true,
    }
}

#[test]
fn workloads_behind_a_bridge_are_told_apart_by_their_addresses() {
    let ruleset = rendered();
    for (from, source, to, destination, dropped_by) in [
        ("br0", "10.0.0.1", "br0", "10.0.0.2", None),
        ("br0", "fd00::1", "br0", "fd00::2", None),
        ("br0", "10.0.0.2", "br0", "10.0.0.1", None),
        ("br0", "10.0.0.2", "br0", "10.0.0.2", Some("end of tier default")),
        ("eth0", "192.0.2.1", "br0", "10.0.0.2", Some("end of tier default")),
        ("eth0", "2001:db8::1", "br0", "fd00::2", Some("end of tier default")),
        ("eth0", "192.0.2.1", "br0", "10.0.0.1", None),
        ("br0", "10.0.0.1", "eth0", "192.0.2.1", None),
        ("", "192.0.2.9", "br0", "10.0.0.2", None),
        ("br0", "10.0.0.9", "eth0", "192.0.2.1", Some("anti-spoofing")),
        ("br0", "192.0.2.7", "br0", "10.0.0.2", Some("anti-spoofing")),
        ("eth0", "192.0.2.1", "br0", "10.0.0.9", Some("unknown address")),
        ("eth0", "192.0.2.1", "br0", "fd00::9", Some("unknown address")),
        ("br0", "fe80::1", "br0", "fd00::1", Some("unknown address")),
    ] {
        let outcome = walk(&ruleset, &packet(from, source, to, destination)).unwrap();
        let last = outcome.legs.last().and_then(|leg| leg.origin.as_ref());
        let by = last.filter(|_| !outcome.passes).map(|Origin { subject, .. }| match subject {
            Subject::Fixed(name) => name.to_string(),
            subject => subject.to_string(),
        });
        assert_eq!(by.as_deref(), dropped_by, "{from} {source} -> {to} {destination}");
    }
}

/// What a connection costs does not depend on how many workloads there are.
#[test]
fn a_walk_asks_the_rules_of_its_own_ends_alone() {
    let pod = |n: u32| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, namespace: default}}\n\
             spec: {{nodeName: n1}}\nstatus: {{podIP: 10.1.{}.{}}}\n---\n",
            n / 250,
            n % 250
        )
    };
    let asked = |count: u32| {
        let yaml: String = (0..count).map(pod).chain([WORLD.to_owned()]).collect();
        let cluster = tortie_testkit::cluster(&yaml).unwrap();
        let (mut renderer, mut delta) = (Renderer::new(Options::default()), Delta::default());
        let updates = updates(&cluster, Some("n1"));
        let id = |name: &str| EndpointId { namespace: "default".into(), name: name.into() };
        let others = (0..count).map(|n| (id(&format!("p{n}")), SmolStr::from(format!("cali{n}"))));
        let own = ["a", "b"].map(|name| (id(name), SmolStr::from(format!("cali-{name}"))));
        let workloads = others.chain(own).collect();
        renderer.update(&updates, &mut delta);
        renderer.interfaces(Interfaces { workloads, ..Interfaces::default() }, &mut delta);
        let outcome = walk(renderer.ruleset(), &packet("cali-a", "10.0.0.1", "cali-b", "10.0.0.2"));
        let outcome = outcome.unwrap();
        assert!(outcome.passes);
        outcome.asked
    };
    assert_eq!(asked(1000), asked(1));
}
