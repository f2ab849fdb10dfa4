//! `tortie connectivity` and `tortie diff` as users and scripts call them, and the scenarios of
//! staged policy that need the pending view.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Runs `tortie` in a folder of its own that holds the files given.
fn tortie(files: &[(&str, &str)], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    command.current_dir(folder.path()).args(args).output().unwrap()
}

fn answer(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {errors}")).unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

const PODS: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: a}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: b}}}
";

const ALLOW_80: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p}
spec:
  selector: app == 'b'
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]
";

const STAGED_DENY: &str = "
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: p}
spec: {selector: app == 'b', ingress: [{action: Deny}]}
";

#[test]
fn connectivity_gives_rows_of_sources() {
    let files = [("pods.yaml", PODS), ("p.yaml", ALLOW_80)];
    let args = ["connectivity", "-f", ".", "--ports", "tcp/80,tcp/81", "-o", "json"];
    let expected = json!({
        "endpoints": ["default/a", "default/b"],
        "matrix": {
            "tcp/80": [[true, true], [true, true]],
            "tcp/81": [[true, false], [true, true]],
        },
        "conditional": [],
    });
    for engine in ["compiled", "reference"] {
        let output = tortie(&files, &[&args[..], &["--engine", engine]].concat());
        assert_eq!((status(&output), answer(&output)), (0, expected.clone()), "{engine}");
    }
}

#[test]
fn connectivity_with_staged_policy_enforced() {
    let files = [("pods.yaml", PODS), ("p.yaml", ALLOW_80), ("s.yaml", STAGED_DENY)];
    let args = ["connectivity", "-f", ".", "--ports", "tcp/80", "-o", "json"];
    let enforced = answer(&tortie(&files, &args));
    assert_eq!(enforced["matrix"]["tcp/80"], json!([[true, true], [true, true]]));
    let pending = answer(&tortie(&files, &[&args[..], &["--staged"]].concat()));
    assert_eq!(pending["matrix"]["tcp/80"], json!([[true, false], [true, true]]));
}

#[test]
fn connectivity_asks_the_host_endpoints_on_the_way() {
    let hosts = "
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {nodeName: n2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c}, spec: {nodeName: n2}}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: h, labels: {role: host}}
spec: {node: n2, interfaceName: '*'}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: g}
spec: {selector: role == 'host', applyOnForward: true, ingress: [{action: Deny}]}
";
    let files = [("hosts.yaml", hosts)];
    let args = ["connectivity", "-f", ".", "--ports", "tcp/80", "-o", "json"];
    let rows = json!([[true, false, false], [true, true, true], [true, true, true]]);
    assert_eq!(answer(&tortie(&files, &args))["matrix"]["tcp/80"], rows);
    let args = ["explain", "-f", ".", "--from", "default/a", "--to", "default/b", "--port", "80"];
    assert_eq!(status(&tortie(&files, &args)), 1);
}

#[test]
fn connectivity_names_pairs_that_rest_on_http() {
    let http = "
{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {istio-injection: enabled}}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p}
spec: {selector: app == 'b', ingress: [{action: Allow, http: {methods: [GET]}}]}
";
    let args = ["connectivity", "-f", ".", "--ports", "tcp/80", "-o", "json"];
    let answer = answer(&tortie(&[("pods.yaml", PODS), ("p.yaml", http)], &args));
    assert_eq!(answer["matrix"]["tcp/80"], json!([[true, true], [true, true]]));
    let pair = json!([{"port": "tcp/80", "from": "default/a", "to": "default/b"}]);
    assert_eq!(answer["conditional"], pair);
}

#[test]
fn connectivity_refuses_what_is_no_port_and_what_is_no_policy() {
    for port in ["80", "tcp/0", "tcp/65536", "icmp/8", "tcp/http"] {
        let args = ["connectivity", "-f", ".", "--ports", port];
        assert_eq!(status(&tortie(&[("pods.yaml", PODS)], &args)), 2, "{port}");
    }
    let wrong = ALLOW_80.replace("Allow", "Alow");
    let args = ["connectivity", "-f", ".", "--ports", "tcp/80", "-o", "json"];
    let output = tortie(&[("p.yaml", &wrong)], &args);
    assert_eq!(status(&output), 2);
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.starts_with("error: ") && errors.contains("spec.ingress[0].action"), "{errors}");
}

#[test]
fn diff_of_the_same_is_empty() {
    let files = [("pods.yaml", PODS), ("p.yaml", ALLOW_80)];
    let output = tortie(&files, &["diff", "--old", ".", "--new", ".", "-o", "json"]);
    assert_eq!((status(&output), answer(&output)), (0, json!([])));
}

#[test]
fn diff_of_the_same_meaning_is_empty() {
    let other = ALLOW_80.replace("name: p", "name: renamed").replace("[80]", "['80:80']");
    let files = [("pods.yaml", PODS), ("old.yaml", ALLOW_80), ("new.yaml", &other)];
    let args = ["diff", "--old", "pods.yaml", "--old", "old.yaml", "--new", "pods.yaml"];
    let output = tortie(&files, &[&args[..], &["--new", "new.yaml", "-o", "json"]].concat());
    assert_eq!((status(&output), answer(&output)), (0, json!([])));
}

#[test]
fn diff_names_the_rules_before_and_after() {
    let files = [("pods.yaml", PODS), ("p.yaml", ALLOW_80)];
    let args = ["diff", "--old", "pods.yaml", "--new", ".", "--ports", "tcp/81", "-o", "json"];
    let output = tortie(&files, &args);
    assert_eq!(status(&output), 1);
    let changes = answer(&output);
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    let change = &changes[0];
    assert_eq!(change["from"], "default/a");
    assert_eq!(change["to"], "default/b");
    assert_eq!(change["port"], "tcp/81");
    assert_eq!(change["old"]["verdict"], "allow");
    assert_eq!(change["old"]["decidedBy"]["action"], "profile");
    assert_eq!(change["new"]["verdict"], "deny");
    assert_eq!(change["new"]["decidedBy"]["action"], "tier-default");
}

#[test]
fn diff_shows_workloads_that_come_and_go() {
    let args = ["diff", "--old", "a.yaml", "--new", "b.yaml", "--ports", "tcp/80", "-o", "json"];
    let (a, b) = PODS.split_once("---").unwrap();
    let output = tortie(&[("a.yaml", a), ("b.yaml", b)], &args);
    assert_eq!(status(&output), 1);
    let changes = answer(&output);
    let sides: Vec<bool> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["old"].is_null() != c["new"].is_null())
        .collect();
    assert_eq!(sides, [true, true], "{changes}");
}

#[test]
fn diff_finds_what_enforcing_staged_policy_would_change() {
    let files = [("pods.yaml", PODS), ("p.yaml", ALLOW_80), ("s.yaml", STAGED_DENY)];
    let args = ["diff", "--old", ".", "--new", ".", "--staged", "-o", "json"];
    let output = tortie(&files, &args);
    assert_eq!(status(&output), 1);
    let changes = answer(&output);
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    assert_eq!(changes[0]["new"]["decidedBy"]["kind"], "StagedNetworkPolicy");
}

#[test]
fn diff_needs_both_sides() {
    assert_eq!(status(&tortie(&[("pods.yaml", PODS)], &["diff", "--new", "."])), 2);
    let missing = ["diff", "--old", "gone.yaml", "--new", "."];
    assert_ne!(status(&tortie(&[("pods.yaml", PODS)], &missing)), 0);
}

/// Scenarios with cases that ask the pending view.
fn pending_scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/verdicts/staged");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect()
}

#[test]
fn the_pending_view_gives_the_verdicts_of_the_corpus() {
    let scenarios = pending_scenarios();
    assert!(scenarios.len() >= 5, "{scenarios:?}");
    for path in scenarios {
        let path = path.to_str().unwrap();
        let output = tortie(&[], &["test", "-f", path, path]);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(status(&output), 0, "{path}: {text}{errors}");
    }
}
