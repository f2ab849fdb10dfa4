//! The board's JSON, from a small cluster.

use serde_json::{Value, json};
use tortie_client::server::ApiKind;
use tortie_model::Resource;
use tortie_policy::{Cluster, Compat};

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
    for object in all {
        assert!(documents.put(&kind(object), object.clone()), "{object}");
    }
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
    shown(&mut documents(all))
}

fn shown(documents: &mut Documents) -> Value {
    serde_json::to_value(Board::of(documents)).unwrap()
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
    let board = shown(&mut documents);
    assert_eq!(board["tiers"].as_array().unwrap().len(), 3);
    assert_eq!((&board["problems"], &board["nodes"]), (&json!([]), &json!([])));
}

#[test]
fn what_bears_on_nothing_is_no_change() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}});
    let mut documents = documents(std::slice::from_ref(&node));
    let mut beat = node.clone();
    beat["metadata"]["resourceVersion"] = "7".into();
    beat["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    assert!(!documents.put(&kind(&beat), beat));
    let mut moved = node.clone();
    moved["status"] = json!({"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]});
    assert!(documents.put(&kind(&moved), moved));
}

/// Documents of which each may be there, and what else may be there in its place.
fn changing() -> Vec<Vec<Value>> {
    let labelled = |kind: &str, namespace: Option<&str>, name: &str, labels: Value| {
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    };
    let compat = |points: Value| {
        let metadata = json!({"name": "default"});
        let spec = json!({"compat": points});
        json!({
            "apiVersion": "tortie.dev/v1", "kind": "TortieConfiguration",
            "metadata": metadata, "spec": spec,
        })
    };
    let policy = |name: &str, selector: &str| {
        calico("NetworkPolicy", Some("shop"), name, json!({"selector": selector}))
    };
    let global = |spec: Value| calico("GlobalNetworkPolicy", None, "global", spec);
    let host = |app: &str| {
        let mut host = calico("HostEndpoint", None, "host", json!({"node": "one"}));
        host["spec"]["interfaceName"] = "*".into();
        host["metadata"]["labels"] = json!({"app": app});
        host
    };
    let mut changing: Vec<Vec<Value>> = shop().into_iter().map(|object| vec![object]).collect();
    changing.extend([
        vec![
            labelled("Namespace", None, "shop", json!({"stage": "test"})),
            labelled("Namespace", None, "shop", json!({"stage": "live"})),
        ],
        vec![labelled("ServiceAccount", Some("shop"), "default", json!({"team": "a"}))],
        vec![compat(json!(["invalid-policy-vanishes"])), compat(json!(["reserved-labels"]))],
        vec![policy("changing", "app == 'web'"), policy("changing", "app == 'db'")],
        vec![
            global(json!({"namespaceSelector": "stage == 'live'"})),
            global(json!({"serviceAccountSelector": "team == 'a'", "order": 1})),
            global(json!({"ordre": 1})),
        ],
        vec![host("web"), host("db")],
        vec![
            pod("bare", "changing", "web", "Running"),
            pod("bare", "changing", "db", "Running"),
            pod("bare", "changing", "web", "Failed"),
        ],
    ]);
    changing.extend((0..40).map(|number| {
        let name = format!("more-{number}");
        vec![pod("shop", &name, "web", "Running"), pod("shop", &name, "db", "Running")]
    }));
    changing
}

/// How many pods and host endpoints policies select, by the reference.
fn selected(all: &[Value]) -> Vec<(Value, Value, usize, usize)> {
    let decoded: Vec<_> = all.iter().cloned().map(tortie_model::decode).collect();
    let resources: Vec<&Resource> = decoded.iter().flatten().flatten().collect();
    let cluster = Cluster::build_mended(resources, Compat::STRICT);
    let cluster =
        cluster.with_undecodable(decoded.iter().filter_map(|d| d.as_ref().err()).flatten());
    let endpoints = || cluster.endpoints().filter(|endpoint| !endpoint.addresses.is_empty());
    let tiers = cluster.in_order();
    let policies = tiers.iter().flat_map(|tier| &tier.policies);
    let counted = policies.map(|policy| {
        let pods = endpoints().filter(|endpoint| policy.subject.matches(&endpoint.labels)).count();
        let hosts = cluster.hosts().filter(|host| policy.subject.matches(&host.labels)).count();
        (policy.id.kind.as_str().into(), policy.id.name.as_str().into(), pods, hosts)
    });
    counted.collect()
}

/// However documents came to be known: what is shown is what they are now, by the one meaning.
#[test]
fn what_is_shown_is_of_the_current_state() {
    let changing = changing();
    let mut there: Vec<Option<&Value>> = vec![None; changing.len()];
    let mut documents = Documents::default();
    let mut seed: usize = 1;
    for step in 0..300 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let dice = seed >> 33;
        let (which, how) = (dice % changing.len(), dice / changing.len());
        let versions = &changing[which];
        match (versions.get(how % (versions.len() + 1)), there[which]) {
            (Some(object), _) => {
                documents.put(&kind(object), object.clone());
                there[which] = Some(object);
            }
            (None, Some(object)) => {
                documents.remove(&kind(object), object);
                there[which] = None;
            }
            (None, None) => continue,
        }
        if how % 3 > 0 {
            continue;
        }
        let now: Vec<Value> = there.iter().flatten().copied().cloned().collect();
        let shown = shown(&mut documents);
        assert_eq!(shown, board(&now), "step {step}");
        let cards = shown["tiers"].as_array().unwrap().iter();
        let cards = cards.flat_map(|tier| tier["policies"].as_array().unwrap());
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let counted = cards.map(|card| {
            let (pods, hosts) = (number(&card["pods"]), number(&card["hosts"]));
            (card["kind"].clone(), card["name"].clone(), pods, hosts)
        });
        assert_eq!(counted.collect::<Vec<_>>(), selected(&now), "step {step}");
    }
}
