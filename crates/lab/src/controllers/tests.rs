//! The controllers against a world that does what they want.

use serde_json::{Value, json};

use super::*;
use crate::world::{list, number};

/// An API server in miniature: makes names, uids and revisions, and takes owned objects away.
#[derive(Default)]
struct Server {
    world: World,
    revision: u64,
}

impl Server {
    fn new() -> Self {
        let mut server = Self::default();
        server.put(Kind::Namespace, json!({"metadata": {"name": "default"}}));
        server
    }

    fn put(&mut self, kind: Kind, mut document: Value) {
        self.revision += 1;
        let revision = self.revision;
        let generated = text(&document, "/metadata/generateName").to_owned();
        if !generated.is_empty() && text(&document, "/metadata/name").is_empty() {
            merge(&mut document, &json!({"metadata": {"name": format!("{generated}{revision}")}}));
        }
        let uid = text(&document, "/metadata/uid").to_owned();
        let uid = if uid.is_empty() { format!("uid-{revision}") } else { uid };
        merge(
            &mut document,
            &json!({
                "apiVersion": kind.api_version(), "kind": kind.name(),
                "metadata": {"resourceVersion": revision.to_string(), "uid": uid},
            }),
        );
        self.world.put(kind, document);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Create(kind, document)
            | Action::Replace(kind, document)
            | Action::Status(kind, document) => self.put(kind, document),
            Action::Delete(kind, key, uid) => {
                self.world.remove(kind, &key, &uid);
                if kind == Kind::ReplicaSet {
                    let orphans: Vec<_> = self.world.owned(Kind::Pod, &uid).cloned().collect();
                    for pod in orphans {
                        let (key, uid) = (crate::world::key(&pod), text(&pod, "/metadata/uid"));
                        self.world.remove(Kind::Pod, &key, uid);
                    }
                }
            }
        }
    }

    /// Lets controllers work until they want nothing more.
    fn settle(&mut self) {
        let facts = Facts { now: "2026-01-01T00:00:00Z".into(), v6: true, gateway_port: 4711 };
        for _ in 0..100 {
            let actions = actions(&self.world, &facts);
            if actions.is_empty() {
                return;
            }
            actions.into_iter().for_each(|action| self.perform(action));
        }
        panic!("the controllers never rest: {:?}", actions(&self.world, &facts));
    }

    /// Makes all pods that are bound ready, with an address.
    fn run_pods(&mut self) {
        let pods: Vec<Value> = self.world.documents(Kind::Pod).cloned().collect();
        for (index, mut pod) in pods.into_iter().enumerate() {
            let ready = json!([{"type": "Ready", "status": "True"}]);
            let ip = format!("10.65.0.{}", index + 2);
            let status = json!({"phase": "Running", "conditions": ready, "podIPs": [{"ip": ip}]});
            merge(&mut pod, &json!({ "status": status }));
            self.put(Kind::Pod, pod);
        }
    }

    fn roll_out(&mut self) {
        for _ in 0..20 {
            self.settle();
            self.run_pods();
        }
        self.settle();
    }

    fn names(&self, kind: Kind) -> Vec<&str> {
        self.world.documents(kind).map(|one| text(one, "/metadata/name")).collect()
    }

    fn one(&self, kind: Kind) -> &Value {
        self.world.documents(kind).next().unwrap()
    }
}

fn deployment(replicas: u64, image: &str) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    });
    json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "web", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": template},
    })
}

#[test]
fn a_deployment_becomes_pods_and_follows_its_size() {
    let mut server = Server::new();
    for replicas in [3, 5, 1, 0, 2] {
        server.put(Kind::Deployment, deployment(replicas, "a"));
        server.roll_out();
        assert_eq!(server.names(Kind::Pod).len() as u64, replicas);
        let status = &server.one(Kind::Deployment)["status"];
        assert_eq!(number(status, "/availableReplicas"), replicas, "{status}");
        assert_eq!(server.names(Kind::ReplicaSet).len(), 1);
    }
    let pod = server.one(Kind::Pod);
    let set = server.one(Kind::ReplicaSet);
    assert!(text(pod, "/metadata/name").starts_with(text(set, "/metadata/name")));
    let hash = text(pod, "/metadata/labels/pod-template-hash");
    assert_eq!(text(set, "/metadata/name"), format!("web-{hash}"));
}

#[test]
fn a_pod_that_is_deleted_is_made_again() {
    let mut server = Server::new();
    server.put(Kind::Deployment, deployment(1, "a"));
    server.roll_out();
    let pod = server.one(Kind::Pod).clone();
    server.perform(super::replicas::delete(&pod));
    server.roll_out();
    let again = server.one(Kind::Pod);
    assert_ne!(text(again, "/metadata/uid"), text(&pod, "/metadata/uid"));
}

#[test]
fn a_new_template_replaces_pods_without_taking_all_at_once() {
    let mut server = Server::new();
    server.put(Kind::Deployment, deployment(4, "a"));
    server.roll_out();
    server.put(Kind::Deployment, deployment(4, "b"));
    let mut steps = 0;
    loop {
        server.settle();
        let pods: Vec<&Value> = server.world.documents(Kind::Pod).collect();
        let ready = pods.iter().filter(|pod| super::replicas::is_ready(pod)).count();
        assert!((3..=5).contains(&pods.len()) && ready >= 3, "{} {ready}", pods.len());
        let new = pods.iter().filter(|pod| text(pod, "/spec/containers/0/image") == "b").count();
        if new == 4 && pods.len() == 4 {
            break;
        }
        server.run_pods();
        steps += 1;
        assert!(steps < 50);
    }
    server.roll_out();
    assert_eq!(server.names(Kind::ReplicaSet).len(), 2, "the old one is kept, for a way back");
    let back = deployment(4, "a");
    server.put(Kind::Deployment, back);
    server.roll_out();
    let images: Vec<_> =
        server.world.documents(Kind::Pod).map(|p| text(p, "/spec/containers/0/image")).collect();
    assert_eq!(images, ["a"; 4]);
    assert_eq!(server.names(Kind::ReplicaSet).len(), 2);
}

#[test]
fn recreate_leaves_no_two_templates_side_by_side() {
    let mut server = Server::new();
    let of = |image: &str| {
        let mut deployment = deployment(2, image);
        merge(&mut deployment, &json!({"spec": {"strategy": {"type": "Recreate"}}}));
        deployment
    };
    server.put(Kind::Deployment, of("a"));
    server.roll_out();
    server.put(Kind::Deployment, of("b"));
    for _ in 0..20 {
        server.settle();
        let mut images: Vec<_> = server
            .world
            .documents(Kind::Pod)
            .map(|p| text(p, "/spec/containers/0/image"))
            .collect();
        images.dedup();
        assert!(images.len() <= 1, "{images:?}");
        server.run_pods();
    }
    assert_eq!(text(server.one(Kind::Pod), "/spec/containers/0/image"), "b");
    assert_eq!(server.names(Kind::Pod).len(), 2);
}

#[test]
fn sidecars_come_with_the_node() {
    let mut server = Server::new();
    let pod = |name: &str| {
        json!({"metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "a"}]}})
    };
    server.put(Kind::Pod, pod("before"));
    server.settle();
    let labels = json!({"metadata": {"name": "default", "labels": {"istio-injection": "enabled"}}});
    server.put(Kind::Namespace, labels);
    server.put(Kind::Pod, pod("after"));
    let mut refusing = pod("refusing");
    merge(
        &mut refusing,
        &json!({"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}}),
    );
    server.put(Kind::Pod, refusing);
    server.settle();
    for (name, containers) in [("before", 1), ("after", 2), ("refusing", 1)] {
        let found = &server.world.get(Kind::Pod, "default", name).unwrap().raw;
        assert_eq!(text(found, "/spec/nodeName"), "node");
        assert_eq!(list(found, "/spec/containers").count(), containers, "{name}");
        // What policy makes of it agrees, now that the namespace asks for sidecars.
        let (_, pod) = server.world.pods().find(|(_, pod)| pod.metadata.name == name).unwrap();
        assert_eq!(tortie_policy::has_sidecar(pod, true), containers == 2, "{name}");
    }
}

#[test]
fn services_get_addresses_and_slices() {
    let mut server = Server::new();
    let service = |name: &str, fields: Value| {
        let mut spec = json!({"selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]});
        merge(&mut spec, &fields);
        json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    };
    server.put(Kind::Service, service("one", json!({})));
    server.put(Kind::Service, service("dual", json!({"ipFamilyPolicy": "RequireDualStack"})));
    server.put(Kind::Service, service("headless", json!({"clusterIP": "None"})));
    server.put(Kind::Deployment, deployment(2, "a"));
    server.roll_out();
    let ips = |name: &str| {
        server.world.get(Kind::Service, "default", name).unwrap().raw["spec"]["clusterIPs"].clone()
    };
    assert_eq!(ips("one"), json!(["10.96.0.1"]));
    assert_eq!(ips("dual"), json!(["10.96.0.2", "fd00:96::2"]));
    assert_eq!(ips("headless"), Value::Null);
    let slices: Vec<&Value> = server.world.documents(Kind::EndpointSlice).collect();
    assert_eq!(slices.len(), 3, "{slices:?}");
    let of_one = slices.iter().find(|s| text(s, "/metadata/name").starts_with("one-")).unwrap();
    assert_eq!(list(of_one, "/endpoints").count(), 2);
    assert_eq!(number(of_one, "/ports/0/port"), 8080);
    assert_eq!(of_one["metadata"]["labels"]["kubernetes.io/service-name"], "one");
    let gone = server.world.get(Kind::Service, "default", "one").unwrap().raw.clone();
    let uid = text(&gone, "/metadata/uid").to_owned();
    server.perform(Action::Delete(Kind::Service, crate::world::key(&gone), uid));
    server.settle();
    assert_eq!(server.names(Kind::EndpointSlice).len(), 2, "what is nobody's goes");
}

#[test]
fn the_ingress_gateway_is_there_while_there_is_a_gateway() {
    let mut server = Server::new();
    let gateway = json!({"metadata": {"name": "g", "namespace": "default", "uid": "g"},
        "spec": {"servers": [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}]}});
    server.put(Kind::Gateway, gateway);
    server.roll_out();
    let service =
        &server.world.get(Kind::Service, "istio-system", "istio-ingressgateway").unwrap().raw;
    assert_eq!(number(service, "/spec/ports/0/port"), 4711);
    assert_eq!(text(service, "/spec/ports/0/name"), "http2");
    assert_eq!(text(service, "/status/loadBalancer/ingress/0/ip"), "127.0.0.1");
    assert_eq!(server.names(Kind::Pod).len(), 1);
    let key = ("default".to_owned(), "g".to_owned());
    server.perform(Action::Delete(Kind::Gateway, key, "g".to_owned()));
    server.settle();
    assert!(server.names(Kind::Service).is_empty() && server.names(Kind::Deployment).is_empty());
}

#[test]
fn other_kinds_that_stand_for_pods() {
    let mut server = Server::new();
    let of = |spec: Value| {
        let mut spec = spec;
        let template = json!({"metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "a"}]}});
        merge(&mut spec, &json!({"template": template}));
        spec
    };
    let named = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": of(spec)});
    server.put(Kind::StatefulSet, named("db", json!({"replicas": 2})));
    server.put(Kind::DaemonSet, named("agent", json!({})));
    server.put(Kind::Job, named("once", json!({"parallelism": 2})));
    server.roll_out();
    let names = server.names(Kind::Pod);
    assert!(names.contains(&"db-0") && names.contains(&"db-1"), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("agent-")).count(), 1);
    assert_eq!(names.iter().filter(|name| name.starts_with("once-")).count(), 2);
    let pods: Vec<Value> = server.world.owned(Kind::Pod, "once").cloned().collect();
    for mut pod in pods {
        merge(&mut pod, &json!({"status": {"phase": "Succeeded"}}));
        server.put(Kind::Pod, pod);
    }
    server.settle();
    let job = &server.world.get(Kind::Job, "default", "once").unwrap().raw;
    assert_eq!(text(job, "/status/conditions/0/type"), "Complete", "{job}");
    assert_eq!(number(job, "/status/active"), 0);
    server.put(Kind::StatefulSet, named("db", json!({"replicas": 1})));
    server.settle();
    assert!(!server.names(Kind::Pod).contains(&"db-1"));
}
