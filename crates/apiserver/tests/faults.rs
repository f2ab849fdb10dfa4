//! Requests that make no sense, clients that are slow, and more of both than there is room for.
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

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::Cluster;
use common::http::{Api, DEADLINE};
use serde_json::{Value, json};
use tortie_apiserver::{Limits, Options};
use tortie_store::{Engine, Local, Retention};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn settings(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

/// What every refusal is.
fn check_status(answer: &common::http::Answer, code: u16, about: &str) {
    assert_eq!(answer.code, code, "{about}: {}", answer.body);
    let status = answer.json();
    let of = |field: &str| status[field].clone();
    assert_eq!(
        (of("kind"), of("status"), of("code")),
        (json!("Status"), json!("Failure"), json!(code))
    );
    let said = |field: &str| of(field).as_str().is_some_and(|text| !text.is_empty());
    assert!(said("message") && said("reason"), "{about}: {status}");
    assert!(answer.head.contains("content-type: application/json"), "{about}: {}", answer.head);
}

#[test]
fn malformed_requests_are_refused() {
    let cluster = Cluster::start();
    let api = cluster.api();
    api.post(MAPS, &settings("there")).ok();
    let there = format!("{MAPS}/there");
    let policies = "/apis/projectcalico.org/v3/globalnetworkpolicies";

    let gets = [
        (404, "/nowhere".to_owned()),
        (404, "/apis/nowhere.example/v1/things".into()),
        (404, "/apis/apps/v7/deployments".into()),
        (404, format!("{MAPS}/missing")),
        (404, format!("{there}/nowhere")),
        (404, "/openapi/v3/apis/none/v1".into()),
        (404, "/api/v1/namespaces//pods".into()),
        (400, "/api/v1/namespaces/%ff/pods".into()),
        (400, format!("{MAPS}?labelSelector=a%3D%3D%3Db")),
        (400, format!("{MAPS}?labelSelector=a%20in%20(b")),
        (400, format!("{MAPS}?fieldSelector=spec.nothing%3Dx")),
        (400, format!("{MAPS}?fieldSelector=x")),
        (400, format!("{MAPS}?resourceVersion=x")),
        (400, format!("{MAPS}?resourceVersion=-1")),
        (400, format!("{MAPS}?limit=many")),
        (400, format!("{MAPS}?continue=bm90aGluZw")),
        (400, format!("{MAPS}?continue=%00")),
        (400, format!("{MAPS}?resourceVersionMatch=Exact")),
        (400, format!("{MAPS}?watch=1&continue=x")),
        (400, format!("{MAPS}?watch=1&timeoutSeconds=x")),
        (400, format!("{MAPS}?sendInitialEvents=true")),
        (400, format!("{MAPS}?watch=1&fieldSelector=spec.nothing%3Dx")),
        (504, format!("{MAPS}?resourceVersion=18446744073709551615")),
    ];
    for (code, path) in gets {
        check_status(&api.get(&path), code, &path);
    }
    check_status(&api.ask("GET", MAPS, &[("Accept", "text/html")], b""), 406, "Accept");

    for (method, path) in [
        ("BREW", MAPS),
        ("PUT", MAPS),
        ("PATCH", MAPS),
        ("POST", there.as_str()),
        ("POST", "/api/v1/configmaps"),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("POST", "/version"),
        ("DELETE", "/openapi/v3"),
    ] {
        let answer = api.ask(method, path, &[JSON], settings("x").to_string().as_bytes());
        check_status(&answer, 405, &format!("{method} {path}"));
    }

    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let flow = [b"{a: ".repeat(5_000), b"}".repeat(5_000)].concat();
    let wide = format!("{{\"x\":\"{}\"}}", "x".repeat(3 << 20));
    let aliases = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    let protobuf = "application/vnd.kubernetes.protobuf";
    let bodies: [(u16, &str, &[u8]); 15] = [
        (400, "application/json", b""),
        (400, "application/json", b"{"),
        (400, "application/json", b"[]"),
        (400, "application/json", b"null"),
        (400, "application/json", b"{\"kind\": \"\xff\"}"),
        (400, "application/json", &deep),
        (413, "application/json", wide.as_bytes()),
        (400, "application/yaml", b"a: [b"),
        (400, "application/yaml", &flow),
        (400, "application/yaml", aliases),
        (415, "text/plain", b"{}"),
        (415, "application/cbor", b"{}"),
        (400, protobuf, b""),
        (400, protobuf, b"k8s\0\xff\xff\xff"),
        (415, protobuf, b"k8s\0\n\x0c\n\x02v1\x12\x06Gadget"),
    ];
    for (code, media, body) in bodies {
        let about = format!("{media} {:?}", &body[..body.len().min(20)]);
        check_status(&api.ask("POST", MAPS, &[("Content-Type", media)], body), code, &about);
    }

    let documents = [
        (400, json!({"kind": "ConfigMap", "metadata": {"name": "x"}})),
        (400, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})),
        (400, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 7}})),
        (400, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": []})),
        (400, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"a": 1}}})),
        (
            400,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "other", "name": "x"}}),
        ),
        (
            400,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": []}),
        ),
        (
            400,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "resourceVersion": "1"}}),
        ),
        (409, settings("there")),
        (422, json!({"apiVersion": "v1", "kind": "ConfigMap"})),
        (422, settings("Not A Name")),
        (422, settings(&"x".repeat(300))),
        (422, settings("../../etc")),
    ];
    for (code, document) in documents {
        check_status(&api.post(MAPS, &document), code, &document.to_string());
    }
    let elsewhere = api.post("/api/v1/namespaces/nowhere/configmaps", &settings("x"));
    check_status(&elsewhere, 404, "namespace");
    let policy = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "x"}, "spec": {"selector": "a ="},
    });
    let refused = api.post(policies, &policy);
    check_status(&refused, 422, "policy");
    assert_eq!(refused.json()["details"]["causes"][0]["field"], "spec.selector");
    check_status(&api.put(&there, &settings("other")), 400, "name");
    let mut stale = settings("there");
    stale["metadata"]["resourceVersion"] = json!("1");
    check_status(&api.put(&there, &stale), 409, "stale");
    check_status(&api.post(&format!("{MAPS}?dryRun=Some"), &settings("x")), 400, "dryRun");
    check_status(
        &api.post(&format!("{MAPS}?fieldValidation=x"), &settings("x")),
        400,
        "validation",
    );

    let patches = [
        (400, "application/json-patch+json", "{}"),
        (400, "application/json-patch+json", "[{\"op\": \"fly\", \"path\": \"/a\"}]"),
        (
            422,
            "application/json-patch+json",
            "[{\"op\": \"test\", \"path\": \"/kind\", \"value\": 1}]",
        ),
        (422, "application/json-patch+json", "[{\"op\": \"remove\", \"path\": \"/nowhere\"}]"),
        (400, "application/merge-patch+json", "[]"),
        (400, "application/merge-patch+json", "{\"kind\": \"Secret\"}"),
        (400, "application/strategic-merge-patch+json", "{\"data\": {\"$patch\": \"explode\"}}"),
        (400, "application/apply-patch+yaml", "{}"),
        (415, "application/json", "{}"),
    ];
    for (code, media, body) in patches {
        let answer = api.ask("PATCH", &there, &[("Content-Type", media)], body.as_bytes());
        check_status(&answer, code, &format!("{media} {body}"));
    }
    let options = |body: &[u8]| api.ask("DELETE", &there, &[JSON], body);
    check_status(&options(b"{"), 400, "options");
    check_status(&options(b"{\"propagationPolicy\": \"Sideways\"}"), 400, "options");

    // What is not even HTTP is answered as such.
    assert_eq!(api.raw(b"SSH-2.0-x\r\n\r\n").code, 400);
    let head = Api::head("GET", MAPS, &[("X", &"x".repeat(200_000))], 0);
    assert_eq!(api.raw(head.as_bytes()).code, 431);
    api.get(&there).ok();
}

#[test]
fn slow_clients_are_sent_away() {
    let limits = Limits { patience: Duration::from_millis(300), ..Limits::default() };
    let cluster = Cluster::start_with(Options { limits, ..Options::default() });
    let api = cluster.api();
    let mut stream = api.connect();
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").unwrap();
    // The end comes although nothing else is sent.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    // Where much else runs, the test itself may be too slow: without the head there is no answer.
    let answered = |bytes: &[u8]| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = api.raw(bytes);
            if answer.code > 0 {
                return answer;
            }
            assert!(Instant::now() < deadline, "never fast enough");
        }
    };
    let head = Api::head("POST", MAPS, &[JSON], 100);
    check_status(&answered(format!("{head}{{").as_bytes()), 408, "body");
    answered(Api::head("GET", "/version", &[], 0).as_bytes()).ok();
}

#[test]
fn no_more_is_done_than_there_is_room_for() {
    let limits = Limits { requests: 1, watches: 1, ..Limits::default() };
    let cluster = Cluster::start_with(Options { limits, ..Options::default() });
    let api = cluster.api();
    let until = |code: u16| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = api.get(MAPS);
            if answer.code == code {
                return answer;
            }
            assert!(Instant::now() < deadline, "still {}", answer.code);
        }
    };
    let body = settings("slow").to_string();
    let mut slow = api.connect();
    let headers = [JSON, ("Expect", "100-continue"), ("Connection", "close")];
    let head = Api::head("POST", MAPS, &headers, body.len()).replace("HTTP/1.0", "HTTP/1.1");
    slow.write_all(head.as_bytes()).unwrap();
    // It is asked for its body once it is let in.
    let mut begin = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    slow.read_exact(&mut begin).unwrap();
    let refused = api.get(MAPS);
    check_status(&refused, 429, "requests");
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    api.get("/healthz").code.eq(&200).then_some(()).unwrap();
    slow.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 201 "), "{answer}");
    until(200);

    let watch = api.watch(&format!("{MAPS}?watch=1"));
    check_status(&api.get(&format!("{MAPS}?watch=1")), 429, "watches");
    api.get(MAPS).ok();
    drop(watch);
}

#[test]
fn a_slow_watcher_slows_nobody() {
    let retention = Retention { events: 20, bytes: 1 << 20, ..Retention::default() };
    let store = tortie_store::Options { retention, ..tortie_store::Options::default() };
    let cluster = Cluster::start_on(Options::default(), async {
        Engine::Local(Local::in_memory(store).await.unwrap())
    });
    let api = cluster.api();
    let made = api.post(MAPS, &settings("big")).ok();
    let revision = made["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{MAPS}?watch=1&resourceVersion={revision}");
    let small = api.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&small, 64 << 10).unwrap();
    let (mut slow, mut fast) = (api.watch_on(small, &path), api.watch(&path));
    // More than fits into what lies between server and client.
    let filler = "x".repeat(250_000);
    for round in 0..100 {
        let value = format!("{round} {filler}");
        api.merge(&format!("{MAPS}/big"), &json!({"data": {"v": value}})).ok();
        let (word, object) = fast.next().unwrap();
        assert_eq!(
            (word.as_str(), object["data"]["v"].as_str()),
            ("MODIFIED", Some(value.as_str()))
        );
    }
    let mut told = 0;
    let last = loop {
        match slow.next().unwrap() {
            (word, _) if word == "MODIFIED" => told += 1,
            other => break other,
        }
    };
    assert!(told < 100, "it was told all");
    assert_eq!((last.0.as_str(), &last.1["code"]), ("ERROR", &json!(410)));
    assert_eq!((&last.1["reason"], slow.next()), (&json!("Expired"), None));
    // So is one that comes too late.
    let (word, status) = api.watch(&path).next().unwrap();
    assert_eq!((word.as_str(), &status["code"]), ("ERROR", &json!(410)));
}
