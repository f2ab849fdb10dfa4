//! Logs and commands go to the kubelet that the pod's node names, and come back as they are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use common::{Cluster, skipped};
use serde_json::json;

/// Answers as a kubelet would: logs are what was asked for, commands give back what they are given.
fn kubelet(stream: UnixStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).unwrap() == 0 {
            return;
        }
    }
    let target = head.split(' ').nth(1).unwrap();
    if target.starts_with("/containerLogs/default/web/missing") {
        out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno logs").unwrap();
    } else if target.starts_with("/containerLogs/") {
        out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        writeln!(out, "{target}").unwrap();
    } else if !head.to_lowercase().contains("upgrade: websocket") {
        out.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\n\r\nno pipes").unwrap();
    } else {
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        write!(out, "{switch}Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n{target}\n").unwrap();
        std::io::copy(&mut lines, &mut out).unwrap();
    }
}

#[test]
fn nodes_are_asked_for_logs_and_commands() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let api = cluster.api();
    let path = cluster.folder().join("kubelet.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || kubelet(stream.unwrap()));
        }
    });
    let container = |name: &str| json!({"name": name, "image": "x"});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [container("main"), container("side"), container("missing")]},
    });
    let pods = "/api/v1/namespaces/default/pods";
    api.post(pods, &pod).ok();
    let said = |path: &str| {
        let answer = api.get(&format!("{pods}/{path}"));
        (answer.code, answer.json()["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(said("other/log").0, 404);
    assert_eq!(said("web/log"), (400, "pod web does not have a host assigned".into()));
    let not_served =
        |what: &str| (501, format!("`{what}` is not served: of pods only `log` and `exec` are"));
    assert_eq!(said("web/attach"), not_served("attach"));
    assert_eq!(said("web/portforward"), not_served("portforward"));
    api.merge(&format!("{pods}/web"), &json!({"spec": {"nodeName": "n"}})).ok();
    assert_eq!(said("web/log").0, 503);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    api.post("/api/v1/nodes", &node).ok();
    let (code, why) = said("web/log");
    assert!(code == 503 && why.contains("tortie.dev/kubelet"), "{why}");
    let at = |path: &str| json!({"metadata": {"annotations": {"tortie.dev/kubelet": path}}});
    api.merge("/api/v1/nodes/n", &at("/nowhere/kubelet.sock")).ok();
    let (code, why) = said("web/log?container=main");
    assert!(code == 503 && why.contains("cannot be reached"), "{why}");
    api.merge("/api/v1/nodes/n", &at(path.to_str().unwrap())).ok();
    let (code, why) = said("web/log");
    assert!(code == 400 && why.contains("[main side missing]"), "{why}");
    assert_eq!(said("web/log?container=none").0, 400);
    assert_eq!(said("web/log?container=missing"), (404, "the kubelet says: no logs".into()));
    assert_eq!(
        said("web/exec?container=main&command=ls"),
        (400, "the kubelet says: no pipes".into())
    );

    let logs = cluster.says(&["logs", "web", "-c", "side", "--tail=5", "-f"]);
    assert!(logs.starts_with("/containerLogs/default/web/side?follow=true"), "{logs}");
    assert!(logs.trim_end().ends_with("tailLines=5"), "{logs}");
    pod = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "main"}}});
    api.merge(&format!("{pods}/web"), &pod).ok();
    assert!(cluster.says(&["logs", "web"]).starts_with("/containerLogs/default/web/main"));

    let mut stream = api.connect();
    let query = "command=cat&command=a%20b%2F%26&stdin=true&stdout=true&tty=false";
    write!(
        stream,
        "GET {pods}/web/exec?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\nhello"
    )
    .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let head = head.to_lowercase();
    assert!(
        head.contains(" 101 ") && head.contains("sec-websocket-protocol: v5.channel"),
        "{head}"
    );
    let mut target = String::new();
    reader.read_line(&mut target).unwrap();
    let expected = "/exec/default/web/main?input=1&output=1&command=cat&command=a%20b%2F%26\n";
    assert_eq!(target, expected);
    stream.write_all(b" world").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echoed = String::new();
    reader.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "hello world");
}
