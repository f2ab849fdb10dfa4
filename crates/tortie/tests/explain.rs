//! What `tortie explain` says of a denial: what the nearest rule lacked, and what is allowed before
//! policy.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::process::{Command, Output};

use serde_json::{Value, json};

const FILES: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: a}}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: b}}, spec: {nodeName: n1}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p}
spec:
  selector: app == 'b'
  ingress:
  - action: Allow
    protocol: TCP
    source: {selector: app == 'worker'}
    destination: {ports: [80]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: h}
spec: {node: n2, interfaceName: eth0, expectedIPs: [192.168.1.1]}
";

fn explain(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("files.yaml"), FILES).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    command.current_dir(folder.path()).args(["explain", "-f", "."]).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_denial_says_what_would_make_the_nearest_rule_match() {
    let sentences = [
        (
            ["default/a", "80"],
            "source label app=worker would match rule 0 of NetworkPolicy default/p",
        ),
        (
            ["default/a", "81"],
            "destination port 80 and source label app=worker would match rule 0 of NetworkPolicy default/p",
        ),
        (
            ["203.0.113.9", "80"],
            "source 203.0.113.9 in a network set of namespace default with label app=worker would match \
             rule 0 of NetworkPolicy default/p",
        ),
    ];
    for ([from, port], sentence) in sentences {
        let args = ["--from", from, "--to", "default/b", "--port", port];
        let output = explain(&args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = text(&output);
        assert!(text.contains(&format!("    nearest: {sentence}\n")), "{text}");
        let output = explain(&[&args[..], &["-o", "json"]].concat());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["ingress"]["nearest"]["text"], sentence, "{answer}");
    }
}

#[test]
fn the_changes_are_data_too() {
    let args = ["--from", "default/a", "--to", "default/b", "--port", "81", "-o", "json"];
    let answer: Value = serde_json::from_slice(&explain(&args).stdout).unwrap();
    let nearest = json!({
        "tier": "default",
        "kind": "NetworkPolicy",
        "namespace": "default",
        "name": "p",
        "rule": 0,
        "changes": [
            {"what": "port", "side": "destination", "port": 80, "text": "destination port 80"},
            {"what": "label", "side": "source", "key": "app", "value": "worker",
             "text": "source label app=worker"},
        ],
        "text": "destination port 80 and source label app=worker would match rule 0 of NetworkPolicy default/p",
    });
    assert_eq!(answer["ingress"]["nearest"], nearest);
    assert!(answer["egress"].get("nearest").is_none(), "{answer}");
}

#[test]
fn a_denial_lists_what_is_allowed_before_policy() {
    let denied = text(&explain(&["--from", "default/a", "--to", "hostendpoint:h", "--port", "80"]));
    let allowed = [
        "Allowed before policy\n",
        "  ingress of hostendpoint:h: failsafe TCP port 22\n",
        "  ingress of hostendpoint:h: failsafe UDP port 68\n",
        "  egress of default/a: ICMPv6 types 130 to 133, 135 and 136 from a pod to its own host\n",
        "  replies, and further packets of connections that were allowed\n",
        "Dropped before policy\n",
        "  egress of default/a: no VXLAN (UDP port 4789) from pods\n",
        "  egress of default/a: no IP in IP from pods\n",
    ];
    for line in allowed {
        assert!(denied.contains(line), "{line} in {denied}");
    }
    let args = ["--from", "default/a", "--to", "default/b", "--port", "80"];
    let between = text(&explain(&args));
    assert!(between.contains("  ingress of default/b: a host reaches its own pods\n"), "{between}");
    let open = explain(&["--from", "default/a", "--to", "hostendpoint:h", "--port", "22"]);
    assert_eq!(open.status.code(), Some(0));
    assert!(!text(&open).contains("before policy\n"), "{}", text(&open));
}

#[test]
fn a_pod_sends_no_tunnel() {
    let args =
        ["--from", "default/a", "--to", "203.0.113.9", "--protocol", "UDP", "--port", "4789"];
    let output = explain(&[&args[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = answer["egress"]["trace"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["name"], "allowVXLANPacketsFromWorkloads", "{answer}");
    let list = answer["beforePolicy"].as_array().unwrap();
    let drop = json!({"endpoint": "default/a", "direction": "egress", "verdict": "deny",
        "text": "no VXLAN (UDP port 4789) from pods"});
    assert!(list.contains(&drop), "{answer}");
}
