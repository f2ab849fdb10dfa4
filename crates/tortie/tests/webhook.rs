//! `tortie webhook`: the manifests that it prints, and the server that they start, asked as a
//! kube-apiserver asks it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    reason = "test code"
)]

#[path = "../../apiserver/tests/common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::process::{Process, https_as};
use common::{skipped, until};
use serde_json::{Value, json};

struct Hook {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A value of the manifests, decoded.
fn decoded(manifests: &str, field: &str) -> Vec<u8> {
    let line = manifests.lines().find_map(|line| line.trim().strip_prefix(field)).unwrap();
    STANDARD.decode(line.trim()).unwrap()
}

impl Hook {
    fn start(more: &[&str]) -> Hook {
        let tortie = || Command::new(env!("CARGO_BIN_EXE_tortie"));
        let printed =
            tortie().args(["webhook", "--print-manifests", "--namespace", "policy"]).output();
        let manifests = String::from_utf8(printed.unwrap().stdout).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = [("ca.crt", "caBundle:"), ("tls.crt", "tls.crt:"), ("tls.key", "tls.key:")];
        for (file, field) in files {
            std::fs::write(folder.path().join(file), decoded(&manifests, field)).unwrap();
        }
        use std::os::unix::fs::PermissionsExt;
        // As a cluster hands it out: readable by the process's group.
        let mode = std::fs::Permissions::from_mode(0o440);
        std::fs::set_permissions(folder.path().join("tls.key"), mode).unwrap();
        let mut command = tortie();
        command.args(["webhook", "--listen", "127.0.0.1:0"]);
        command.arg("--tls-cert-file").arg(folder.path().join("tls.crt"));
        command.arg("--tls-private-key-file").arg(folder.path().join("tls.key")).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().trim_end_matches("/validate").to_owned();
        Hook { child, url, folder }
    }

    fn ask(&self, request: &str, body: &str) -> (u16, String) {
        let ca = self.folder.path().join("ca.crt");
        let json = "Content-Type: application/json\r\n";
        https_as(&self.url, "tortie-webhook.policy.svc", &ca, request, json, body)
    }

    fn review(&self, operation: &str, object: &Value) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": operation,
                "kind": {"group": "projectcalico.org", "version": "v3", "kind": "NetworkPolicy"},
                "resource": {"group": "projectcalico.org", "version": "v3", "resource": "networkpolicies"},
                "name": "web", "namespace": "shop", "userInfo": {"username": "admin"},
                "object": object, "oldObject": null, "dryRun": false,
                "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
            },
        });
        let (code, body) = self.ask("POST /validate?timeout=5s", &review.to_string());
        assert_eq!(code, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        answer["response"].clone()
    }
}

fn policy(selector: &str) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": selector, "ingress": [{"action": "Allow"}]},
    })
}

#[test]
fn a_cluster_is_told_what_cannot_be_enforced() {
    let hook = Hook::start(&[]);
    assert_eq!(hook.ask("GET /readyz", "").0, 200);
    assert_eq!(hook.review("CREATE", &policy("app == 'web'"))["allowed"], true);
    let refused = hook.review("UPDATE", &policy("app = web"));
    assert_eq!((&refused["allowed"], &refused["status"]["code"]), (&json!(false), &json!(422)));
    let message = refused["status"]["message"].as_str().unwrap();
    assert!(message.contains("spec.selector"), "{message}");
    assert_eq!(hook.review("DELETE", &Value::Null)["allowed"], true);

    for (request, body, expected) in [
        ("POST /validate", "{", 400),
        ("POST /validate", "{\"kind\": \"AdmissionReview\"}", 400),
        ("GET /validate", "", 405),
        ("POST /elsewhere", "{}", 404),
    ] {
        assert_eq!(hook.ask(request, body).0, expected, "{request} {body}");
    }
}

#[test]
fn what_the_cluster_chooses_counts() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), &[]);
    let config = server.own_config();
    let hook = Hook::start(&["--kubeconfig", config.to_str().unwrap()]);
    let set = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
        "metadata": {"name": "set", "labels": {"pcns.team": "blue"}}, "spec": {"nets": ["192.0.2.0/24"]},
    });
    let allowed = || hook.review("CREATE", &set)["allowed"] == true;
    assert!(!allowed());
    let choice = json!({
        "apiVersion": "tortie.dev/v1", "kind": "TortieConfiguration", "metadata": {"name": "default"},
        "spec": {"compat": ["reserved-labels"]},
    });
    server.says_to(&["apply", "-f", "-"], &choice.to_string());
    until("it is heard of", allowed);
    server.says(&["delete", "tortieconfiguration", "default"]);
    until("it is heard of again", || !allowed());
}
