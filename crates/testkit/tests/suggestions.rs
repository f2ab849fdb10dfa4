//! What `explain` says a rule lacked is what it lacked: with the changes made, the rule matches.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tortie_policy::{
    Address, Change, Cluster, Facts, Flow, HttpAtNetwork, HttpRequest, IpVersion, Leg, Nearest,
    Party, PortName, Principal, Protocol, Query, Request, Side, Tri, Trust, explain, matches,
};
use tortie_testkit::Property;
use tortie_testkit::world::{Certificate, Traffic, World, build, strategy};

/// A question about traffic, and the documents it is put to.
#[derive(Clone)]
struct Scene {
    documents: Vec<Value>,
    addresses: [IpAddr; 2],
    ports: [Option<u16>; 2],
    protocol: Protocol,
    icmp: Option<(u8, Option<u8>)>,
    http: Option<(String, String)>,
    certificate: Certificate,
}

fn at(side: Side) -> usize {
    usize::from(side == Side::Destination)
}

impl Scene {
    fn new(world: &World, traffic: &Traffic) -> Option<Scene> {
        let (from, to) = world.ends(traffic)?;
        Some(Scene {
            documents: world.documents(),
            addresses: [from, to],
            ports: [None, Some(traffic.port)],
            protocol: Protocol::parse(&traffic.protocol.to_string())?,
            icmp: None,
            http: traffic.http.map(|(method, path)| (method.to_owned(), path.to_owned())),
            certificate: match traffic.certificate {
                // What is a pod's own stays its own when it gets another account.
                Certificate::Of(namespace, account)
                    if world.pod(traffic.from).is_some_and(|pod| {
                        (pod.namespace, pod.account()) == (namespace, account)
                    }) =>
                {
                    Certificate::Own
                }
                other => other,
            },
        })
    }

    fn cluster(&self) -> Result<Cluster, TestCaseError> {
        build(self.documents.clone()).map_err(TestCaseError::fail)
    }

    /// The SPIFFE ID that the sender shows, if any.
    fn identity(&self, cluster: &Cluster) -> Option<String> {
        let spiffe = |domain, namespace: &str, account: &str| {
            Some(format!("spiffe://{domain}/ns/{namespace}/sa/{account}"))
        };
        match self.certificate {
            Certificate::None => None,
            Certificate::Foreign => Some("spiffe://cluster.local/somebody".to_owned()),
            Certificate::Untrusted => spiffe("elsewhere.example", "one", "robot"),
            Certificate::Of(namespace, account) => spiffe("cluster.local", namespace, account),
            Certificate::Own => {
                let own = &cluster.at(self.addresses[0]).first()?.account;
                spiffe("cluster.local", &own.namespace, &own.name)
            }
        }
    }

    fn query(&self, cluster: &Cluster) -> Query {
        Query {
            from: Party::Address(self.addresses[0]),
            to: Party::Address(self.addresses[1]),
            protocol: self.protocol,
            port: self.ports[1].map(PortName::Number),
            icmp: self.icmp,
            http: self.http.clone(),
            from_identity: self.identity(cluster),
        }
    }

    /// The place of a pod's document, by address.
    fn pod(&mut self, side: Side) -> Option<&mut Value> {
        let address = self.addresses[at(side)].to_string();
        let uses = |document: &&mut Value| {
            let ips = document["status"]["podIPs"].as_array().cloned().unwrap_or_default();
            document["kind"] == "Pod"
                && document["status"]["phase"] == "Running"
                && document["spec"]["hostNetwork"] != true
                && ips.iter().any(|ip| ip["ip"] == address.as_str())
        };
        self.documents.iter_mut().find(uses)
    }

    /// The metadata of a document, which is made if there is none.
    fn metadata(&mut self, kind: &str, name: &str, namespace: Option<&str>) -> &mut Value {
        let is = |d: &Value| {
            let there = d["metadata"]["namespace"].as_str();
            d["kind"] == kind && d["metadata"]["name"] == name && there == namespace
        };
        let place = self.documents.iter().position(is).unwrap_or_else(|| {
            let metadata = match namespace {
                Some(namespace) => json!({"name": name, "namespace": namespace}),
                None => json!({"name": name}),
            };
            self.documents.push(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}));
            self.documents.len() - 1
        });
        &mut self.documents[place]["metadata"]
    }

    fn make(&mut self, change: &Change) {
        match change {
            Change::Label { side, key, value } => {
                let pod = self.pod(*side).unwrap();
                label(&mut pod["metadata"], key, value.as_deref());
            }
            Change::NamespaceLabel { side, key, value } => {
                let namespace = self.pod(*side).unwrap()["metadata"]["namespace"].clone();
                let metadata = self.metadata("Namespace", namespace.as_str().unwrap(), None);
                label(metadata, key, value.as_deref());
            }
            Change::AccountLabel { side, key, value } => {
                let pod = self.pod(*side).unwrap();
                let namespace = pod["metadata"]["namespace"].as_str().unwrap().to_owned();
                let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
                let name = name.to_owned();
                let metadata = self.metadata("ServiceAccount", &name, Some(&namespace));
                label(metadata, key, value.as_deref());
            }
            Change::Namespace { side, name } => {
                let metadata = &mut self.pod(*side).unwrap()["metadata"];
                metadata["namespace"] = name.as_str().into();
                metadata["name"] = format!("moved-{}", at(*side)).into();
            }
            Change::Account { side, name } => {
                self.pod(*side).unwrap()["spec"]["serviceAccountName"] = name.as_str().into();
            }
            Change::NetworkSet { side, address, namespace, labels } => {
                assert_eq!(*address, self.addresses[at(*side)]);
                let kind = if namespace.is_some() { "NetworkSet" } else { "GlobalNetworkSet" };
                let prefix = if address.is_ipv4() { 32 } else { 128 };
                let mut metadata = json!({"name": format!("made-{}", at(*side)), "labels": labels});
                if let Some(namespace) = namespace {
                    metadata["namespace"] = namespace.as_str().into();
                }
                self.documents.push(json!({"apiVersion": "projectcalico.org/v3", "kind": kind,
                    "metadata": metadata, "spec": {"nets": [format!("{address}/{prefix}")]}}));
            }
            Change::Address { side, address } => {
                let old = self.addresses[at(*side)].to_string();
                if let Some(pod) = self.pod(*side) {
                    let ips = pod["status"]["podIPs"].as_array_mut().unwrap();
                    let ip = ips.iter_mut().find(|ip| ip["ip"] == old.as_str()).unwrap();
                    ip["ip"] = address.to_string().into();
                }
                self.addresses[at(*side)] = *address;
            }
            Change::NamedPort { side, port, name } => {
                let declared = json!({"name": name, "containerPort": port,
                    "protocol": self.protocol.to_string()});
                self.ports[at(*side)] = Some(*port);
                let container = &mut self.pod(*side).unwrap()["spec"]["containers"][0];
                container["ports"] = json!([declared]);
            }
            Change::Sidecar => {
                let pod = self.pod(Side::Destination).unwrap();
                let metadata = &mut pod["metadata"];
                metadata.as_object_mut().unwrap().remove("annotations");
                let namespace = metadata["namespace"].as_str().unwrap().to_owned();
                let metadata = self.metadata("Namespace", &namespace, None);
                label(metadata, "istio-injection", Some("enabled"));
            }
            Change::Family { family } => self.turn(*family),
            Change::Port { side, port } => self.ports[at(*side)] = Some(*port),
            Change::Protocol { protocol } => self.protocol = *protocol,
            Change::Icmp { kind, code } => self.icmp = Some((*kind, Some(*code))),
            Change::Http => self.http = Some(("GET".to_owned(), "/".to_owned())),
            Change::Method { method } => self.http.as_mut().unwrap().0 = method.to_string(),
            Change::Path { path } => self.http.as_mut().unwrap().1.clone_from(path),
        }
    }

    /// The same ends by their addresses of another family.
    fn turn(&mut self, family: IpVersion) {
        for side in Side::BOTH {
            let own = self.pod(side).map(|pod| pod["status"]["podIPs"].clone());
            let own = own.as_ref().and_then(Value::as_array).into_iter().flatten();
            let own = own.map(|ip| ip["ip"].as_str().unwrap().parse::<IpAddr>().unwrap());
            let any = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
            let address = own.chain(any).find(|ip| IpVersion::of(*ip) == family).unwrap();
            self.addresses[at(side)] = address;
        }
    }

    /// Whether the rule that was the nearest matches.
    fn matches(&self, leg: &str, nearest: &Nearest) -> Result<Tri, TestCaseError> {
        let cluster = self.cluster()?;
        let policy = cluster.policies().find(|policy| {
            let namespace = policy.id.namespace.as_ref().map(ToString::to_string);
            policy.id.name == nearest.name && namespace == nearest.namespace
        });
        let policy = policy.unwrap();
        let rules = if leg == "egress" { &policy.egress } else { &policy.ingress };
        let rule = rules.iter().find(|rule| rule.origin == nearest.rule).unwrap();
        let end = |i: usize| Address { ip: Some(self.addresses[i]), port: self.ports[i] };
        let to = cluster.at(self.addresses[1]).first();
        let enforced = leg == "ingress" && to.is_some_and(|e| e.application_enforced);
        let flow = Flow {
            cluster: &cluster,
            source: end(0),
            destination: end(1),
            protocol: self.protocol,
            icmp: self.icmp,
            http: if enforced { HttpAtNetwork::Deferred } else { HttpAtNetwork::Unenforced },
        };
        let trust = Trust::default();
        let principal = Principal::parse(&self.identity(&cluster).unwrap_or_default());
        let http = self.http.as_ref().map(|(method, path)| HttpRequest::new(method, path));
        let request = Request::new(
            &cluster,
            &trust,
            (end(0), principal),
            (end(1), Principal::Plaintext),
            self.protocol,
            http,
        );
        let facts: &dyn Facts = if leg == "application" { &request } else { &flow };
        Ok(matches(rule, facts))
    }
}

fn label(metadata: &mut Value, key: &str, value: Option<&str>) {
    if metadata["labels"].is_null() {
        metadata["labels"] = json!({});
    }
    let labels = metadata["labels"].as_object_mut().unwrap();
    match value {
        Some(value) => drop(labels.insert(key.to_owned(), value.into())),
        None => drop(labels.remove(key)),
    }
}

fn kind(change: &Change) -> String {
    serde_json::to_value(change).unwrap()["what"].as_str().unwrap().to_owned()
}

#[test]
fn the_changes_named_make_the_nearest_rule_match() {
    let property = Property::new("the changes named make the nearest rule match", 600);
    let values = (strategy::world(), vec(strategy::traffic(), 8));
    let tally = RefCell::new(BTreeMap::<String, u32>::new());
    property.check(&values, |(world, traffic)| {
        for scene in traffic.iter().filter_map(|traffic| Scene::new(&world, traffic)) {
            let cluster = scene.cluster()?;
            let Ok(answer) = explain(&cluster, &Trust::default(), &scene.query(&cluster)) else {
                continue;
            };
            for (name, leg) in answer.legs() {
                try_changes(&scene, name, leg, &tally)?;
            }
        }
        Ok(())
    });
    let tally = tally.into_inner();
    println!("{tally:?}");
    let count = |what: &str| tally.get(what).copied().unwrap_or_default();
    assert!(count("way") > 300 && count("no way") < count("way"), "{tally:?}");
    let expected = [
        "account",
        "account-label",
        "address",
        "http",
        "label",
        "method",
        "named-port",
        "namespace",
        "namespace-label",
        "network-set",
        "path",
        "port",
        "protocol",
        "sidecar",
    ];
    for what in expected {
        assert!(count(what) > 0, "{what}: {tally:?}");
    }
}

fn try_changes(
    scene: &Scene,
    name: &str,
    leg: &Leg,
    tally: &RefCell<BTreeMap<String, u32>>,
) -> Result<(), TestCaseError> {
    let Some(nearest) = &leg.nearest else { return Ok(()) };
    let note = |what: &str| *tally.borrow_mut().entry(what.to_owned()).or_default() += 1;
    note(if nearest.changes.is_empty() { "no way" } else { "way" });
    if nearest.changes.is_empty() {
        return Ok(());
    }
    let mut other = scene.clone();
    for described in &nearest.changes {
        note(&kind(&described.change));
        other.make(&described.change);
    }
    let result = other.matches(name, nearest)?;
    prop_assert_eq!(result, Tri::True, "{}: {:?}, {:?}", name, nearest, leg.reason);
    Ok(())
}
