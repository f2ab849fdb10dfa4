//! Random clusters and flows, in the kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tortie_calc::Key;
use tortie_model::Resource;
use tortie_policy::{Cluster, Compat, Party, Plane, PortName, Protocol, Query};
use tortie_testkit::Property;
use tortie_testkit::network::{Asked, Network, Scene, may_run};
use tortie_testkit::world::{Traffic, World, decode, put_on_plane, strategy};

use crate::draw;
use crate::judge::{self, Tally, judge};
use crate::live::Live;

/// Flows that are tried in all unless `TORTIE_KERNEL_PROBES` asks for another number.
const PROBES: usize = 10_000;

/// Flows drawn for each cluster.
const FLOWS: usize = 40;

/// The node of the clusters with hosts, and another one.
const NODE: &str = "n1";
const OTHER: &str = "n2";

/// Addresses of the nodes.
const HOSTS: [(&str, [&str; 2]); 2] =
    [(NODE, ["198.51.100.1", "2001:db8:1::1"]), (OTHER, ["198.51.100.2", "2001:db8:1::2"])];

/// What a flow is beyond what worlds know of: who is replaced by a host, and the ICMP type.
#[derive(Debug, Clone, Copy)]
struct Detail {
    host: Option<(bool, usize)>,
    icmp: usize,
    failsafe: bool,
}

/// A failsafe port. Nothing comes from it: where connections are not tracked, answers would.
const FAILSAFE: u16 = 7777;

type Drawn = Vec<(Traffic, Detail)>;

fn flows() -> impl Strategy<Value = Drawn> {
    let host = proptest::option::weighted(0.4, (any::<bool>(), 0..HOSTS.len()));
    let failsafe = proptest::bool::weighted(0.1);
    let detail = (host, 0..4_usize, failsafe);
    let detail = detail.prop_map(|(host, icmp, failsafe)| Detail { host, icmp, failsafe });
    vec((strategy::traffic(), detail), FLOWS)
}

/// A flow between two addresses as a question, with its source port. ICMP is that of the family.
fn question(traffic: &Traffic, detail: &Detail, from: IpAddr, to: IpAddr) -> (Query, u16) {
    let icmp = detail.icmp;
    let (protocol, kind) = match (traffic.protocol, from.is_ipv4()) {
        (1 | 58, true) => (1, [8, 13, 15, 17][icmp]),
        (1 | 58, false) => (58, [128, 128, 135, 134][icmp]),
        // UDP-Lite, which rules know by its number at most.
        (99, _) if icmp == 0 => (136, 0),
        (other, _) => (other, 0),
    };
    let has_ports = [6, 17, 132, 136].contains(&protocol);
    let port = if detail.failsafe { FAILSAFE } else { traffic.port };
    let query = Query {
        from: Party::Address(from),
        to: Party::Address(to),
        protocol: Protocol::parse(&protocol.to_string()).unwrap(),
        port: has_ports.then_some(PortName::Number(port)),
        icmp: matches!(protocol, 1 | 58).then_some((kind, Some(0))),
        http: None,
        from_identity: None,
    };
    (query, traffic.source_port)
}

/// Tries flows at one node of a cluster, which is programmed anew, or which something keeps current.
fn try_out(
    (network, tally): &mut (Network, Tally),
    (resources, compat): (&[Resource], Compat),
    node: Option<&str>,
    current: Option<&mut Live>,
    questions: Vec<(Query, u16)>,
) -> Result<(), TestCaseError> {
    let cluster = Cluster::build_with(resources, compat);
    let cluster = cluster.map_err(|invalid| TestCaseError::fail(format!("{invalid:?}")))?;
    let scene = Scene::new(&cluster, resources, compat, node).unwrap();
    let (mut flows, mut found) = (Vec::new(), Tally::default());
    for (query, source_port) in questions {
        match Asked::new(&cluster, &query, Some(source_port)) {
            Ok(asked) => flows.push((String::new(), asked)),
            Err(why) => found.pass_over(&why),
        }
    }
    match current {
        None => judge(network, &scene, &flows, &mut found).unwrap(),
        Some(live) => {
            live.flush();
            prop_assert!(live.is_whole(network), "the table is not what it should be");
            judge::try_out(network, &scene, &flows, &mut found).unwrap();
        }
    }
    let wrong = found.wrong();
    tally.add(found);
    prop_assert!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// As many clusters as it takes, and as often in soak.
fn property(name: &'static str, flows_each: usize) -> (Property, usize) {
    let asked = std::env::var("TORTIE_KERNEL_PROBES").ok();
    let asked: Option<usize> = asked.map(|text| text.parse().unwrap());
    let wanted = asked.unwrap_or(PROBES) / 2;
    let clusters = u32::try_from(wanted / flows_each + 1).unwrap();
    match asked {
        Some(_) => (Property::soak(name, clusters), wanted),
        None => (Property::new(name, clusters), wanted),
    }
}

fn finish(name: &str, tally: &Tally, wanted: usize) {
    println!("{name}: {tally}");
    assert!(tally.probes >= wanted, "too little was tried");
    assert!(tally.allowed * 20 >= tally.probes, "hardly anything was to be allowed");
}

#[test]
fn workloads_in_the_kernel_agree_with_the_reference() {
    if !may_run() {
        return;
    }
    let name = "workloads in the kernel";
    let (property, wanted) = property(name, 12);
    let state = RefCell::new((Network::new().unwrap(), Tally::default()));
    let drawn = (strategy::world(), draw::extras(), draw::compat(), flows());
    property.check(&drawn, |(world, extras, compat, flows)| {
        let documents: Vec<_> = world.documents().into_iter().chain(extras).collect();
        let questions = flows.iter().filter_map(|(traffic, detail)| {
            let (from, to) = world.ends(traffic)?;
            Some(question(traffic, detail, from, to))
        });
        let resources = decode(documents).map_err(TestCaseError::fail)?;
        let state = &mut state.borrow_mut();
        try_out(state, (&resources, compat), None, None, questions.collect())
    });
    finish(name, &state.borrow().1, wanted);
}

/// Clusters that become one another, and the same table all the way.
#[test]
fn changes_in_the_kernel_agree_with_the_reference() {
    if !may_run() {
        return;
    }
    let name = "changes in the kernel";
    let (property, wanted) = property(name, 100);
    let state = RefCell::new((Network::new().unwrap(), Tally::default()));
    let step = (strategy::world(), draw::extras(), flows());
    property.check(&(draw::compat(), vec(step, 3)), |(compat, steps)| {
        let mut state = state.borrow_mut();
        let (mut live, mut before) = (Live::start(&state.0, compat), BTreeMap::new());
        for (world, extras, flows) in steps {
            let documents = world.documents().into_iter().chain(extras);
            let resources = decode(documents).map_err(TestCaseError::fail)?;
            let now: BTreeMap<_, _> = resources.iter().map(|r| (Key::of(r), r.clone())).collect();
            before
                .keys()
                .filter(|key| !now.contains_key(key))
                .for_each(|key| live.apply(key, None));
            now.iter().for_each(|(key, resource)| live.apply(key, Some(resource)));
            before = now;
            let questions = flows.iter().filter_map(|(traffic, detail)| {
                let (from, to) = world.ends(traffic)?;
                Some(question(traffic, detail, from, to))
            });
            let questions = questions.collect();
            try_out(&mut state, (&resources, compat), None, Some(&mut live), questions)?;
        }
        Ok(())
    });
    finish(name, &state.borrow().1, wanted / 4);
}

// === hosts ===

/// How a world is put on nodes.
#[derive(Debug, Clone)]
struct Placing {
    /// Which pods are on the other node.
    elsewhere: Vec<bool>,
    /// Whether the host endpoint is named, for all interfaces, or by address.
    interface: usize,
    labels: Vec<bool>,
    /// The plane of each policy.
    planes: Vec<Plane>,
    settings: usize,
    profile: bool,
}

fn placing() -> impl Strategy<Value = Placing> {
    let planes = vec(strategy::plane(), 7);
    let elsewhere = vec(proptest::bool::weighted(0.25), 6);
    (elsewhere, 0..3_usize, vec(any::<bool>(), 3), planes, 0..4_usize, any::<bool>()).prop_map(
        |(elsewhere, interface, labels, planes, settings, profile)| Placing {
            elsewhere,
            interface,
            labels,
            planes,
            settings,
            profile,
        },
    )
}

/// A world's documents, on nodes with host endpoints, to which some of its policies apply.
fn on_nodes(world: &World, placing: &Placing) -> Vec<Value> {
    let mut documents = world.documents();
    let pods = documents.iter_mut().filter(|d| d["kind"] == "Pod");
    for (pod, elsewhere) in pods.zip(&placing.elsewhere) {
        pod["spec"]["nodeName"] = if *elsewhere { OTHER } else { NODE }.into();
    }
    let policies = documents.iter_mut().filter(|d| d["kind"] == "GlobalNetworkPolicy");
    for (policy, plane) in policies.zip(&placing.planes) {
        put_on_plane(policy, *plane);
    }
    for (name, addresses) in HOSTS {
        let addresses: Vec<_> =
            addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        documents.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                              "status": {"addresses": addresses}}));
    }
    documents.push(host(placing));
    let action = ["Drop", "Return", "Accept", "Drop"][placing.settings];
    documents.push(json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
        "metadata": {"name": "default"}, "spec": {
            "defaultEndpointToHostAction": action,
            "failsafeInboundHostPorts": [{"protocol": "TCP", "port": FAILSAFE},
                {"protocol": "UDP", "port": FAILSAFE, "net": "192.0.2.0/25"}],
            "failsafeOutboundHostPorts": [{"protocol": "UDP", "port": FAILSAFE}]}}));
    documents
}

fn host(placing: &Placing) -> Value {
    let all = [("app", "a"), ("role", "x"), ("host", "yes")];
    let labels = all.iter().zip(&placing.labels).filter(|(_, has)| **has);
    let labels: serde_json::Map<_, _> =
        labels.map(|((key, value), _)| ((*key).to_owned(), (*value).into())).collect();
    let mut spec = json!({"node": NODE, "expectedIPs": HOSTS[0].1});
    match placing.interface {
        0 => spec["interfaceName"] = "eth0".into(),
        1 => spec["interfaceName"] = "*".into(),
        _ => (),
    }
    if placing.profile {
        spec["profiles"] = json!(["projectcalico-default-allow"]);
    }
    json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
           "metadata": {"name": "host", "labels": labels}, "spec": spec})
}

#[test]
fn hosts_in_the_kernel_agree_with_the_reference() {
    if !may_run() {
        return;
    }
    let name = "hosts in the kernel";
    let (property, wanted) = property(name, 12);
    let state = RefCell::new((Network::new().unwrap(), Tally::default()));
    let drawn = (strategy::world(), placing(), draw::compat(), flows());
    property.check(&drawn, |(world, placing, compat, flows)| {
        let documents = on_nodes(&world, &placing);
        let questions = flows.iter().filter_map(|(traffic, detail)| {
            let (from, to) = ends(&world, traffic, detail)?;
            Some(question(traffic, detail, from, to))
        });
        let resources = decode(documents).map_err(TestCaseError::fail)?;
        let state = &mut state.borrow_mut();
        try_out(state, (&resources, compat), Some(NODE), None, questions.collect())
    });
    finish(name, &state.borrow().1, wanted);
}

/// The ends of a flow, one of which may be a host in place of what was drawn.
fn ends(world: &World, traffic: &Traffic, detail: &Detail) -> Option<(IpAddr, IpAddr)> {
    let Some((is_from, host)) = detail.host else { return world.ends(traffic) };
    let other = world.addresses(if is_from { traffic.to } else { traffic.from });
    let other = *other.iter().find(|a| a.is_ipv6() == traffic.six).or(other.first())?;
    let host: IpAddr = HOSTS[host].1[usize::from(other.is_ipv6())].parse().unwrap();
    Some(if is_from { (host, other) } else { (other, host) })
}
