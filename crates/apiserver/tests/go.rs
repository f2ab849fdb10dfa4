//! Kubernetes' own Go types: our messages are made of them, and what they write in protobuf is read as
//! what they write in JSON.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compiles the program; nothing where there is no Go, unless tests must not be skipped.
fn compile(folder: &Path) -> Option<PathBuf> {
    let program = folder.join("kubernetes");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(root().join("interop/go/kubernetes"))
        .output();
    match built {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if std::env::var("CI").as_deref() != Ok("true") => {
            eprintln!("skipped: no Go here: {error}");
            None
        }
        Err(error) => panic!("no Go here: {error}"),
    }
}

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn files(folder: &Path, below: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, below, found);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(below).unwrap().to_owned(), text));
        }
    }
}

fn sorted(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(folder, folder, &mut found);
    found.sort();
    found
}

/// Without what says nothing: Go writes some of it, by fields that it always writes.
fn plain(value: &Value) -> Value {
    let says =
        |value: &Value| !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty());
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), plain(value)))
            .filter(|(_, value)| says(value))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(plain).collect(),
        // Numbers are compared as such: Go writes 1e+06 where others write 1000000.
        Value::Number(number) if number.is_f64() => number.as_f64().into(),
        other => other.clone(),
    }
}

#[test]
fn go_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path()) else { return };
    let made = folder.path().join("proto");
    run(&program, &["proto", made.to_str().unwrap()]);
    let ours = root().join("proto/kubernetes/k8s.io");
    let (made, ours) = (sorted(&made.join("k8s.io")), sorted(&ours));
    let names = |all: &[(PathBuf, String)]| all.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&made), names(&ours));
    for (made, ours) in made.iter().zip(&ours) {
        let stale = "is stale: run interop/go/kubernetes, then regenerate the descriptors";
        assert!(made.1 == ours.1, "{} {stale}", ours.0.display());
    }

    let mut count = 0;
    for line in run(&program, &["random", "7", "25"]).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let wire = STANDARD.decode(line["protobuf"].as_str().unwrap()).unwrap();
        let Some(read) = tortie_apiserver::fuzz::document(&wire) else {
            panic!("cannot be read: {}", line["json"]);
        };
        let (read, written) = (plain(&read), plain(&line["json"]));
        if read != written {
            panic!("{}", difference("", &read, &written).unwrap());
        }
        count += 1;
    }
    assert!(count > 500, "{count} objects");
}

/// Where two documents differ first.
fn difference(path: &str, ours: &Value, gos: &Value) -> Option<String> {
    match (ours, gos) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).find_map(|key| {
            let [a, b] = [a, b].map(|fields| fields.get(key).unwrap_or(&Value::Null));
            difference(&format!("{path}/{key}"), a, b)
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| difference(&format!("{path}/{index}"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a} here, {b} in Go")),
    }
}
