//! Warnings of `tortie validate`: codes, places, exit status.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A namespace whose workload has a sidecar, and a policy with one warning.
const SHADOWED: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {ingress: [{action: Allow}, {action: Deny, protocol: TCP}]}
";

fn validate(text: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    command.current_dir(&folder).args(["validate", "-f", "a.yaml"]).args(arguments);
    command.output().unwrap()
}

fn told(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn warnings_are_told_with_code_place_and_hint() {
    let run = validate(SHADOWED, &[]);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert_eq!(told(&run.stdout), "2 resources are valid, with 1 warning\n");
    assert_eq!(
        told(&run.stderr),
        "warning[rule-shadowed]: a.yaml: document 2 (NetworkPolicy shop/web): spec.ingress[1]: \
         rule 0 before it decides about everything that this rule matches\n\
         hint: remove the rule, or put it before that one\n"
    );
}

#[test]
fn rows_of_json_are_errors_alone_unless_asked() {
    let run = validate(SHADOWED, &["-o", "json"]);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert_eq!(told(&run.stdout).trim(), "[]");
    assert!(told(&run.stderr).starts_with("warning[rule-shadowed]: "), "{run:?}");
}

#[test]
fn warnings_are_rows_of_json() {
    let run = validate(SHADOWED, &["-o", "json", "--warnings"]);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let rows: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    let row = &rows[0];
    for (key, value) in [
        ("severity", json!("warning")),
        ("code", json!("rule-shadowed")),
        ("file", json!("a.yaml")),
        ("document", json!(1)),
        ("kind", json!("NetworkPolicy")),
        ("namespace", json!("shop")),
        ("name", json!("web")),
        ("field", json!("spec.ingress[1]")),
    ] {
        assert_eq!(row[key], value, "{key}");
    }
    assert!(row["reason"].is_string() && row["hint"].is_string(), "{row}");
}

#[test]
fn warnings_can_be_denied() {
    for format in ["table", "json"] {
        let run = validate(SHADOWED, &["--deny-warnings", "-o", format]);
        assert_eq!(run.status.code(), Some(2), "{run:?}");
        let quiet = SHADOWED.replace("{action: Allow}, ", "");
        let run = validate(&quiet, &["--deny-warnings", "-o", format]);
        assert_eq!(run.status.code(), Some(0), "{run:?}");
    }
}

#[test]
fn errors_are_rows_of_json_without_a_code() {
    let run = validate(&SHADOWED.replace("Deny", "Dney"), &["-o", "json"]);
    assert_eq!(run.status.code(), Some(2), "{run:?}");
    let rows: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(rows[0]["severity"], json!("error"));
    assert_eq!(rows[0].get("code"), None);
    assert_eq!(rows[0]["hint"], json!("did you mean `Deny`?"));
}

#[test]
fn the_example_has_no_warnings() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/yaobank");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    let run = command.args(["validate", "--deny-warnings", "-f"]).arg(example).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{run:?}");
}
