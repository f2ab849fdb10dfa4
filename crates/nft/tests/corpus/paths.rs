//! Whole ways through a node, over all base chains that a packet meets, against all legs that the
//! reference evaluator names for the node.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tortie_model::Resource;
use tortie_nft::interpret::{Packet, walk};
use tortie_nft::render::{Interfaces, Options, Renderer};
use tortie_nft::{ConnectionState, Delta};
use tortie_policy::{Cluster, Compat, Party, Plane, PortName, Protocol, Query};
use tortie_testkit::network::{Asked, Place, Probe, Scene};
use tortie_testkit::world::{decode, put_on_plane, strategy};
use tortie_testkit::{Property, verdicts};

use crate::draw;

/// A port that stays open.
const FAILSAFE: u16 = 7777;

/// The node that is asked, another one, and their addresses.
const NODES: [(&str, [&str; 2]); 2] =
    [("n1", ["198.51.100.1", "2001:db8:1::1"]), ("n2", ["198.51.100.2", "2001:db8:1::2"])];

fn rendered(scene: &Scene<'_>) -> Renderer {
    let own = scene.layout.host.iter().copied().collect();
    let interfaces = Interfaces {
        hosts: BTreeMap::from([(scene.layout.uplink.clone(), own)]),
        nodes: scene.nodes.clone(),
        ..Interfaces::default()
    };
    let (mut renderer, mut delta) = (Renderer::new(Options::default()), Delta::default());
    renderer.interfaces(interfaces, &mut delta);
    renderer.update(&scene.updates, &mut delta);
    renderer
}

/// A packet where the node sees it. Packets between neighbours are never tracked.
fn packet(probe: &Probe) -> Packet {
    let interface = |place: &Place| match place {
        Place::Host => None,
        Place::Beyond(name) => Some(name.clone()),
    };
    let sent = &probe.packet;
    let has_ports = [6, 17, 33, 132, 136].contains(&sent.protocol);
    let untracked = sent.protocol == 58 && (130..=136).contains(&sent.icmp.0);
    Packet {
        from: interface(&probe.from),
        to: interface(&probe.to),
        source: sent.source,
        destination: sent.destination,
        protocol: sent.protocol,
        ports: has_ports.then_some(sent.ports),
        icmp: [1, 58].contains(&sent.protocol).then_some(sent.icmp),
        state: if untracked { ConnectionState::Untracked } else { ConnectionState::New },
        // It comes with all bits set, and must be none the better for it.
        mark: u32::MAX,
        routed_back: true,
    }
}

/// Tries a flow at a node. Says whether it can be tried.
fn compare(scene: &Scene<'_>, renderer: &Renderer, asked: &Asked) -> Result<bool, String> {
    let Ok((probe, allowed)) = scene.probe(asked) else { return Ok(false) };
    let packet = packet(&probe);
    let outcome = walk(renderer.ruleset(), &packet).map_err(|e| e.to_string())?;
    match outcome.passes == allowed {
        true => Ok(true),
        false => Err(format!("must be {allowed}: {packet:?}\n{:#?}", outcome.legs)),
    }
}

#[test]
fn ways_of_the_corpus() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for scenario in verdicts::scenarios().unwrap().iter().filter(|scenario| !scenario.mended) {
        for case in scenario.cases.iter().filter(|case| !case.staged) {
            let resources = &scenario.resources;
            let cluster = Cluster::build_with(resources, case.compat).unwrap();
            let Ok(asked) = Asked::new(&cluster, &case.query, None) else { continue };
            for node in Scene::nodes(&cluster, &asked) {
                let node = node.as_deref();
                let scene = Scene::new(&cluster, resources, case.compat, node).unwrap();
                match compare(&scene, &rendered(&scene), &asked) {
                    Ok(one) => tried += usize::from(one),
                    Err(e) => {
                        wrong.push(format!("{}: {}: {e}", scenario.file.display(), case.name))
                    }
                }
            }
        }
    }
    println!("tried {tried} ways");
    assert!(wrong.is_empty(), "{}\n{} of {tried}", wrong.join("\n"), wrong.len());
    assert!(tried > 300, "{tried}");
}

/// How a world is put on nodes.
#[derive(Debug, Clone)]
struct Placing {
    elsewhere: Vec<bool>,
    interface: &'static str,
    labels: Value,
    planes: Vec<Plane>,
    action: &'static str,
    profile: bool,
}

fn placing() -> impl Strategy<Value = Placing> {
    let labels = select(vec![
        json!({"app": "a", "role": "x", "host": "yes"}),
        json!({"app": "b", "host": "yes"}),
        json!({"role": "x"}),
        json!({}),
    ]);
    (
        vec(proptest::bool::weighted(0.25), 6),
        select(&["eth0", "*", ""][..]),
        labels,
        vec(strategy::plane(), 7),
        select(&["Drop", "Return", "Accept"][..]),
        any::<bool>(),
    )
        .prop_map(|(elsewhere, interface, labels, planes, action, profile)| Placing {
            elsewhere,
            interface,
            labels,
            planes,
            action,
            profile,
        })
}

/// A world's documents, with pods on nodes of which one has a host endpoint.
fn on_nodes(mut documents: Vec<Value>, placing: &Placing) -> Vec<Value> {
    let pods = documents.iter_mut().filter(|d| d["kind"] == "Pod");
    for (pod, elsewhere) in pods.zip(&placing.elsewhere) {
        pod["spec"]["nodeName"] = NODES[usize::from(*elsewhere)].0.into();
    }
    let policies = documents.iter_mut().filter(|d| d["kind"] == "GlobalNetworkPolicy");
    policies.zip(&placing.planes).for_each(|(policy, plane)| put_on_plane(policy, *plane));
    for (name, addresses) in NODES {
        let addresses: Vec<_> =
            addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        documents.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                              "status": {"addresses": addresses}}));
    }
    let mut spec = json!({"node": "n1", "expectedIPs": NODES[0].1});
    if !placing.interface.is_empty() {
        spec["interfaceName"] = placing.interface.into();
    }
    if placing.profile {
        spec["profiles"] = json!(["projectcalico-default-allow"]);
    }
    documents.push(json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
        "metadata": {"name": "host", "labels": placing.labels}, "spec": spec}));
    documents.push(json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
        "metadata": {"name": "default"}, "spec": {
            "defaultEndpointToHostAction": placing.action,
            "vxlanEnabled": true, "ipipEnabled": true,
            "failsafeInboundHostPorts": [{"protocol": "TCP", "port": FAILSAFE},
                {"protocol": "UDP", "port": FAILSAFE, "net": "192.0.2.0/25"}],
            "failsafeOutboundHostPorts": [{"protocol": "UDP", "port": FAILSAFE}]}}));
    documents
}

/// Ends of flows: pods by address, hosts and strangers.
const ENDS: [[&str; 7]; 2] = [
    ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "198.51.100.1", "198.51.100.2", "192.0.2.1"],
    ["fd00::1", "fd00::2", "fd00::3", "fd00::4", "2001:db8:1::1", "2001:db8:1::2", "2001:db8::1"],
];

fn question() -> impl Strategy<Value = (Query, u16)> {
    let ends = (select(&ENDS[..]), 0..7_usize, 0..7_usize);
    let protocol = select(&[6_u8, 6, 6, 17, 17, 58, 1, 4, 132, 99][..]);
    let port = select(&[80_u16, 53, 8080, FAILSAFE, 4789][..]);
    let kind = select(&[8_u8, 128, 135, 134, 3][..]);
    let source = select(&[40_000_u16, 80][..]);
    (ends, protocol, port, kind, source).prop_map(|((family, from, to), number, port, kind, s)| {
        let party = |index: usize| Party::Address(family[index].parse().unwrap());
        let query = Query {
            from: party(from),
            to: party(to),
            protocol: Protocol::parse(&number.to_string()).unwrap(),
            port: [6, 17, 132].contains(&number).then_some(PortName::Number(port)),
            icmp: [1, 58].contains(&number).then_some((kind, Some(0))),
            http: None,
            from_identity: None,
        };
        (query, s)
    })
}

#[test]
fn ways_through_random_nodes() {
    let tried = Cell::new(0_usize);
    let drawn = (strategy::world(), draw::compat(), placing(), vec(question(), 60));
    let property = Property::new("ways through a node with a host endpoint", 400);
    property.check(&drawn, |(world, compat, placing, questions)| {
        let documents = on_nodes(world.documents(), &placing);
        let resources = decode(documents).map_err(TestCaseError::fail)?;
        let cluster = cluster(&resources, compat)?;
        let scene = Scene::new(&cluster, &resources, compat, Some("n1")).unwrap();
        let renderer = rendered(&scene);
        for (query, source) in questions {
            let Ok(asked) = Asked::new(&cluster, &query, Some(source)) else { continue };
            let one = compare(&scene, &renderer, &asked).map_err(TestCaseError::fail)?;
            tried.set(tried.get() + usize::from(one));
        }
        Ok(())
    });
    println!("tried {} ways", tried.get());
    assert!(tried.get() > 2_000 || std::env::var_os("PROPTEST_CASES").is_some());
}

fn cluster(resources: &[Resource], compat: Compat) -> Result<Cluster, TestCaseError> {
    let cluster = Cluster::build_with(resources, compat);
    cluster.map_err(|invalid| TestCaseError::fail(format!("{invalid:?}")))
}
