//! The commands against a server: a real one, and the real kubectl beside them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use common::{Home, Server, no_kubectl, run};

const POLICY: &str = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web, labels: {owner: shop}}
spec:
  order: 5
  selector: app == 'web'
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'front'}, destination: {ports: [80]}}
";

const PODS: &str = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, labels: {app: web}}
  spec: {containers: [{name: main, image: x}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: front, namespace: shop, labels: {app: front}}
  spec: {containers: [{name: main, image: x}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: other, namespace: shop, labels: {app: other}}
  spec: {containers: [{name: main, image: x}]}
";

const GNP: &str = "globalnetworkpolicy.projectcalico.org";

/// The words of a text, line by line.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn every_verb_does_what_kubectl_calls_so() {
    if no_kubectl() {
        return;
    }
    let server = Server::start();
    let policy = |verb: &str, text: &str| server.says(&[verb, "-f", "-"], text);
    assert_eq!(policy("create", POLICY), format!("{GNP}/web created\n"));
    assert_eq!(policy("apply", POLICY), format!("{GNP}/web configured\n"));
    assert_eq!(policy("apply", POLICY), format!("{GNP}/web unchanged\n"));
    let changed = POLICY.replace("order: 5", "order: 6");
    let dry = server.says(&["apply", "-f", "-", "--dry-run"], &changed);
    assert_eq!(dry, format!("{GNP}/web configured (server dry run)\n"));
    let order = ["get", "gnp", "web", "-o", "jsonpath={.spec.order}"];
    assert_eq!(server.says(&order, ""), "5");
    assert_eq!(policy("apply", &changed), format!("{GNP}/web configured\n"));
    // What is no longer said goes, what others said stays.
    server.kubectl(&["annotate", "gnp", "web", "by=kubectl"], "");
    policy("apply", &POLICY.replace("  order: 5\n", ""));
    assert_eq!(server.says(&order, ""), "");
    let annotation = ["get", "gnp/web", "-o", "jsonpath={.metadata.annotations.by}"];
    assert_eq!(server.says(&annotation, ""), "kubectl");
    assert_eq!(policy("replace", POLICY), format!("{GNP}/web replaced\n"));
    assert_eq!(server.says(&annotation, ""), "");

    let patch = ["patch", "gnp", "web", "-p", r#"{"spec": {"order": 7}}"#];
    assert_eq!(server.says(&patch, ""), format!("{GNP}/web patched\n"));
    assert_eq!(server.says(&patch, ""), format!("{GNP}/web patched (no change)\n"));
    let operations = r#"[{"op": "replace", "path": "/spec/order", "value": 8}]"#;
    server.says(&["patch", "gnp/web", "--type", "json", "-p", operations], "");
    server.says(&["patch", "gnp/web", "--type=merge", "--patch", "spec: {doNotTrack: null}"], "");
    assert_eq!(server.kubectl(&order, ""), "8");

    assert_eq!(server.says(&["label", "gnp/web", "a=b"], ""), format!("{GNP}/web labeled\n"));
    let refused = server.tortie(&["label", "gnp/web", "a=c"], "").ended(1).err;
    assert!(refused.contains("`a` is `b` already"), "{refused}");
    assert_eq!(
        server.says(&["label", "gnp", "web", "a=c", "--overwrite"], ""),
        format!("{GNP}/web labeled\n")
    );
    assert_eq!(
        server.says(&["label", "gnp", "-l", "a=c", "a-"], ""),
        format!("{GNP}/web unlabeled\n")
    );
    assert_eq!(
        server.says(&["annotate", "gnp", "web", "x=y"], ""),
        format!("{GNP}/web annotated\n")
    );
    assert!(server.says(&["annotate", "gnp", "web", "--list"], "").contains("x=y"));
    let described = server.says(&["describe", "gnp", "web"], "");
    assert!(
        described.contains("Annotations:  x: y") && described.contains("  Order:  8"),
        "{described}"
    );

    assert_eq!(server.says(&["delete", "gnp", "web"], ""), format!("{GNP} \"web\" deleted\n"));
    let gone = server.tortie(&["delete", "gnp", "web"], "").ended(1).err;
    assert!(gone.contains("\"web\" not found"), "{gone}");
    assert_eq!(server.says(&["delete", "gnp", "web", "--ignore-not-found"], ""), "");
    server.says(&["create", "-f", "-"], PODS);
    assert!(server.says(&["delete", "ns/shop"], "").contains("\"shop\" deleted"));
    assert_eq!(server.says(&["get", "pods", "-A", "-o", "name"], ""), "");
}

#[test]
fn tables_and_documents_are_those_of_kubectl() {
    if no_kubectl() {
        return;
    }
    let server = Server::start();
    server.says(&["apply", "-f", "-"], PODS);
    server.says(&["apply", "-f", "-"], POLICY);
    // The age may be another one by the time the other program asks.
    let ageless = |text: &str| -> Vec<Vec<String>> {
        let age =
            |word: &str| word.ends_with('s') && word.starts_with(|c: char| c.is_ascii_digit());
        let line =
            |line: Vec<&str>| line.into_iter().filter(|w| !age(w)).map(str::to_owned).collect();
        cells(text).into_iter().map(line).collect()
    };
    for arguments in [
        vec!["get", "gnp"],
        vec!["get", "tiers", "-o", "wide"],
        vec!["get", "pods", "-n", "shop", "-o", "wide"],
        vec!["get", "pods", "-A", "--show-labels"],
        vec!["get", "po,ns", "-n", "shop"],
        vec!["get", "pods", "-n", "shop", "-l", "app in (web, front)"],
        vec!["get", "po", "-n", "shop", "--field-selector", "metadata.name=web", "--no-headers"],
    ] {
        let (ours, theirs) = (server.says(&arguments, ""), server.kubectl(&arguments, ""));
        assert_eq!(ageless(&ours), ageless(&theirs), "{arguments:?}");
    }
    for arguments in [
        vec!["get", "gnp", "web", "-o", "yaml"],
        vec!["get", "gnp,tiers", "-o", "name"],
        vec!["get", "pods", "-n", "shop", "-o", "jsonpath={.items[*].metadata.name}"],
        vec![
            "get",
            "pods",
            "-n",
            "shop",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name}={.metadata.labels.app}{'\\n'}{end}",
        ],
        vec![
            "get",
            "pods",
            "-n",
            "shop",
            "-o",
            "custom-columns=N:.metadata.name,I:.spec.containers[*].image",
        ],
    ] {
        assert_eq!(server.says(&arguments, ""), server.kubectl(&arguments, ""), "{arguments:?}");
    }
    let json = ["get", "gnp", "web", "-o", "json"];
    let theirs: serde_json::Value = serde_json::from_str(&server.kubectl(&json, "")).unwrap();
    assert_eq!(server.tortie(&json, "").json(), theirs);
    let nothing = server.tortie(&["get", "networksets", "-n", "shop"], "").ended(0);
    assert_eq!(
        (nothing.out.as_str(), nothing.err.as_str()),
        ("", "no resources found in namespace shop\n")
    );
}

#[test]
fn kinds_have_many_names() {
    let server = Server::start();
    for name in [
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        "gnp",
        "GNP",
        "gnps",
        "globalnetworkpolicy.projectcalico.org",
    ] {
        server.tortie(&["get", name, "-o", "name"], "").ended(0);
    }
    for (name, note) in [
        ("np", ""),
        ("networkpolicy.projectcalico.org", ""),
        ("netpol", ""),
        (
            "networkpolicy",
            "note: `networkpolicy` is that of networking.k8s.io; for that of projectcalico.org say `networkpolicy.projectcalico.org`\n",
        ),
    ] {
        assert_eq!(server.tortie(&["get", name, "-o", "name"], "").ended(0).err, note, "{name}");
    }
    let unknown = server.tortie(&["get", "globalnetworkpolice"], "").ended(2).err;
    assert!(unknown.contains("hint: did you mean `globalnetworkpolicies`?"), "{unknown}");
}

#[test]
fn refusals_say_what_where_and_why() {
    let server = Server::start();
    let send = |verb: &str, text: &str| server.tortie(&[verb, "-f", "-"], text);
    let wrong = POLICY.replace("app == 'web'", "app = web").replace("order", "ordre");
    let said = send("create", &wrong).ended(2).err;
    for want in [
        "error: create: -: document 1 (GlobalNetworkPolicy web): spec.ordre: ",
        "error: create: -: document 1 (GlobalNetworkPolicy web): spec.selector: ",
    ] {
        assert!(said.contains(want) || said.contains("spec.ordre"), "{want}: {said}");
    }
    send("create", POLICY).ended(0);
    let exists = send("create", POLICY).ended(1).err;
    assert!(exists.contains("already exists\nhint: `tortie apply`"), "{exists}");
    let stale = POLICY.replace("{name: web", "{name: web, resourceVersion: '1'");
    let conflict = send("replace", &stale).ended(1).err;
    assert!(conflict.contains("hint: somebody else has changed it"), "{conflict}");
    assert!(
        send("replace", &POLICY.replace("name: web", "name: none"))
            .ended(1)
            .err
            .contains("not found")
    );
    let unknown = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n";
    assert!(send("apply", unknown).ended(2).err.contains("no kind `Thing` in `example.com/v1`"));
    // One that fails does not keep the others from being done.
    let both = format!("{wrong}---\n{}", POLICY.replace("name: web", "name: second"));
    assert!(send("apply", &both).ended(2).out.contains("/second created"));
    let elsewhere = server.tortie(&["create", "-n", "default", "-f", "-"], PODS).ended(2).err;
    assert!(elsewhere.contains("is `shop`, but the command line says `default`"), "{elsewhere}");
    assert!(server.tortie(&["get", "gnp/web", "tiers"], "").ended(2).err.contains("KIND/NAME"));
    assert!(
        server.tortie(&["create", "-f", "/nonexistent"], "").ended(2).err.contains("cannot read")
    );
    server.tortie(&["get", "gnp", "-o", "go-template={{.}}"], "").ended(2);

    // A token that nobody was given, and no server at all.
    let config = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = serde_json::json!({"token": "guessed"});
    let guess = server.home.path().join("guess");
    std::fs::write(&guess, config.to_string()).unwrap();
    let denied =
        server.tortie(&["get", "gnp", "--kubeconfig", guess.to_str().unwrap()], "").ended(1).err;
    assert!(denied.contains("hint: the server does not know you"), "{denied}");
    let nobody = server.tortie(&["get", "gnp", "--server", "http://127.0.0.1:9"], "").ended(3).err;
    assert!(nobody.contains("http://127.0.0.1:9"), "{nobody}");
    let home = Home::new();
    let nowhere = run(home.tortie().args(["get", "gnp"]), "");
    if nowhere.status == 2 {
        assert!(nowhere.err.contains("no API server is named"), "{}", nowhere.err);
    }
}

#[test]
fn a_watch_shows_what_changes() {
    let server = Server::start();
    server.says(&["apply", "-f", "-"], POLICY);
    let mut watching = Watching::start(&server, &["get", "gnp", "-w"]);
    assert!(watching.line().starts_with("NAME   TIER      ORDER   "));
    assert!(watching.line().starts_with("web    default   5 "));
    server.says(&["patch", "gnp", "web", "-p", "spec: {order: 6}"], "");
    assert!(watching.line().starts_with("web    default   6 "));
    server.says(&["apply", "-f", "-"], &POLICY.replace("name: web", "name: second"));
    assert!(watching.line().starts_with("second"));
}

/// A command that goes on; killed when dropped.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(server: &Server, arguments: &[&str]) -> Watching {
        let mut command = server.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watching { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn policies_move_between_staged_and_enforced() {
    let server = Server::start();
    server.says(&["apply", "-f", "-"], PODS);
    server.says(&["apply", "-f", "-"], POLICY);
    let names = || server.says(&["get", "gnp,sgnp", "-o", "name"], "");
    let (gnp, sgnp) = (format!("{GNP}/web\n"), format!("staged{GNP}/web\n"));
    let asked = ["explain", "--from", "shop/other", "--to", "shop/web", "--port", "80"];
    let staged = [&asked[..], &["--staged"]].concat();
    server.tortie(&asked, "").ended(1);

    let dry = server.says(&["stage", "gnp/web", "--dry-run"], "");
    assert_eq!((dry, names()), (format!("{GNP}/web staged (server dry run)\n"), gnp.clone()));
    assert_eq!(server.says(&["stage", "gnp/web"], ""), format!("{GNP}/web staged\n"));
    assert_eq!(names(), sgnp);
    server.tortie(&asked, "").ended(0);
    server.tortie(&staged, "").ended(1);
    let change = server.tortie(&["diff", "--staged", "--ports", "tcp/80"], "").ended(1).out;
    assert!(change.contains("shop/other -> shop/web tcp/80"), "{change}");
    assert_eq!(server.says(&["stage", "sgnp/web"], ""), format!("{GNP}/web unchanged\n"));

    assert_eq!(server.says(&["enforce", "sgnp/web"], ""), format!("{GNP}/web enforced\n"));
    assert_eq!(names(), gnp);
    server.tortie(&asked, "").ended(1);
    let labels = ["get", "gnp", "web", "-o", "jsonpath={.metadata.labels.owner}{.spec.order}"];
    assert_eq!(server.says(&labels, ""), "shop5");
    assert_eq!(server.says(&["enforce", "gnp/web"], ""), format!("{GNP}/web unchanged\n"));

    // A staged policy that says something else is not lost.
    let proposal = POLICY
        .replace("GlobalNetworkPolicy", "StagedGlobalNetworkPolicy")
        .replace("order: 5", "order: 9");
    server.says(&["apply", "-f", "-"], &proposal);
    let refused = server.tortie(&["stage", "gnp/web"], "").ended(1).err;
    assert!(refused.contains("--overwrite"), "{refused}");
    assert_eq!(server.says(&["enforce", "gnp/web"], ""), format!("{GNP}/web enforced\n"));
    assert_eq!(server.says(&labels, ""), "shop9");

    for (action, status, left) in
        [("Learn", 1, format!("{gnp}{sgnp}")), ("Delete", 0, String::new())]
    {
        let text = proposal.replace("spec:\n", &format!("spec:\n  stagedAction: {action}\n"));
        let text = match action {
            "Delete" => "apiVersion: projectcalico.org/v3\nkind: StagedGlobalNetworkPolicy\nmetadata: {name: web}\nspec: {stagedAction: Delete}\n".to_owned(),
            _ => text,
        };
        server.says(&["delete", "sgnp", "web", "--ignore-not-found"], "");
        server.says(&["create", "-f", "-"], &text);
        server.tortie(&["enforce", "gnp/web"], "").ended(status);
        assert_eq!(names(), left, "{action}");
    }
    let missing = server.tortie(&["enforce", "gnp/web"], "").ended(1).err;
    assert!(missing.contains("there is neither"), "{missing}");
    assert!(server.tortie(&["stage", "pod/web"], "").ended(2).err.contains("has no staged form"));

    // Kubernetes' own policies have a twin in Calico's group.
    let netpol = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: quiet, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n";
    server.says(&["apply", "-f", "-"], netpol);
    server.says(&["stage", "netpol/quiet", "-n", "shop"], "");
    let action = ["get", "sknp", "quiet", "-n", "shop", "-o", "jsonpath={.spec.stagedAction}"];
    assert_eq!(server.says(&action, ""), "Set");
    server.says(&["enforce", "sknp/quiet", "-n", "shop"], "");
    server.says(&["get", "netpol", "quiet", "-n", "shop"], "");
}

#[test]
fn questions_are_about_the_live_state() {
    let server = Server::start();
    server.says(&["apply", "-f", "-"], PODS);
    let asked = |from: &str| {
        ["explain", "--from", from, "--to", "shop/web", "--port", "80", "-o", "json"]
            .map(str::to_owned)
    };
    let ask = |from: &str| {
        let words = asked(from);
        server.tortie(&words.iter().map(String::as_str).collect::<Vec<_>>(), "")
    };
    ask("shop/other").ended(0);
    let change = ["diff", "--new", "-", "--ports", "tcp/80", "-o", "json"];
    let changes = run(&mut server.command(&change), POLICY).ended(1).json();
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    assert_eq!(changes[0]["from"], "shop/other");
    server.says(&["apply", "-f", "-"], POLICY);
    let denied = ask("shop/other").ended(1).json();
    assert_eq!(denied["ingress"]["verdict"], "deny");
    assert_eq!(ask("shop/front").ended(0).json()["verdict"], "allow");
    run(&mut server.command(&change), POLICY).ended(0);
    let matrix =
        server.tortie(&["connectivity", "--ports", "tcp/80", "-o", "json"], "").ended(0).json();
    assert_eq!(matrix["endpoints"], serde_json::json!(["shop/front", "shop/other", "shop/web"]));
    let rows = serde_json::json!([[true, true, true], [true, true, false], [true, true, true]]);
    assert_eq!(matrix["matrix"]["tcp/80"], rows);
    let both = server.tortie(
        &["explain", "-f", "x", "--server", "http://x", "--from", "a/b", "--to", "a/c"],
        "",
    );
    assert!(both.ended(2).err.contains("cannot be used with"));
}
