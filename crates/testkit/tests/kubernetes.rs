//! A Kubernetes NetworkPolicy says the same as the policy of Calico's kind that it stands for,
//! written out by hand here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use tortie_policy::{Cluster, Party, PortName, Protocol, Query, Trust, explain};
use tortie_testkit::Property;
use tortie_testkit::world::{Traffic, World, build, strategy};

type Words = &'static [&'static str];

fn label_selector(vocabulary: &'static [(&'static str, Words)]) -> impl Strategy<Value = Value> {
    let label = select(vocabulary).prop_flat_map(|(key, values)| (Just(key), select(values)));
    let operators = select(&["In", "NotIn", "Exists", "DoesNotExist"][..]);
    let expression = (label.clone(), operators, select(&["a", "prod"][..])).prop_map(
        |((key, value), operator, other)| match operator {
            "In" | "NotIn" => json!({"key": key, "operator": operator, "values": [value, other]}),
            _ => json!({"key": key, "operator": operator}),
        },
    );
    (vec(label, 0..2), vec(expression, 0..2)).prop_map(|(labels, expressions)| {
        let labels: BTreeMap<_, _> = labels.into_iter().collect();
        json!({"matchLabels": labels, "matchExpressions": expressions})
    })
}

fn of_pods() -> impl Strategy<Value = Value> {
    label_selector(&[("app", &["a", "b", "ab"]), ("role", &["x", "xy"])])
}

fn of_namespaces() -> impl Strategy<Value = Value> {
    label_selector(&[("env", &["prod", "test"]), ("kubernetes.io/metadata.name", &["one", "two"])])
}

fn peer() -> impl Strategy<Value = Value> {
    let blocks = [
        json!({"cidr": "10.0.0.0/29", "except": ["10.0.0.2/31"]}),
        json!({"cidr": "192.0.2.0/24"}),
        json!({"cidr": "fd00::/120", "except": ["fd00::2/127"]}),
    ];
    prop_oneof![
        3 => of_pods().prop_map(|pods| json!({"podSelector": pods})),
        2 => of_namespaces().prop_map(|spaces| json!({"namespaceSelector": spaces})),
        2 => (of_pods(), of_namespaces())
            .prop_map(|(p, n)| json!({"podSelector": p, "namespaceSelector": n})),
        2 => select(blocks.to_vec()).prop_map(|block| json!({"ipBlock": block})),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = option::of(select(&["TCP", "UDP", "SCTP"][..]));
    let number = prop_oneof![
        Just(json!({})),
        select(&[53, 80, 8080][..]).prop_map(|n| json!({"port": n})),
        Just(json!({"port": 53, "endPort": 81})),
        select(&["http", "dns"][..]).prop_map(|n| json!({"port": n})),
    ];
    (protocol, number).prop_map(|(protocol, mut port)| {
        if let Some(protocol) = protocol {
            port["protocol"] = protocol.into();
        }
        port
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let rules = |side: &'static str| {
        let rule = (option::of(vec(peer(), 0..3)), option::of(vec(port(), 0..3)));
        let rule = rule.prop_map(move |(peers, ports)| {
            let mut rule = Map::new();
            rule.extend(peers.map(|peers| (side.to_owned(), json!(peers))));
            rule.extend(ports.map(|ports| ("ports".to_owned(), json!(ports))));
            Value::Object(rule)
        });
        option::weighted(0.7, vec(rule, 0..3))
    };
    let types = option::of(subsequence(vec!["Ingress", "Egress"], 0..3));
    let namespace = select(&["one", "two", "three"][..]);
    (namespace, of_pods(), types, rules("from"), rules("to")).prop_map(
        |(namespace, pods, types, ingress, egress)| {
            let mut spec = json!({"podSelector": pods});
            let given = [
                ("policyTypes", types.map(|t| json!(t))),
                ("ingress", ingress.map(|r| json!(r))),
                ("egress", egress.map(|r| json!(r))),
            ];
            for (field, value) in given {
                if let Some(value) = value {
                    spec[field] = value;
                }
            }
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "k", "namespace": namespace}, "spec": spec})
        },
    )
}

const PODS: &str = "projectcalico.org/orchestrator == 'k8s'";

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A label selector as an expression; `all()` if it is empty.
fn expression(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object().unwrap().iter();
    let mut parts: Vec<_> = labels.map(|(k, v)| format!("{k} == {v}")).collect();
    for expression in list(&selector["matchExpressions"]) {
        let key = expression["key"].as_str().unwrap();
        let values: Vec<_> = list(&expression["values"]).iter().map(Value::to_string).collect();
        let values = values.join(", ");
        parts.push(match expression["operator"].as_str().unwrap() {
            "In" => format!("{key} in {{{values}}}"),
            "NotIn" => format!("{key} not in {{{values}}}"),
            "Exists" => format!("has({key})"),
            _ => format!("!has({key})"),
        });
    }
    if parts.is_empty() { "all()".to_owned() } else { parts.join(" && ") }
}

/// One end: any of the peers, and anyone if there is none.
fn entities(peers: &Value) -> Vec<Value> {
    let entity = |peer: &Value| {
        if let Some(block) = peer.get("ipBlock") {
            let not_nets = block.get("except").cloned().unwrap_or_else(|| json!([]));
            return json!({"nets": [block["cidr"]], "notNets": not_nets});
        }
        let mut entity = json!({"selector": PODS});
        if let Some(pods) = peer.get("podSelector") {
            entity["selector"] = format!("{PODS} && ({})", expression(pods)).into();
        }
        if let Some(namespaces) = peer.get("namespaceSelector") {
            entity["namespaceSelector"] = expression(namespaces).into();
        }
        entity
    };
    match list(peers) {
        [] => vec![json!({})],
        peers => peers.iter().map(entity).collect(),
    }
}

/// Protocols, each with its ports; no ports are all, and no protocol is any.
fn protocols(ports: &Value) -> Vec<(Option<String>, Vec<Value>)> {
    let mut result: BTreeMap<String, (bool, Vec<Value>)> = BTreeMap::new();
    for port in list(ports) {
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        let (whole, numbers) = result.entry(protocol).or_default();
        match (&port["port"], &port["endPort"]) {
            (Value::Null, _) => *whole = true,
            (first, Value::Null) => numbers.push(first.clone()),
            (first, last) => numbers.push(format!("{first}:{last}").into()),
        }
    }
    let entry = |(protocol, (whole, ports)): (String, (bool, Vec<Value>))| {
        (Some(protocol), if whole { Vec::new() } else { ports })
    };
    match list(ports) {
        [] => vec![(None, Vec::new())],
        _ => result.into_iter().map(entry).collect(),
    }
}

/// Calico's rules for one of Kubernetes.
fn rules(rule: &Value, side: &str) -> Vec<Value> {
    let mut rules = Vec::new();
    for (protocol, ports) in protocols(&rule["ports"]) {
        for entity in entities(&rule[if side == "source" { "from" } else { "to" }]) {
            let mut rule = json!({"action": "Allow", side: entity});
            if let Some(protocol) = &protocol {
                rule["protocol"] = protocol.as_str().into();
            }
            if !ports.is_empty() {
                rule["destination"]["ports"] = json!(ports);
            }
            rules.push(rule);
        }
    }
    rules
}

/// The same in Calico's kind; and of each of its rules, which one of the original it is from.
fn converted(policy: &Value) -> (Value, BTreeMap<&'static str, Vec<usize>>) {
    let spec = &policy["spec"];
    let selector = format!("{PODS} && ({})", expression(&spec["podSelector"]));
    let mut new = json!({"order": 1000, "selector": selector});
    let mut origins = BTreeMap::new();
    for (direction, side) in [("ingress", "source"), ("egress", "destination")] {
        let each = list(&spec[direction]).iter().enumerate();
        let all: Vec<_> =
            each.flat_map(|(i, r)| rules(r, side).into_iter().map(move |r| (i, r))).collect();
        origins.insert(direction, all.iter().map(|(i, _)| *i).collect());
        new[direction] = all.into_iter().map(|(_, rule)| rule).collect();
    }
    let egress = !list(&spec["egress"]).is_empty();
    new["types"] = match list(&spec["policyTypes"]) {
        [] if egress => json!(["Ingress", "Egress"]),
        [] => json!(["Ingress"]),
        given => json!(given),
    };
    let policy = json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": policy["metadata"], "spec": new});
    (policy, origins)
}

/// The verdicts with their ways, as if every rule of the policy were of the kind and position that
/// its author wrote.
fn explained(
    cluster: &Cluster,
    world: &World,
    traffic: &Traffic,
    origins: Option<&BTreeMap<&'static str, Vec<usize>>>,
) -> Option<Vec<Value>> {
    let (from, to) = world.ends(traffic)?;
    let query = Query {
        from: Party::Address(from),
        to: Party::Address(to),
        protocol: Protocol::parse(&traffic.protocol.to_string()).unwrap(),
        port: Some(PortName::Number(traffic.port)),
        icmp: None,
        http: traffic.http.map(|(method, path)| (method.to_owned(), path.to_owned())),
        from_identity: None,
    };
    let explanation = explain(cluster, &Trust::default(), &query).unwrap();
    let legs = explanation.legs().map(|(name, leg)| {
        let direction = if name == "egress" { "egress" } else { "ingress" };
        let mut trace = serde_json::to_value(&leg.trace).unwrap();
        for entry in trace.as_array_mut().unwrap() {
            if entry["name"] == "k" {
                entry["kind"] = "KubernetesNetworkPolicy".into();
                let position = entry["rule"].as_u64().and_then(|n| usize::try_from(n).ok());
                if let (Some(position), Some(origins)) = (position, origins) {
                    entry["rule"] = origins[direction][position].into();
                }
            }
        }
        json!([name, leg.verdict, trace])
    });
    Some(legs.collect())
}

#[test]
fn a_kubernetes_policy_says_what_its_calico_form_says() {
    let values = (strategy::world(), policy(), vec(strategy::traffic(), 8));
    let property = Property::new("a Kubernetes policy says what its Calico form says", 600);
    let decided = Cell::new(0);
    property.check(&values, |(world, policy, traffic)| {
        let with = |policy: &Value| {
            build(world.documents().into_iter().chain([policy.clone()]))
                .map_err(TestCaseError::fail)
        };
        let (other, origins) = converted(&policy);
        let (first, second) = (with(&policy)?, with(&other)?);
        for traffic in &traffic {
            let want = explained(&first, &world, traffic, None);
            let found = explained(&second, &world, traffic, Some(&origins));
            prop_assert_eq!(&found, &want, "{}", other);
            let text = json!(want).to_string();
            decided.set(decided.get() + u32::from(text.contains(r#""name":"k","namespace"#)));
        }
        Ok(())
    });
    assert!(decided.get() > 300, "{decided:?}");
}
