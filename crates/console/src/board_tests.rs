//! The board's JSON, from a small cluster.

use serde_json::{Value, json};
use tortie_client::server::ApiKind;

use super::*;

fn kind(object: &Value) -> ApiKind {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    ApiKind {
        group: group.into(),
        version: version.into(),
        kind: object["kind"].as_str().unwrap().into(),
        plural: String::new(),
        namespaced: object["metadata"]["namespace"].is_string(),
    }
}

fn documents(all: &[Value]) -> Documents {
    let mut documents = Documents::default();
    all.iter().for_each(|object| documents.put(&kind(object), object.clone()));
    documents
}

fn calico(kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

fn pod(namespace: &str, name: &str, app: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
        "spec": {"nodeName": "one", "containers": []},
        "status": {"phase": phase, "podIP": "10.65.0.2", "podIPs": [{"ip": "10.65.0.2"}]},
    })
}

fn shop() -> Vec<Value> {
    let web = || json!({"selector": "app == 'web'", "types": ["Ingress"], "order": 10});
    let mut refused = calico("NetworkPolicy", Some("shop"), "refused", json!({"order": 1}));
    refused["status"] = json!({"conditions": [
        {"type": "Accepted", "status": "False", "reason": "Invalid", "message": "not today"},
    ]});
    vec![
        calico("Tier", None, "security", json!({"order": 100, "defaultAction": "Pass"})),
        calico("NetworkPolicy", Some("shop"), "web", web()),
        calico("StagedNetworkPolicy", Some("shop"), "web", web()),
        calico("NetworkPolicy", Some("shop"), "later", json!({"types": ["Egress"]})),
        calico("GlobalNetworkPolicy", None, "all", json!({"tier": "security"})),
        calico("GlobalNetworkPolicy", None, "lost", json!({"tier": "nowhere", "order": -1.5})),
        calico("NetworkPolicy", Some("shop"), "broken", json!({"selector": "app = x"})),
        calico("NetworkPolicy", Some("bare"), "unreadable", json!({"ordre": 1})),
        calico("StagedNetworkPolicy", Some("bare"), "learning", json!({"ordre": 1})),
        refused,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "empty"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "two"}}),
        pod("shop", "a", "web", "Running"),
        pod("shop", "b", "db", "Running"),
        pod("shop", "c", "web", "Succeeded"),
    ]
}

fn board(all: &[Value]) -> Value {
    serde_json::to_value(Board::of(&documents(all))).unwrap()
}

#[test]
fn tiers_and_policies_are_in_the_order_they_are_asked() {
    let board = board(&shop());
    let named = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().into()).collect()
    };
    let tiers = named(&board["tiers"]);
    let expected =
        ["(unreadable)", "security", "kube-admin", "default", "kube-baseline", "nowhere"];
    assert_eq!(tiers, expected);
    let policies = |tier: usize| named(&board["tiers"][tier]["policies"]);
    assert_eq!(policies(0), ["unreadable"]);
    // A staged policy stands behind its enforced twin.
    assert_eq!(policies(3), ["refused", "web", "web", "broken", "later"]);
    let security = &board["tiers"][1];
    assert_eq!(security["order"], 100.0);
    assert_eq!((&security["defaultAction"], &security["defined"]), (&"Pass".into(), &true.into()));
    assert_eq!(board["tiers"][5]["defined"], false);
    assert_eq!(board["tiers"][5]["policies"][0]["order"], -1.5);
}

#[test]
fn a_policy_says_what_it_is_and_whom_it_selects() {
    let board = board(&shop());
    let default = &board["tiers"][3]["policies"];
    let web = json!({
        "kind": "NetworkPolicy", "namespace": "shop", "name": "web", "order": 10.0,
        "staged": null, "stage": "normal", "types": ["Ingress"], "pods": 1, "hosts": 0,
        "accepted": true, "reason": null,
    });
    assert_eq!(default[1], web);
    assert_eq!((&default[2]["staged"], &default[2]["pods"]), (&"Set".into(), &1.into()));
    assert_eq!((&default[4]["order"], &default[4]["pods"]), (&Value::Null, &2.into()));
    assert_eq!(board["tiers"][1]["policies"][0]["pods"], 2);
}

#[test]
fn what_is_not_in_force_as_written_says_why() {
    let board = board(&shop());
    let (unreadable, default) = (&board["tiers"][0]["policies"], &board["tiers"][3]["policies"]);
    let why = |policy: &Value| policy["reason"].as_str().unwrap_or_default().to_owned();
    assert!(why(&unreadable[0]).contains("spec.ordre"), "{unreadable}");
    assert_eq!(unreadable[0]["accepted"], false);
    assert_eq!(why(&default[0]), "not today");
    assert!(why(&default[3]).contains("spec.selector"), "{default}");
    // What would be staged is not in force anyway, so nothing stands for it.
    let problem = &board["problems"][0];
    assert_eq!(problem["name"], "learning");
    assert_eq!(problem["namespace"], "bare");
    assert!(why(problem).contains("spec.ordre"), "{problem}");
}

#[test]
fn nodes_and_namespaces_have_their_pods() {
    let board = board(&shop());
    assert_eq!(board["nodes"], json!([{"name": "one", "pods": 3}, {"name": "two", "pods": 0}]));
    let namespaces = board["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({"name": "shop", "pods": 3})), "{namespaces:?}");
    assert!(namespaces.contains(&json!({"name": "empty", "pods": 0})), "{namespaces:?}");
}

#[test]
fn what_is_gone_is_not_shown() {
    let all = shop();
    let mut documents = documents(&all);
    all.iter().for_each(|object| documents.remove(&kind(object), object));
    let board = serde_json::to_value(Board::of(&documents)).unwrap();
    assert_eq!(board["tiers"].as_array().unwrap().len(), 3);
    assert_eq!((&board["problems"], &board["nodes"]), (&json!([]), &json!([])));
}
