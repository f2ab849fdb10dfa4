//! The ingress gateway: as long as there is a Gateway, there are a Deployment and a Service for it, as
//! an installation of Istio has them.

use serde_json::{Value, json};

use super::{Action, Facts, document, ensure, status};
use crate::plan::{GATEWAY_ACCOUNT, GATEWAY_LABELS, GATEWAY_NAME, GATEWAY_NAMESPACE, images};
use crate::world::{Kind, World, is_terminating, key, list, number, text};

/// The label of what the lab has made.
const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "tortie-lab");

pub(super) fn actions(world: &World, facts: &Facts) -> Vec<Action> {
    let ports = ports(world);
    if ports.is_empty() {
        return removal(world);
    }
    if !world.namespaces().contains(GATEWAY_NAMESPACE) {
        let metadata = json!({"name": GATEWAY_NAMESPACE, "labels": {OURS.0: OURS.1}});
        return vec![Action::Create(
            Kind::Namespace,
            document(Kind::Namespace, metadata, json!({})),
        )];
    }
    let account = document(Kind::ServiceAccount, metadata(GATEWAY_ACCOUNT), json!({}));
    let wanted = [
        (Kind::ServiceAccount, account),
        (Kind::Deployment, deployment(&ports)),
        (Kind::Service, service(&ports, facts.gateway_port)),
    ];
    let changes = wanted.into_iter().filter_map(|(kind, one)| ensure(world, kind, one));
    changes.chain(address(world)).collect()
}

/// The ports that Gateways ask for, ascending.
fn ports(world: &World) -> Vec<u64> {
    let gateways = world.documents(Kind::Gateway).filter(|gateway| !is_terminating(gateway));
    let servers = gateways.flat_map(|gateway| list(gateway, "/spec/servers"));
    let mut ports: Vec<u64> = servers.map(|server| number(server, "/port/number")).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.retain(|port| (1..=65_535).contains(port));
    ports
}

fn labels() -> Value {
    GATEWAY_LABELS.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect()
}

fn metadata(name: &str) -> Value {
    let mut labels = labels();
    super::merge(&mut labels, &json!({OURS.0: OURS.1}));
    json!({"name": name, "namespace": GATEWAY_NAMESPACE, "labels": labels})
}

fn deployment(ports: &[u64]) -> Value {
    let ports: Vec<Value> =
        ports.iter().map(|port| json!({"containerPort": port, "protocol": "TCP"})).collect();
    let container = json!({"name": "istio-proxy", "image": images::GATEWAY, "ports": ports});
    let template = json!({
        "metadata": {"labels": labels()},
        "spec": {"serviceAccountName": GATEWAY_ACCOUNT, "containers": [container]},
    });
    let spec = json!({"selector": {"matchLabels": labels()}, "template": template});
    document(Kind::Deployment, metadata(GATEWAY_NAME), json!({ "spec": spec }))
}

/// The lowest port is the one that can be reached from outside: there the Service has the port of
/// this machine that leads to it, so that its address and port, as one asks for them, are good.
fn service(ports: &[u64], outside: u16) -> Value {
    let port = |(index, port): (usize, &u64)| match index {
        0 => json!({"name": "http2", "port": outside, "targetPort": port, "protocol": "TCP"}),
        _ => {
            json!({"name": format!("http-{port}"), "port": port, "targetPort": port, "protocol": "TCP"})
        }
    };
    let ports: Vec<Value> = ports.iter().enumerate().map(port).collect();
    let spec = json!({"type": "LoadBalancer", "selector": labels(), "ports": ports});
    document(Kind::Service, metadata(GATEWAY_NAME), json!({ "spec": spec }))
}

/// Says where the Service can be reached from this machine.
fn address(world: &World) -> Option<Action> {
    let service = world.get(Kind::Service, GATEWAY_NAMESPACE, GATEWAY_NAME)?;
    let found = json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "ipMode": "Proxy"}]}});
    status(Kind::Service, &service.raw, found)
}

fn removal(world: &World) -> Vec<Action> {
    let of = |kind, name: &str| {
        let found = &world.get(kind, GATEWAY_NAMESPACE, name)?.raw;
        let labels = found.pointer("/metadata/labels")?;
        let ours = labels.get(OURS.0) == Some(&OURS.1.into()) && !is_terminating(found);
        ours.then(|| Action::Delete(kind, key(found), text(found, "/metadata/uid").to_owned()))
    };
    [(Kind::Deployment, GATEWAY_NAME), (Kind::Service, GATEWAY_NAME)]
        .into_iter()
        .filter_map(|(kind, name)| of(kind, name))
        .collect()
}
