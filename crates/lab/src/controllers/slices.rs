//! EndpointSlices: which pods stand behind a Service, for whoever asks the API server.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::replicas::is_ready;
use super::{Action, Facts, document, ensure, owner};
use crate::plan::{NODE_NAME, families};
use crate::world::{Kind, World, is_terminating, key, list, number, text};

/// The label that says whose slice it is.
const SERVICE: &str = "kubernetes.io/service-name";
/// The label that says who keeps it, and what it says here.
const MANAGER: (&str, &str) =
    ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");

/// Whether it is IPv4, and which ports: what the endpoints of one slice have in common.
type Group = (bool, String);

pub(super) fn actions(world: &World, facts: &Facts) -> Vec<Action> {
    let mut wanted: BTreeMap<(String, String), Value> = BTreeMap::new();
    for service in world.documents(Kind::Service).filter(|service| !is_terminating(service)) {
        wanted.extend(slices(world, service, facts.v6).map(|slice| (key(&slice), slice)));
    }
    let ours = |slice: &&Value| {
        slice.pointer("/metadata/labels").and_then(|l| l.get(MANAGER.0)) == Some(&MANAGER.1.into())
    };
    let stale = world.documents(Kind::EndpointSlice).filter(ours);
    let stale = stale.filter(|slice| !wanted.contains_key(&key(slice)) && !is_terminating(slice));
    let delete = |slice: &Value| {
        Action::Delete(Kind::EndpointSlice, key(slice), text(slice, "/metadata/uid").to_owned())
    };
    let stale: Vec<Action> = stale.map(delete).collect();
    let current = wanted.into_values().filter_map(|one| ensure(world, Kind::EndpointSlice, one));
    current.chain(stale).collect()
}

fn slices<'a>(
    world: &'a World,
    service: &'a Value,
    v6: bool,
) -> impl Iterator<Item = Value> + use<'a> {
    let mut groups: BTreeMap<Group, Vec<Value>> = BTreeMap::new();
    let families = families(service, v6);
    for pod in selected(world, service) {
        let ports = ports(service, pod).to_string();
        let addresses = list(pod, "/status/podIPs").filter_map(|ip| text(ip, "/ip").parse().ok());
        for address in addresses.filter(|address: &IpAddr| families.contains(&address.is_ipv4())) {
            let group = (address.is_ipv4(), ports.clone());
            groups.entry(group).or_default().push(endpoint(pod, address));
        }
    }
    groups.into_iter().map(|((v4, ports), endpoints)| slice(service, v4, &ports, &endpoints))
}

fn slice(service: &Value, v4: bool, ports: &str, endpoints: &[Value]) -> Value {
    let name = text(service, "/metadata/name");
    let digest = Sha1::digest(format!("{v4}{ports}"));
    let suffix: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    let metadata = json!({
        "name": format!("{name}-{suffix}"), "namespace": text(service, "/metadata/namespace"),
        "labels": {(SERVICE): name, (MANAGER.0): MANAGER.1},
        "ownerReferences": owner(Kind::Service, service),
    });
    let ports: Value = serde_json::from_str(ports).unwrap_or_default();
    let family = if v4 { "IPv4" } else { "IPv6" };
    let fields = json!({"addressType": family, "endpoints": endpoints, "ports": ports});
    document(Kind::EndpointSlice, metadata, fields)
}

/// The pods of a Service that have an address, ended ones not among them.
fn selected<'a>(world: &'a World, service: &'a Value) -> impl Iterator<Item = &'a Value> {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    let selector = selector.filter(|selector| !selector.is_empty());
    let namespace = text(service, "/metadata/namespace");
    world.documents(Kind::Pod).filter(move |pod| {
        let labels = pod.pointer("/metadata/labels");
        let has = |(key, value): (&String, &Value)| labels.and_then(|l| l.get(key)) == Some(value);
        text(pod, "/metadata/namespace") == namespace
            && selector.is_some_and(|selector| selector.iter().all(has))
            && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
    })
}

fn endpoint(pod: &Value, address: IpAddr) -> Value {
    let ending = is_terminating(pod);
    let conditions = json!({
        "ready": is_ready(pod) && !ending, "serving": is_ready(pod), "terminating": ending,
    });
    json!({
        "addresses": [address], "conditions": conditions, "nodeName": NODE_NAME,
        "targetRef": {
            "kind": "Pod", "namespace": text(pod, "/metadata/namespace"),
            "name": text(pod, "/metadata/name"), "uid": text(pod, "/metadata/uid"),
        },
    })
}

/// The Service's ports as numbers of a pod; one that names none of its ports is left out.
fn ports(service: &Value, pod: &Value) -> Value {
    let number_of = |port: &Value| match port.get("targetPort") {
        Some(Value::String(name)) => named_port(pod, name),
        Some(Value::Number(number)) => number.as_u64(),
        _ => Some(number(port, "/port")),
    };
    let ports = list(service, "/spec/ports").filter_map(|port| {
        let protocol = Some(text(port, "/protocol")).filter(|p| !p.is_empty()).unwrap_or("TCP");
        let name = text(port, "/name");
        Some(json!({"name": name, "port": number_of(port)?, "protocol": protocol}))
    });
    ports.collect()
}

fn named_port(pod: &Value, name: &str) -> Option<u64> {
    let ports = list(pod, "/spec/containers").flat_map(|container| list(container, "/ports"));
    let found =
        ports.filter(|port| text(port, "/name") == name).find_map(|p| p.get("containerPort"));
    found.and_then(Value::as_u64)
}
