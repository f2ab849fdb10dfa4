//! Our own client against our own server: what the agent, the lab and the command line build on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code"
)]

mod common;

use std::time::Duration;

use serde_json::{Value, json};
use tortie_client::server::{
    ApiKind, Delete, Event, Follow, Pace, Patch, Place, Select, Server, Write,
};

use common::Cluster;

/// Ten times what anything here should take.
const DEADLINE: Duration = Duration::from_secs(20);

async fn connected(cluster: &Cluster) -> Server {
    let server = Some(format!("http://{}", cluster.address));
    Server::connect(&Place { server, ..Place::default() }).await.unwrap()
}

async fn kind(server: &Server, name: &str) -> ApiKind {
    server.kinds().await.unwrap().find(name).unwrap_or_else(|| panic!("no {name}")).kind.clone()
}

fn run<F: Future>(test: impl FnOnce(Server) -> F) -> F::Output {
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test(connected(&cluster).await).await })
}

fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"value": value},
    })
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The next event, in few words.
async fn told(follow: &mut Follow) -> String {
    match tokio::time::timeout(DEADLINE, follow.next()).await.unwrap() {
        Event::Put { object, .. } => format!("put {} {}", name(&object), object["data"]["value"]),
        Event::Gone { object, .. } => format!("gone {}", name(&object)),
        Event::InSync => "in sync".to_owned(),
        Event::Away { .. } => "away".to_owned(),
        Event::Back => "back".to_owned(),
        Event::Missing { kind } => format!("missing {}", kind.plural),
        Event::Found { kind } => format!("found {}", kind.plural),
        other => format!("{other:?}"),
    }
}

#[test]
fn kinds_are_found_by_their_names() {
    run(|server| async move {
        let kinds = server.kinds().await.unwrap();
        for (name, kind, group, namespaced) in [
            ("po", "Pod", "", true),
            ("Namespaces", "Namespace", "", false),
            ("deploy", "Deployment", "apps", true),
            ("gnp", "GlobalNetworkPolicy", "projectcalico.org", false),
            ("networkpolicy.projectcalico.org", "NetworkPolicy", "projectcalico.org", true),
            ("networkpolicies.networking.k8s.io", "NetworkPolicy", "networking.k8s.io", true),
        ] {
            let found = &kinds.find(name).unwrap_or_else(|| panic!("no {name}")).kind;
            let found = (found.kind.as_str(), found.group.as_str(), found.namespaced);
            assert_eq!(found, (kind, group, namespaced), "{name}");
        }
        let pods = kinds.find("pods").unwrap();
        assert!(pods.verbs.iter().any(|verb| verb == "watch"), "{pods:?}");
    });
}

#[test]
fn objects_are_written_and_read() {
    run(|server| async move {
        let kind = kind(&server, "configmap").await;
        let ns = Some("default");
        let plain = Write::default();
        let pretend = Write { dry_run: true, ..Write::default() };
        server.create(&kind, ns, &config_map("a", "0"), &pretend).await.unwrap();
        assert!(server.get(&kind, ns, "a").await.unwrap_err().is_not_found());
        let made = server.create(&kind, ns, &config_map("a", "1"), &plain).await.unwrap();
        let again = server.create(&kind, ns, &config_map("a", "1"), &plain).await.unwrap_err();
        assert!(again.is_already_there(), "{again}");
        let patch = Patch::Merge(json!({"data": {"value": "2"}}));
        let patched = server.patch(&kind, ns, "a", &patch, &plain).await.unwrap();
        assert_eq!(patched["data"]["value"], "2");
        let stale = server.replace(&kind, ns, "a", &made, &plain).await.unwrap_err();
        assert!(stale.is_conflict(), "{stale}");
        server.replace(&kind, ns, "a", &patched, &plain).await.unwrap();
        for number in 0..600 {
            let object = config_map(&format!("n-{number}"), "x");
            server.create(&kind, ns, &object, &plain).await.unwrap();
        }
        let fields = "metadata.name!=a".to_owned();
        let select = Select { fields, ..Select::default() };
        let list = server.list(&kind, ns, &select).await.unwrap();
        assert_eq!(list.items.len(), 600);
        assert_eq!(list.items[0]["kind"], "ConfigMap");
        let wrong = Delete { uid: Some("another".to_owned()), ..Delete::default() };
        assert!(server.delete(&kind, ns, "a", &wrong).await.unwrap_err().is_conflict());
        server.delete(&kind, ns, "a", &Delete::default()).await.unwrap();
        assert!(server.get(&kind, ns, "a").await.unwrap_err().is_not_found());
    });
}

#[test]
fn refusals_say_which_field() {
    run(|server| async move {
        let kind = kind(&server, "globalnetworkset").await;
        let set = json!({
            "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
            "metadata": {"name": "x"}, "spec": {"nets": ["nonsense"]},
        });
        let error = server.create(&kind, None, &set, &Write::default()).await.unwrap_err();
        let status = error.status().unwrap();
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
        assert_eq!(status.causes[0].field, "spec.nets[0]");
    });
}

#[test]
fn a_kind_is_followed() {
    run(|server| async move {
        let kind = kind(&server, "configmap").await;
        let (ns, plain) = (Some("default"), Write::default());
        server.create(&kind, ns, &config_map("a", "1"), &plain).await.unwrap();
        let missing = ApiKind { plural: "nothings".to_owned(), ..kind.clone() };
        let mut follow = server.follow([kind.clone()]);
        assert_eq!(told(&mut follow).await, "put a \"1\"");
        assert_eq!(told(&mut follow).await, "in sync");
        server.create(&kind, ns, &config_map("b", "1"), &plain).await.unwrap();
        assert_eq!(told(&mut follow).await, "put b \"1\"");
        let patch = Patch::Merge(json!({"data": {"value": "2"}}));
        server.patch(&kind, ns, "a", &patch, &plain).await.unwrap();
        assert_eq!(told(&mut follow).await, "put a \"2\"");
        server.delete(&kind, ns, "a", &Delete::default()).await.unwrap();
        assert_eq!(told(&mut follow).await, "gone a");
        let mut follow = server.follow([missing]);
        assert_eq!(told(&mut follow).await, "missing nothings");
        assert_eq!(told(&mut follow).await, "in sync");
    });
}

#[test]
fn a_kind_that_comes_later_is_found() {
    run(|server| async move {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "toys.example.org"},
            "spec": {
                "group": "example.org", "scope": "Namespaced",
                "names": {"plural": "toys", "singular": "toy", "kind": "Toy"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        });
        let toys = ApiKind {
            group: "example.org".to_owned(),
            version: "v1".to_owned(),
            kind: "Toy".to_owned(),
            plural: "toys".to_owned(),
            namespaced: true,
        };
        let pace = Pace { missing: Duration::from_millis(20), ..Pace::default() };
        let mut follow = server.follow_at([toys.clone()], pace);
        assert_eq!(told(&mut follow).await, "missing toys");
        assert_eq!(told(&mut follow).await, "in sync");
        let definitions = kind(&server, "crd").await;
        server.create(&definitions, None, &definition, &Write::default()).await.unwrap();
        assert_eq!(told(&mut follow).await, "found toys");
        let mut toy = config_map("a", "1");
        toy["apiVersion"] = "example.org/v1".into();
        toy["kind"] = "Toy".into();
        server.create(&toys, Some("default"), &toy, &Write::default()).await.unwrap();
        assert_eq!(told(&mut follow).await, "put a \"1\"");
    });
}

/// Who does not take events makes the server end the watch, and gets the differences later.
#[test]
fn a_slow_follower_comes_to_the_same_end() {
    run(|server| async move {
        let kind = kind(&server, "configmap").await;
        let (ns, plain) = (Some("default"), Write::default());
        let mut follow = server.follow([kind.clone()]);
        assert_eq!(told(&mut follow).await, "in sync");
        let long = "x".repeat(20_000);
        for number in 0..3000 {
            let object = config_map(&format!("n-{}", number % 10), &format!("{number} {long}"));
            let name = name(&object).to_owned();
            if number < 10 {
                server.create(&kind, ns, &object, &plain).await.unwrap();
            } else {
                server.replace(&kind, ns, &name, &object, &plain).await.unwrap();
            }
        }
        server.delete(&kind, ns, "n-0", &Delete::default()).await.unwrap();
        let want = server.list(&kind, ns, &Select::default()).await.unwrap().items;
        let mut have = std::collections::BTreeMap::new();
        while have.values().ne(&want) {
            match tokio::time::timeout(DEADLINE, follow.next()).await.unwrap() {
                Event::Put { object, .. } => drop(have.insert(name(&object).to_owned(), object)),
                Event::Gone { object, .. } => drop(have.remove(name(&object)).unwrap()),
                _ => {}
            }
        }
    });
}
