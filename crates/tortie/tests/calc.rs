//! `tortie calc`: the messages a node's agent would tell, in order.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::process::{Command, Output};

use serde_json::{Value, json};

const FILES: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: a}}, spec: {nodeName: n1},
 status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: b}}, spec: {nodeName: n2},
 status: {podIP: 10.0.0.2}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p}
spec:
  selector: app == 'a'
  ingress:
  - action: Allow
    protocol: TCP
    source: {selector: app == 'b'}
    destination: {ports: [80]}
";

fn calc(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("files.yaml"), FILES).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    command.current_dir(folder.path()).args(["calc", "-f", "."]).args(args).output().unwrap()
}

/// The message and its name, by line.
fn messages(output: &Output) -> Vec<(String, Value)> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let line = |line: &str| {
        let message: Value = serde_json::from_str(line).unwrap();
        let known = |(key, value): (&String, &Value)| {
            value.is_object().then(|| (key.clone(), value.clone()))
        };
        message.as_object().unwrap().iter().find_map(known).unwrap()
    };
    text.lines().map(line).collect()
}

#[test]
fn messages_of_a_node_come_in_order() {
    let output = calc(&["--node", "n1", "-o", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = messages(&output);
    let names: Vec<&str> = messages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names.iter().take(6).copied().collect::<Vec<_>>(),
        [
            "ipsetUpdate",
            "activePolicyUpdate",
            "activeProfileUpdate",
            "activeProfileUpdate",
            "workloadEndpointUpdate",
            "serviceAccountUpdate",
        ]
    );
    assert_eq!(names.last(), Some(&"inSync"));
    assert_eq!(messages[0].1["members"], json!(["10.0.0.2/32"]));
    assert_eq!(messages[4].1["id"]["workloadId"], "default/a");
}

#[test]
fn a_node_without_workloads_is_told_of_nobody() {
    let messages = messages(&calc(&["--node", "n3"]));
    let endpoints = messages.iter().filter(|(name, _)| name == "workloadEndpointUpdate").count();
    assert_eq!(endpoints, 0);
    assert_eq!(messages.last().unwrap().0, "inSync");
}
