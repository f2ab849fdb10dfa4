//! What is written down: what the server does by itself, who is not known, and never a Secret.

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

use std::path::Path;

use common::process::Process;
use common::{skipped, until};
use serde_json::{Value, json};

fn lines(data: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(data.join("audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
}

/// Stages, verbs and codes of what the server did by itself to an object.
fn by_itself(data: &Path, resource: &str, name: &str) -> Vec<String> {
    let lines = lines(data);
    let own = lines.iter().filter(|line| {
        line["user"] == "system:tortie-controller"
            && (&line["resource"], &line["name"]) == (&json!(resource), &json!(name))
    });
    let own = own.map(|line| {
        let code = line["code"].as_u64().map(|code| format!(" {code}")).unwrap_or_default();
        format!("{} {}{code}", line["stage"].as_str().unwrap(), line["verb"].as_str().unwrap())
    });
    own.collect()
}

#[test]
fn what_the_server_deletes_is_written_down() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let server = Process::start(data, &["--audit-sync"]);
    server.says(&["create", "namespace", "shop"]);
    let created = by_itself(data, "serviceaccounts", "default");
    assert!(created.contains(&"outcome create 200".to_owned()), "{created:?}");
    let map = |name: &str, owner: Option<&str>| {
        let owner = owner.map(|owner| {
            let uid = server.says(&[
                "get",
                "configmap",
                owner,
                "-n",
                "shop",
                "-o",
                "jsonpath={.metadata.uid}",
            ]);
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid}])
        });
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "shop", "ownerReferences": owner}});
        server.says_to(&["create", "-f", "-"], &map.to_string());
    };
    map("owner", None);
    map("owned", Some("owner"));
    map("keeper", None);
    map("kept", Some("keeper"));
    map("left", None);
    let whole = |verb: &str| vec![format!("intent {verb}"), format!("outcome {verb} 200")];
    let deleted = |resource: &str, name: &str| {
        until(&format!("{name} goes"), || by_itself(data, resource, name).len() == 2);
        assert_eq!(by_itself(data, resource, name), whole("delete"));
    };
    server.says(&["delete", "configmap", "owner", "-n", "shop"]);
    deleted("configmaps", "owned");
    server.says(&["delete", "configmap", "keeper", "-n", "shop", "--cascade=orphan"]);
    assert_eq!(by_itself(data, "configmaps", "kept"), whole("patch"));

    // With their namespace, and it itself; with their kind.
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    server.says_to(&["create", "-f", "-"], &definition.to_string());
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}});
    server.says_to(&["create", "-f", "-"], &thing.to_string());
    server.says(&["delete", "crd", "things.example.com"]);
    deleted("things", "t");
    server.says(&["delete", "namespace", "shop"]);
    deleted("configmaps", "left");
    deleted("namespaces", "shop");
    server.stop();
}

#[test]
fn who_is_not_known_is_written_down_and_summed() {
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), &[]);
    const GUESSES: u64 = 40;
    for number in 0..GUESSES {
        let guess = format!("Authorization: Bearer tortie-guess{number}\r\n");
        assert_eq!(server.get("/api/v1/namespaces", &guess).0, 401);
    }
    let counts = || -> Vec<Value> {
        lines(data.path()).into_iter().filter(|line| line["verb"] == "authenticate").collect()
    };
    // One is told at once. A minute may end while they come.
    let first = counts();
    let of = |line: &Value, field: &str| line[field].clone();
    assert_eq!(
        (of(&first[0], "code"), of(&first[0], "source"), of(&first[0], "count")),
        (json!(401), json!("127.0.0.1"), json!(1))
    );
    assert!(first[0]["message"].as_str().unwrap().contains("the token is unknown"), "{first:?}");
    assert!(first.len() <= 3, "{first:?}");
    server.stop();
    let all = counts();
    let sum: u64 = all.iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert!(sum == GUESSES && all.len() <= 4, "{all:?}");
    let log = std::fs::read_to_string(data.path().join("audit.log")).unwrap();
    assert!(!log.contains("tortie-guess"));
}

#[test]
fn secrets_are_never_in_it() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let server = Process::start(data, &[]);
    server.says(&["create", "namespace", "shop"]);
    let config = server.own_config();
    let secret = |text: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"},
            "stringData": {"password": text}})
        .to_string()
    };
    for word in ["hunter2-one", "hunter2-two"] {
        server.says_to(&["apply", "-f", "-"], &secret(word));
    }
    server
        .says_to(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &secret("hunter2-3"));
    let patches = [
        ("merge", r#"{"stringData": {"more": "hunter2-four"}}"#),
        ("json", r#"[{"op": "add", "path": "/data/x", "value": "aHVudGVyMi1maXZl"}]"#),
        ("strategic", r#"{"stringData": {"more": "hunter2-six"}}"#),
        // What is refused is not told of either.
        ("merge", r#"{"data": {"x": "hunter2 is not base64"}}"#),
        ("merge", r#"{"data": "hunter2"}"#),
        ("merge", r#"{"type": "hunter2", "immutable": "hunter2"}"#),
    ];
    for (kind, patch) in patches {
        let patching = ["patch", "secret", "s", "-n", "shop", "--type", kind, "-p", patch];
        server.kubectl(&config, &patching, "");
    }
    server.says(&["annotate", "secret", "s", "-n", "shop", "note=hunter2-seven"]);
    server.says(&["label", "secret", "s", "-n", "shop", "shown=yes"]);
    server.says_to(&["create", "-f", "-"], &secret("hunter2-8").replace(r#""s""#, r#""other""#));
    server.says(&["delete", "secret", "s", "-n", "shop"]);
    server.says(&["delete", "namespace", "shop"]);
    until("it goes with its namespace", || !by_itself(data, "secrets", "other").is_empty());
    server.stop();
    let log = std::fs::read_to_string(data.join("audit.log")).unwrap();
    for hidden in ["hunter2", "aHVudGVyMi"] {
        let told = log.lines().find(|line| line.contains(hidden) && line.contains("secrets"));
        assert!(told.is_none(), "{told:?}");
    }
    let about = |line: &&Value| line["resource"] == "secrets" && line["name"] == "s";
    let lines = lines(data);
    let of: Vec<&Value> = lines.iter().filter(about).collect();
    assert!(of.iter().any(|line| line["changes"].to_string().contains("dataSha256")), "{of:?}");
    assert!(of.iter().any(|line| line["changes"].to_string().contains("shown")), "{of:?}");
}
