//! What the definitions in `deploy/crds/` let in, by the code of a real API server (see
//! `interop/go/crds`): everything that Tortie accepts, and not much else.
//!
//! It needs Go and downloads Kubernetes' modules, so it runs when asked for:
//! `cargo test -p tortie-testkit --test admission -- --ignored`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tortie_client::files;
use tortie_policy::Cluster;
use tortie_testkit::{validation, workspace};

/// The errors of each document; nothing for kinds without a definition.
fn admit(documents: &[Value]) -> Vec<Option<Vec<String>>> {
    let program = workspace::root().join("interop/go/crds");
    let mut child = Command::new("go")
        .args(["run", "."])
        .arg(workspace::root().join("deploy/crds"))
        .current_dir(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Go is needed: https://go.dev");
    let mut lines = String::new();
    documents.iter().for_each(|document| writeln!(lines, "{document}").unwrap());
    let mut stdin = child.stdin.take().unwrap();
    let write = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the definitions are refused");
    write.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = answers.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), documents.len());
    answers
}

/// The documents of a text that an API server could be given.
fn documents(text: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple::<Value>(text).unwrap_or_default();
    let text =
        |d: &Value, at: &str| d.pointer(at).and_then(Value::as_str).is_some_and(|t| !t.is_empty());
    let whole = |d: &Value| ["/apiVersion", "/kind", "/metadata/name"].iter().all(|at| text(d, at));
    documents.into_iter().filter(whole).collect()
}

fn yaml_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|e| e.to_str()) {
            _ if path.is_dir() => yaml_below(&path, found),
            Some("yaml") => found.push(path),
            _ => {}
        }
    }
}

#[test]
#[ignore = "needs Go and downloads Kubernetes' modules"]
fn all_that_tortie_accepts_is_admitted() {
    let mut names = Vec::new();
    let mut given = Vec::new();
    for case in validation::cases().unwrap().into_iter().filter(|case| case.errors.is_empty()) {
        for document in documents(&case.document) {
            names.push(case.name.clone());
            given.push(document);
        }
    }
    let mut paths = Vec::new();
    for folder in ["examples", "corpus/verdicts"] {
        yaml_below(&workspace::root().join(folder), &mut paths);
    }
    for path in paths {
        let Ok(loaded) = files::load(std::slice::from_ref(&path), false) else { continue };
        if Cluster::build(&loaded.resources).is_err() {
            continue; // a scenario of what was let in all the same
        }
        names.extend(loaded.resources.iter().map(|r| format!("{}: {r:?}", path.display())));
        given.extend(loaded.resources.into_iter().map(|r| r.raw));
    }
    let answers = admit(&given);
    let (mut admitted, mut wrong) = (0, Vec::new());
    for ((name, document), errors) in names.iter().zip(&given).zip(answers) {
        let Some(mut errors) = errors else { continue };
        // What a server knows of an object it does not take from people.
        errors.retain(|error| error != "status: unknown field");
        match errors.is_empty() {
            true => admitted += 1,
            false => wrong.push(format!("{name}: {errors:#?}\n{document}")),
        }
    }
    assert!(wrong.is_empty(), "{} refused:\n{}", wrong.len(), wrong.join("\n\n"));
    println!("{admitted} documents admitted");
    assert!(admitted > 300, "only {admitted} documents");
}

#[test]
#[ignore = "needs Go and downloads Kubernetes' modules"]
fn much_that_tortie_refuses_is_refused() {
    let mut given = Vec::new();
    for case in validation::cases().unwrap().into_iter().filter(|case| !case.errors.is_empty()) {
        let documents = documents(&case.document);
        if let [document] = documents.as_slice() {
            given.push((case, document.clone()));
        }
    }
    let answers = admit(&given.iter().map(|(_, document)| document.clone()).collect::<Vec<_>>());
    let (mut refused, mut passed) = (0, 0);
    for ((case, _), errors) in given.iter().zip(answers) {
        let Some(errors) = errors else { continue };
        if errors.is_empty() {
            println!("passed: {}: {}", case.name, case.errors.first().unwrap().reason);
            passed += 1;
        } else {
            refused += 1;
        }
    }
    println!("{refused} refused, {passed} left to Tortie's own admission");
    assert!(refused > passed, "{refused} refused, {passed} passed");
}

/// A document, and a part of what is said about it.
fn refused() -> Vec<(Value, &'static str)> {
    let calico = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": kind,
               "metadata": {"name": name}, "spec": spec})
    };
    let global = |spec| calico("GlobalNetworkPolicy", "p", spec);
    let ingress = |rule: Value| global(json!({"ingress": [rule]}));
    let egress = |rule: Value| global(json!({"egress": [rule]}));
    let tier = |name, spec| calico("Tier", name, spec);
    let cluster = |spec: Value| {
        json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
               "metadata": {"name": "p"}, "spec": spec})
    };
    let http = |path: Value| json!({"action": "Allow", "http": {"paths": [path]}});
    let too_many: Vec<String> = (0..=256).map(|n| format!("10.0.{n}.0/24")).collect();
    vec![
        (tier("a.b", json!({})), "one DNS label"),
        (tier("default", json!({"order": 5})), "tier default is built in"),
        (tier("kube-admin", json!({"order": 1000})), "tier kube-admin is built in"),
        (tier("t", json!({"defaultAction": "Allow"})), "Unsupported value"),
        (calico("NetworkPolicy", "a.b.c", json!({})), "one or two DNS labels"),
        (calico("NetworkPolicy", "p", json!({"preDNAT": true})), "unknown field"),
        (global(json!({"stagedAction": "Set"})), "unknown field"),
        (global(json!({"types": ["Ingress", "Ingress"]})), "Duplicate value"),
        (global(json!({"selector": "x".repeat(1025)})), "may not be more than 1024"),
        (global(json!({"selector": "a == 'x' && global()"})), "global() may only be"),
        (
            global(json!({"preDNAT": true, "doNotTrack": true, "applyOnForward": true})),
            "preDNAT and doNotTrack cannot be combined",
        ),
        (
            global(json!({"preDNAT": true, "applyOnForward": true, "types": ["Egress"]})),
            "remove Egress from types",
        ),
        (global(json!({"doNotTrack": true})), "applyOnForward must be true"),
        (ingress(json!({"protocol": "TCP"})), "Required value"),
        (ingress(json!({"action": "allow"})), "Unsupported value"),
        (ingress(json!({"action": "Deny", "http": {}})), "Allow rules only"),
        (ingress(json!({"action": "Allow", "protocol": "UDP", "http": {}})), "http needs protocol"),
        (ingress(json!({"action": "Allow", "protocol": 17, "http": {}})), "http needs protocol"),
        (egress(json!({"action": "Allow", "http": {}})), "ingress rules only"),
        (ingress(http(json!({}))), "give either exact or prefix"),
        (ingress(http(json!({"exact": "/a", "prefix": "/b"}))), "give either exact or prefix"),
        (ingress(http(json!({"exact": "a"}))), "should match"),
        (
            ingress(json!({"action": "Allow", "icmp": {"type": 8}})),
            "icmp and notICMP need protocol",
        ),
        (
            ingress(json!({"action": "Allow", "protocol": "ICMP", "icmp": {"code": 0}})),
            "an ICMP code needs a type",
        ),
        (
            ingress(json!({"action": "Allow", "protocol": "ICMP", "ipVersion": 6})),
            "ICMP is IPv4 only",
        ),
        (
            ingress(json!({"action": "Allow", "destination": {"ports": [80]}})),
            "destination.ports needs protocol",
        ),
        (
            ingress(json!({"action": "Allow", "protocol": 1, "source": {"notPorts": ["http"]}})),
            "source.notPorts needs protocol",
        ),
        (
            ingress(json!({"action": "Allow", "protocol": "TCP", "source": {"ports": [0]}})),
            "should be greater than or equal to 1",
        ),
        (
            ingress(json!({"action": "Allow", "protocol": 256})),
            "should be less than or equal to 255",
        ),
        (ingress(json!({"action": "Allow", "protocol": "TPC"})), "should match"),
        (ingress(json!({"action": "Allow", "source": {"nets": too_many}})), "at most 256"),
        (
            egress(json!({"action": "Allow", "destination": {"services": {"name": "s"}}})),
            "services.namespace: Required value",
        ),
        (
            egress(json!({"action": "Allow", "destination": {
                "services": {"name": "s", "namespace": "n"}, "selector": "all()"}})),
            "services cannot be combined",
        ),
        (
            calico("StagedNetworkPolicy", "p", json!({"stagedAction": "Delete", "order": 1})),
            "a staged deletion has no fields",
        ),
        (
            calico("HostEndpoint", "h", json!({"node": "n"})),
            "must have interfaceName or expectedIPs",
        ),
        (calico("HostEndpoint", "h", json!({"interfaceName": "*"})), "node is required"),
        (
            cluster(json!({"tier": "Admin", "priority": 1, "subject": {}})),
            "exactly one of namespaces",
        ),
        (
            cluster(json!({"tier": "Admin", "priority": 1001, "subject": {"namespaces": {}}})),
            "less than or equal to 1000",
        ),
    ]
}

#[test]
#[ignore = "needs Go and downloads Kubernetes' modules"]
fn refusals_say_why() {
    let table = refused();
    let documents: Vec<Value> = table.iter().map(|(document, _)| document.clone()).collect();
    for ((document, want), errors) in table.iter().zip(admit(&documents)) {
        let errors = errors.unwrap().join("\n");
        assert!(errors.contains(want), "`{want}` is not in\n{errors}\n{document:#}");
    }
}
