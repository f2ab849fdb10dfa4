//! What every client may rely on, over each engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::http::Api;
use common::{Cluster, etcd};
use rustix::process::Signal;
use serde_json::{Value, json};
use tortie_apiserver::{Limits, Options};

type Test = fn(Api);

/// What holds over each engine; each in a namespace of its own.
const ALL: [(&str, Test); 9] = [
    ("lists", lists_show_one_state),
    ("watches", watches_tell_every_change),
    ("initial", watches_begin_with_what_there_is),
    ("metadata", metadata_are_the_servers),
    ("deletion", deletion_waits_for_finalizers),
    ("owners", what_is_owned_goes),
    ("orphans", orphans_stay),
    ("status", status_is_written_apart),
    ("fields", fields_select),
];

#[test]
fn in_memory() {
    let cluster = Cluster::start();
    all(cluster.api());
    racing(&[cluster.api(), cluster.api()], 1000);
    namespaces_go_empty(&[cluster.api(), cluster.api()]);
    tiers_go_empty(&[cluster.api(), cluster.api()]);
}

#[test]
fn in_etcd() {
    if !etcd::available() {
        return;
    }
    let server = etcd::Server::start();
    let (one, two) = (Cluster::start_in(&server), Cluster::start_in(&server));
    all(one.api());
    racing(&[one.api(), two.api()], 100);
    namespaces_go_empty(&[one.api(), two.api()]);
    tiers_go_empty(&[one.api(), two.api()]);
    servers_agree(one.api(), two.api());
}

#[test]
fn readiness_is_that_of_the_store() {
    if !etcd::available() {
        return;
    }
    let server = etcd::Server::start();
    let cluster = Cluster::start_in(&server);
    let is = |path: &str| cluster.api().get(path).code;
    assert_eq!(is("/readyz"), 200);
    server.signal(Signal::STOP);
    common::until("etcd stands still", || is("/readyz") == 503);
    assert_eq!(is("/livez"), 200);
    server.signal(Signal::CONT);
    let deadline = std::time::Instant::now() + common::http::DEADLINE;
    while is("/readyz") != 200 {
        assert!(std::time::Instant::now() < deadline, "etcd goes on, and nobody notices");
    }
}

/// What must not do what it was not meant to, or more than it may.
#[test]
fn what_makes_no_sense_is_refused() {
    let cluster = Cluster::start();
    let api = cluster.api();
    const PATH: &str = "/api/v1/namespaces/default/configmaps";
    api.post(PATH, &settings("a", "x")).ok();
    let path = format!("{PATH}/a");
    let copies =
        (0..40).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/k{n}")}));
    let bomb = copies.collect::<Value>().to_string();
    let operations = "application/json-patch+json";
    let apply = "application/apply-patch+yaml";
    let named =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}).to_string();
    let json = "application/json";
    let secret = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"a":"?"}}"#;
    let secrets = "/api/v1/namespaces/default/secrets".to_owned();
    let cases = [
        ("PATCH", path.clone(), operations, bomb.as_str(), 413),
        ("PATCH", format!("{path}?fieldManager=m"), apply, named.as_str(), 400),
        ("PATCH", format!("{path}?fieldManager=m"), apply, "{}", 400),
        ("DELETE", path.clone(), json, r#"{"dryRun":"All"}"#, 400),
        ("DELETE", path.clone(), json, r#"{"preconditions":"x"}"#, 400),
        ("DELETE", path.clone(), json, "[]", 400),
        ("DELETE", "/api/v1/namespaces".to_owned(), json, "", 405),
        ("POST", "/apis".to_owned(), json, "", 405),
        ("POST", secrets, json, secret, 400),
        ("GET", format!("{path}?watch=1"), json, "", 200),
        ("GET", "/api/v1/namespaces/%2e%2e/secrets".to_owned(), json, "", 404),
        ("GET", format!("{PATH}?labelSelector=-a%3Db"), json, "", 400),
    ];
    for (method, path, media, body, code) in cases {
        let answer = api.ask(method, &path, &[("Content-Type", media)], body.as_bytes());
        assert_eq!(answer.code, code, "{method} {path} {}", answer.json());
    }
    // Nobody says how long: not at once.
    let mut watch = api.watch(&format!("{PATH}?watch=1&timeoutSeconds=0"));
    assert_eq!(watch.word(), "ADDED a");
    api.delete(&path).ok();
    assert_eq!(watch.word(), "DELETED a");
    assert!(api.get("/none").json()["details"].is_object(), "kubectl debug looks into it");
}

#[test]
fn watches_say_how_far_they_are() {
    let limits = Limits { bookmarks: Duration::from_millis(100), ..Limits::default() };
    let cluster = Cluster::start_with(Options { limits, ..Options::default() });
    let api = cluster.api();
    const PATH: &str = "/api/v1/namespaces/default/configmaps";
    let start = revision(&api.get(PATH).ok());
    let mut watch =
        api.watch(&format!("{PATH}?watch=1&allowWatchBookmarks=true&resourceVersion={start}"));
    // What happens to others is progress, too.
    let other = api.post("/api/v1/namespaces/default/pods", &pod("other")).ok();
    let mut last = 0;
    while last < revision(&other).parse().unwrap() {
        let (word, object) = watch.next().unwrap();
        assert_eq!((word.as_str(), &object["kind"]), ("BOOKMARK", &json!("ConfigMap")), "{object}");
        let at = revision(&object).parse().unwrap();
        assert!(at >= last, "{at} after {last}");
        last = at;
    }
    let made = api.post(PATH, &settings("a", "1")).ok();
    let (mut word, mut object) = watch.next().unwrap();
    while word == "BOOKMARK" {
        (word, object) = watch.next().unwrap();
    }
    assert_eq!((word.as_str(), revision(&object)), ("ADDED", revision(&made)));
    // Whoever did not ask for it is not told.
    let mut silent = api.watch(&format!("{PATH}?watch=1&resourceVersion={start}"));
    let (word, _) = watch.next().unwrap();
    assert_eq!(word, "BOOKMARK");
    assert_eq!(silent.word(), "ADDED a");
    api.delete(&format!("{PATH}/a")).ok();
    assert_eq!(silent.word(), "DELETED a");
}

fn all(api: Api) {
    for (name, test) in ALL {
        println!("{name}");
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        api.post("/api/v1/namespaces", &namespace).ok();
        test(api);
    }
}

fn settings(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value}})
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    })
}

fn revision(document: &Value) -> String {
    document["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn lists_show_one_state(api: Api) {
    const PATH: &str = "/api/v1/namespaces/lists/configmaps";
    for index in 0..23 {
        api.post(PATH, &settings(&format!("m{index:02}"), "")).ok();
    }
    let first = api.get(&format!("{PATH}?limit=10")).ok();
    let all = api.get(PATH).ok();
    // What happens between the pages is not seen.
    api.post(PATH, &settings("m05a", "")).ok();
    api.post(PATH, &settings("m15a", "")).ok();
    api.delete(&format!("{PATH}/m20")).ok();
    let mut found = names(&first);
    let mut page = first.clone();
    while let Some(token) = page["metadata"]["continue"].as_str() {
        page = api.get(&format!("{PATH}?limit=10&continue={token}")).ok();
        assert_eq!(revision(&page), revision(&first));
        found.extend(names(&page));
    }
    assert_eq!(found, names(&all));
    assert_eq!(names(&api.get(PATH).ok()).len(), 24);
    let exact = format!("{PATH}?resourceVersionMatch=Exact&resourceVersion={}", revision(&first));
    assert_eq!(names(&api.get(&exact).ok()), names(&all));
    assert_eq!(names(&api.get(&format!("{PATH}?resourceVersion=0")).ok()).len(), 24);
    let future = api.get(&format!("{PATH}?resourceVersion=99999999"));
    assert_eq!((future.code, future.json()["reason"].as_str()), (504, Some("Timeout")));
}

fn watches_tell_every_change(api: Api) {
    const PATH: &str = "/api/v1/namespaces/watches/configmaps";
    let start = revision(&api.get(PATH).ok());
    let made = api.post(PATH, &settings("a", "1")).ok();
    let changed = api.merge(&format!("{PATH}/a"), &json!({"data": {"v": "2"}})).ok();
    let labels = json!({"metadata": {"labels": {"on": "yes"}}});
    let on = api.merge(&format!("{PATH}/a"), &labels).ok();
    let off = api.merge(&format!("{PATH}/a"), &json!({"metadata": {"labels": null}})).ok();
    api.post(PATH, &settings("b", "1")).ok();
    api.delete(&format!("{PATH}/a")).ok();

    let mut watch = api.watch(&format!("{PATH}?watch=1&resourceVersion={start}"));
    for (word, document) in
        [("ADDED", &made), ("MODIFIED", &changed), ("MODIFIED", &on), ("MODIFIED", &off)]
    {
        assert_eq!(watch.next().unwrap(), (word.to_owned(), document.clone()));
    }
    assert_eq!(watch.word(), "ADDED b");
    let (word, gone) = watch.next().unwrap();
    assert_eq!((word.as_str(), gone["metadata"]["name"].as_str()), ("DELETED", Some("a")));
    assert_ne!(revision(&gone), revision(&off));

    // Exactly from a revision on, and as selectors see it.
    let mut later = api.watch(&format!("{PATH}?watch=1&resourceVersion={}", revision(&changed)));
    assert_eq!(later.next().unwrap(), ("MODIFIED".to_owned(), on.clone()));
    let mut selected =
        api.watch(&format!("{PATH}?watch=1&labelSelector=on&resourceVersion={start}"));
    assert_eq!([selected.word(), selected.word()], ["ADDED a", "DELETED a"]);
    // A watch goes on with what happens now, and ends when it was said to.
    api.post(PATH, &settings("c", "1")).ok();
    assert_eq!(watch.word(), "ADDED c");
    let mut short = api.watch(&format!("{PATH}?watch=1&timeoutSeconds=1"));
    assert_eq!([short.word(), short.word()], ["ADDED b", "ADDED c"]);
    assert_eq!(short.next(), None);
}

fn watches_begin_with_what_there_is(api: Api) {
    const PATH: &str = "/api/v1/namespaces/initial/secrets";
    let secret =
        |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    api.post(PATH, &secret("a")).ok();
    api.post(PATH, &secret("b")).ok();
    let mut any = api.watch(&format!("{PATH}?watch=1&resourceVersion=0"));
    let streaming =
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut initial = api.watch(&format!("{PATH}?{streaming}"));
    assert_eq!([any.word(), any.word()], ["ADDED a", "ADDED b"]);
    assert_eq!([initial.word(), initial.word()], ["ADDED a", "ADDED b"]);
    let (word, mark) = initial.next().unwrap();
    assert_eq!(word, "BOOKMARK");
    assert_eq!(mark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let after = revision(&mark);
    api.post(PATH, &secret("c")).ok();
    let mut from = api.watch(&format!("{PATH}?watch=1&resourceVersion={after}"));
    for watch in [&mut any, &mut initial, &mut from] {
        assert_eq!(watch.word(), "ADDED c");
    }
}

fn metadata_are_the_servers(api: Api) {
    const PATH: &str = "/apis/apps/v1/namespaces/metadata/deployments";
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"generateName": "web-", "uid": "mine", "generation": 7},
        "spec": {"template": {"spec": {"containers": []}}},
    });
    let (one, two) = (api.post(PATH, &deployment).ok(), api.post(PATH, &deployment).ok());
    let name = one["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9 && two["metadata"]["name"] != name);
    assert!(one["metadata"]["uid"] != "mine" && one["metadata"]["generation"] == 1);
    let path = format!("{PATH}/{name}");
    let labelled = api.merge(&path, &json!({"metadata": {"labels": {"a": "b"}}})).ok();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let scaled =
        api.merge(&path, &json!({"spec": {"replicas": 3}, "metadata": {"uid": null}})).ok();
    assert_eq!(scaled["metadata"]["generation"], 2);
    assert_eq!(scaled["metadata"]["uid"], one["metadata"]["uid"]);
    assert_eq!(api.put(&path, &labelled).code, 409);
    // Nothing changed: nothing is written.
    assert_eq!(revision(&api.put(&path, &scaled).ok()), revision(&scaled));
    let dry = api.merge(&format!("{path}?dryRun=All"), &json!({"spec": {"replicas": 4}})).ok();
    assert_eq!((&dry["spec"]["replicas"], &dry["metadata"]["generation"]), (&json!(4), &json!(3)));
    assert_eq!(api.get(&path).ok()["spec"]["replicas"], 3);
}

fn deletion_waits_for_finalizers(api: Api) {
    const PATH: &str = "/api/v1/namespaces/deletion/configmaps";
    let mut held = settings("held", "");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.post(PATH, &held).ok();
    let path = format!("{PATH}/held");
    assert!(api.delete(&path).ok()["metadata"]["deletionTimestamp"].is_string());
    assert!(api.get(&path).ok()["metadata"]["deletionTimestamp"].is_string());
    api.merge(&path, &json!({"metadata": {"finalizers": null}})).ok();
    assert_eq!(api.get(&path).code, 404);
    // Preconditions, and all of a selection.
    let made = api.post(PATH, &settings("x", "")).ok();
    let wrong = json!({"preconditions": {"uid": "other"}}).to_string();
    let json = [("Content-Type", "application/json")];
    let options = |body: &str| api.ask("DELETE", &format!("{PATH}/x"), &json, body.as_bytes());
    assert_eq!(options(&wrong).code, 409);
    let right = json!({"preconditions": {"uid": made["metadata"]["uid"]}}).to_string();
    options(&right).ok();
    let mut on = settings("on", "");
    on["metadata"]["labels"] = json!({"on": "yes"});
    api.post(PATH, &on).ok();
    api.post(PATH, &settings("off", "")).ok();
    api.delete(&format!("{PATH}?labelSelector=on")).ok();
    assert_eq!(names(&api.get(PATH).ok()), ["off"]);
}

fn what_is_owned_goes(api: Api) {
    const PATH: &str = "/api/v1/namespaces/owners/configmaps";
    let owner = api.post(PATH, &settings("owner", "")).ok();
    let reference = |owner: &Value| {
        let uid = &owner["metadata"]["uid"];
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": uid}])
    };
    let mut child = settings("child", "");
    child["metadata"]["ownerReferences"] = reference(&owner);
    let child = api.post(PATH, &child).ok();
    let mut grandchild = settings("grandchild", "");
    grandchild["metadata"]["ownerReferences"] = reference(&child);
    let grandchild = api.post(PATH, &grandchild).ok();
    let mut watch = api.watch(&format!("{PATH}?watch=1&resourceVersion={}", revision(&grandchild)));
    api.delete(&format!("{PATH}/owner")).ok();
    let gone = ["DELETED owner", "DELETED child", "DELETED grandchild"];
    assert_eq!([watch.word(), watch.word(), watch.word()], gone);
    let owner = api.post(PATH, &settings("owner", "")).ok();
    let mut child = settings("child", "");
    child["metadata"]["ownerReferences"] = reference(&owner);
    let made = api.post(PATH, &child).ok();
    let mut watch = api.watch(&format!("{PATH}?watch=1&resourceVersion={}", revision(&made)));
    api.delete(&format!("{PATH}/owner?propagationPolicy=Orphan")).ok();
    let mut seen = [watch.word(), watch.word()];
    seen.sort();
    assert_eq!(seen, ["DELETED owner", "MODIFIED child"]);
}

/// However often others change what is to stay.
fn orphans_stay(api: Api) {
    const PATH: &str = "/api/v1/namespaces/orphans/configmaps";
    for round in 0..5 {
        let owner = api.post(PATH, &settings("owner", "")).ok();
        let mut child = settings(&format!("child-{round}"), "");
        let uid = &owner["metadata"]["uid"];
        let reference =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
        child["metadata"]["ownerReferences"] = json!([reference]);
        api.post(PATH, &child).ok();
        let path = format!("{PATH}/child-{round}");
        let deleted = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0.. {
                    let label = json!({"metadata": {"labels": {"n": number.to_string()}}});
                    api.merge(&path, &label).ok();
                    if deleted.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
            api.delete(&format!("{PATH}/owner?propagationPolicy=Orphan")).ok();
            deleted.store(true, Ordering::SeqCst);
        });
        let child = api.get(&path).ok();
        assert_eq!(child["metadata"]["ownerReferences"], json!([]));
    }
}

fn status_is_written_apart(api: Api) {
    const PATH: &str = "/api/v1/namespaces/status/pods/p";
    let mut new = pod("p");
    new["status"] = json!({"phase": "Running"});
    let made = api.post("/api/v1/namespaces/status/pods", &new).ok();
    assert_eq!(made["status"]["phase"], "Pending");
    let mut other = made.clone();
    other["status"] = json!({"phase": "Running", "podIP": "10.0.0.1"});
    other["spec"]["nodeName"] = json!("n");
    let after = api.put(&format!("{PATH}/status"), &other).ok();
    assert_eq!(
        (&after["status"]["podIP"], &after["spec"]["nodeName"]),
        (&json!("10.0.0.1"), &Value::Null)
    );
    assert_eq!(after["metadata"]["generation"], 1);
    other["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
    other["status"] = Value::Null;
    let after = api.put(PATH, &other).ok();
    assert_eq!(
        (&after["status"]["phase"], &after["spec"]["nodeName"]),
        (&json!("Running"), &json!("n"))
    );
    let patch = json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}});
    let after = api.merge(&format!("{PATH}/status"), &patch).ok();
    assert_eq!(
        (&after["status"]["phase"], &after["metadata"]["labels"]),
        (&json!("Failed"), &Value::Null)
    );
}

fn fields_select(api: Api) {
    let place = |plural: &str| format!("/api/v1/namespaces/fields/{plural}");
    for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "")] {
        let mut new = pod(name);
        new["spec"]["nodeName"] = json!(node);
        api.post(&place("pods"), &new).ok();
    }
    api.merge(&format!("{}/b/status", place("pods")), &json!({"status": {"phase": "Running"}}))
        .ok();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "example.com/x", "metadata": {"name": "s"},
    });
    api.post(&place("secrets"), &secret).ok();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "a", "namespace": "fields"}, "reason": "Started",
    });
    api.post(&place("events"), &event).ok();
    let cases: [(&str, &str, &[&str]); 10] = [
        ("pods", "metadata.name=a", &["a"]),
        ("pods", "metadata.name!=a", &["b", "c"]),
        ("pods", "metadata.namespace=fields,spec.nodeName=n2", &["b"]),
        ("pods", "spec.nodeName=", &["c"]),
        ("pods", "status.phase=Running", &["b"]),
        ("pods", "status.phase!=Running,spec.nodeName!=n1", &["c"]),
        ("secrets", "type=example.com/x", &["s"]),
        ("secrets", "type=Opaque", &[]),
        ("events", "involvedObject.name=a,involvedObject.kind=Pod,reason=Started", &["e"]),
        ("events", "involvedObject.name=b", &[]),
    ];
    for (plural, selector, expected) in cases {
        let escaped = selector.replace('=', "%3D").replace(',', "%2C").replace('!', "%21");
        let found = api.get(&format!("{}?fieldSelector={escaped}", place(plural))).ok();
        assert_eq!(names(&found), expected, "{selector}");
    }
    let mut watch =
        api.watch(&format!("{}?watch=1&fieldSelector=spec.nodeName%3Dn3", place("pods")));
    api.merge(&format!("{}/c", place("pods")), &json!({"spec": {"nodeName": "n3"}})).ok();
    assert_eq!(watch.word(), "ADDED c");
}

/// Two writers who say which state they have seen: one wins each round.
fn racing(apis: &[Api; 2], rounds: usize) {
    const PATH: &str = "/api/v1/namespaces/default/configmaps";
    let mut current = apis[0].post(PATH, &settings("race", "0")).ok();
    let path = format!("{PATH}/race");
    for round in 0..rounds {
        let document = |writer: usize| {
            let mut document = current.clone();
            document["data"]["v"] = json!(format!("{round} {writer}"));
            document
        };
        let answers = std::thread::scope(|scope| {
            let write = |writer: usize| {
                let (api, path, document) = (apis[writer], &path, document(writer));
                scope.spawn(move || api.put(path, &document))
            };
            [write(0), write(1)].map(|thread| thread.join().unwrap())
        });
        let won: Vec<&_> = answers.iter().filter(|answer| answer.code == 200).collect();
        let lost = answers.iter().filter(|answer| answer.code == 409).count();
        assert_eq!((won.len(), lost), (1, 1), "round {round}");
        current = won[0].json();
        assert_eq!(apis[round % 2].get(&path).ok(), current, "round {round}");
    }
    for round in 0..rounds / 10 {
        let new = settings(&format!("new-{round}"), "");
        let codes = std::thread::scope(|scope| {
            let new = &new;
            let create = |api: Api| scope.spawn(move || api.post(PATH, new).code);
            [create(apis[0]), create(apis[1])].map(|thread| thread.join().unwrap())
        });
        assert!(codes == [201, 409] || codes == [409, 201], "{codes:?}");
    }
}

/// What one server writes, the other one shows at once, and tells its watchers.
fn servers_agree(one: Api, two: Api) {
    const PATH: &str = "/api/v1/namespaces/default/serviceaccounts";
    let start = revision(&two.get(PATH).ok());
    let mut watch = two.watch(&format!("{PATH}?watch=1&resourceVersion={start}"));
    for index in 0..20 {
        let name = format!("a{index:02}");
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        let made = one.post(PATH, &account).ok();
        assert_eq!(two.get(&format!("{PATH}/{name}")).ok(), made);
        assert_eq!(watch.next().unwrap(), ("ADDED".to_owned(), made));
    }
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com", "finalizers": ["example.com/wait"]},
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": [{"name": "v1", "served": true, "storage": true}],
        },
    });
    one.post(definitions, &definition).ok();
    let gadget =
        json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}});
    let path = "/apis/example.com/v1/gadgets";
    one.post(path, &gadget).ok();
    common::until("known to the other server", || two.get(path).code == 200);
    assert_eq!(names(&two.get(path).ok()), ["g"]);

    // Objects of a kind go before its definition.
    let own = format!("{definitions}/gadgets.example.com");
    one.delete(&own).ok();
    common::until("unknown to the other server", || two.get(path).code == 404);
    assert_eq!(two.post(definitions, &definition).code, 409);
    let merge = [("Content-Type", "application/merge-patch+json")];
    two.ask("PATCH", &own, &merge, br#"{"metadata": {"finalizers": null}}"#).ok();
    common::until("the definition gone", || one.get(&own).code == 404);
    one.post(definitions, &definition).ok();
    assert_eq!(names(&one.get(path).ok()), [""; 0]);
}

/// What was created in a place until that was refused: the greatest revision, and the last refusal.
type Came = (u64, u16);

fn number(document: &Value) -> u64 {
    revision(document).parse().unwrap()
}

/// Whoever creates meanwhile, and by whichever server: nothing comes into a namespace once it is
/// marked, and nothing is left in one that is not there.
fn namespaces_go_empty(apis: &[Api; 2]) {
    const PATH: &str = "/api/v1/namespaces/going/configmaps";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "going"}});
    for round in 0..20 {
        apis[round % 2].post("/api/v1/namespaces", &namespace).ok();
        let create = |writer: usize| -> Came {
            let (mut last, mut number) = (0, 0);
            loop {
                number += 1;
                let made = settings(&format!("x-{writer}-{number}"), "");
                match apis[writer % 2].post(PATH, &made) {
                    made if made.code == 201 => last = last.max(self::number(&made.json())),
                    refused => return (last, refused.code),
                }
            }
        };
        let (marked, came) = std::thread::scope(|scope| {
            let writers = [0, 1, 2].map(|writer| scope.spawn(move || create(writer)));
            // Some of it is there before the namespace goes.
            common::until("something created", || names(&apis[0].get(PATH).ok()).len() > 2);
            let marked = apis[round % 2].delete("/api/v1/namespaces/going").ok();
            (number(&marked), writers.map(|writer| writer.join().unwrap()))
        });
        for (last, code) in came {
            assert!(last < marked && [403, 404].contains(&code), "{round}: {last} {marked} {code}");
        }
        for api in apis {
            common::until("gone", || api.get("/api/v1/namespaces/going").code == 404);
            assert_eq!(names(&api.get(PATH).ok()), [""; 0], "round {round}");
            assert_eq!(api.post(PATH, &settings("late", "")).code, 404);
        }
    }
}

/// The same of policies and their tier, which goes when there happens to be none.
fn tiers_go_empty(apis: &[Api; 2]) {
    const TIERS: &str = "/apis/projectcalico.org/v3/tiers";
    const PATH: &str = "/apis/projectcalico.org/v3/globalnetworkpolicies";
    let api_version = "projectcalico.org/v3";
    let own = format!("{TIERS}/going");
    let within = format!("{PATH}?fieldSelector=spec.tier%3Dgoing");
    let tier = json!({"apiVersion": api_version, "kind": "Tier", "metadata": {"name": "going"},
        "spec": {"order": 9}});
    let policy = |name: String| {
        json!({"apiVersion": api_version, "kind": "GlobalNetworkPolicy", "metadata": {"name": name},
            "spec": {"tier": "going", "selector": "all()"}})
    };
    for round in 0..20 {
        let tier = apis[round % 2].post(TIERS, &tier).ok();
        let mut watch =
            apis[0].watch(&format!("{TIERS}?watch=1&resourceVersion={}", revision(&tier)));
        let create = |writer: usize| -> Came {
            let (mut last, mut number) = (0, 0);
            loop {
                number += 1;
                let name = format!("going-{writer}-{number}");
                match apis[writer].post(PATH, &policy(name.clone())) {
                    made if made.code == 201 => last = last.max(self::number(&made.json())),
                    // It goes, but may stay yet.
                    refused if refused.code == 403 => continue,
                    refused => return (last, refused.code),
                }
                let there = format!("{PATH}/{name}");
                common::until("deleted", || apis[writer].get(&there).code == 404);
            }
        };
        let came = std::thread::scope(|scope| {
            let writers = [0, 1].map(|writer| scope.spawn(move || create(writer)));
            common::until("the tier is empty", || {
                for name in names(&apis[round % 2].get(&within).ok()) {
                    apis[round % 2].delete(&format!("{PATH}/{name}")).ok();
                }
                let code = apis[round % 2].delete(&own).code;
                assert!([200, 409].contains(&code), "{code}");
                code == 200
            });
            writers.map(|writer| writer.join().unwrap())
        });
        let gone = loop {
            match watch.next().unwrap() {
                (word, tier) if word == "DELETED" => break number(&tier),
                (word, _) => assert_eq!(word, "MODIFIED"),
            }
        };
        for (last, code) in came {
            assert!(last < gone && code == 404, "round {round}: {last} {gone} {code}");
        }
        for api in apis {
            assert_eq!(names(&api.get(&within).ok()), [""; 0], "round {round}");
        }
    }
}
