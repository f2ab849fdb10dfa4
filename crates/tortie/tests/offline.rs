//! The commands that work on files alone, as scripts call them: arguments, exit status, what is on
//! standard output and what on standard error.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What a command did.
#[derive(Debug)]
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The run, if it ended with this status, and with nothing on standard error if it is 0 or 1.
    #[track_caller]
    fn ended(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert!(status == 2 || self.stderr.is_empty(), "{self:?}");
        self
    }
}

fn tortie_with(args: &[&str], input: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tortie"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may end before it is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        status: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn tortie(args: &[&str]) -> Run {
    tortie_with(args, "")
}

fn repository(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(path).to_str().unwrap().to_owned()
}

/// A folder with files.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files(folder)
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.to_str().unwrap().to_owned()
    }
}

const CLUSTER: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: web, containers: [{ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: app == 'db'
  ingress:
    - {action: Log}
    - action: Allow
      protocol: TCP
      source: {serviceAccounts: {names: [web]}}
      destination: {ports: [5432]}
      http: {methods: [GET]}
";

const POLICY: &str = "\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {selector: all()}
";

#[test]
fn validate_says_that_all_is_well() {
    let files = Files::new(&[("a.yaml", CLUSTER)]);
    let run = tortie(&["validate", "-f", &files.path("a.yaml")]).ended(0);
    assert_eq!(run.stdout, "4 resources are valid\n");
    let run = tortie(&["validate", "-f", &files.path("a.yaml"), "-o", "json"]).ended(0);
    assert_eq!(run.json(), json!([]));
}

#[test]
fn validate_tells_every_error_with_its_place() {
    let wrong = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
                 metadata: {name: x, namespace: shop}\n\
                 spec: {selector: app = 'x', ingress: [{action: Allw}]}\n";
    let files = Files::new(&[
        ("a.yaml", &format!("{CLUSTER}---\n{wrong}")),
        (
            "b.json",
            r#"{"apiVersion": "projectcalico.org/v3", "kind": "Tierr", "metadata": {"name": "t"}}"#,
        ),
    ]);
    let (a, b) = (files.path("a.yaml"), files.path("b.json"));
    let run = tortie(&["validate", "-f", &a, "-o", "json"]).ended(2);
    assert!(run.stderr.is_empty(), "{run:?}");
    let errors = run.json();
    let errors = errors.as_array().unwrap();
    assert_eq!(errors.len(), 2);
    for (error, field) in errors.iter().zip(["spec.selector", "spec.ingress[0].action"]) {
        assert_eq!(error["file"], json!(a));
        assert_eq!(error["document"], json!(4));
        assert_eq!(error["kind"], json!("NetworkPolicy"));
        assert_eq!(error["namespace"], json!("shop"));
        assert_eq!(error["name"], json!("x"));
        assert_eq!(error["field"], json!(field));
        assert!(!error["reason"].as_str().unwrap().is_empty());
    }

    let run = tortie(&["validate", "-f", &a]).ended(2);
    assert!(run.stdout.is_empty(), "{run:?}");
    let expected = format!(
        "error: invalid input: {a}: document 5 (NetworkPolicy shop/x): spec.selector: bad selector"
    );
    assert!(run.stderr.starts_with(&expected), "{}", run.stderr);
    assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);

    let run = tortie(&["validate", "-f", &b]).ended(2);
    assert!(run.stderr.contains("`Tierr`") && run.stderr.contains("hint: did you mean `Tier`?"));
}

#[test]
fn a_lost_indentation_is_shown_where_it_is() {
    let path = repository("corpus/validation/yaobank-third-policy-indentation.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let line = 1 + text.lines().position(|l| l.trim() == "ingress:").unwrap();
    let run = tortie(&["validate", "-f", &path]).ended(2);
    let place = format!("error: invalid input: {path}:{line}:");
    assert!(run.stderr.starts_with(&place), "{}", run.stderr);
    let hint = format!("\nhint: `ingress:` in line {line} is indented deeper than `selector:`");
    assert!(run.stderr.contains(&hint), "{}", run.stderr);

    let errors = tortie(&["validate", "-f", &path, "-o", "json"]).ended(2).json();
    assert_eq!(errors[0]["line"], json!(line));
    assert_eq!(errors[0]["field"], json!(""));
    assert!(errors[0]["hint"].as_str().unwrap().contains("indent both alike"));
}

#[test]
fn files_come_from_folders_and_standard_input() {
    let other = POLICY.replace("name: p", "name: q");
    let third = POLICY.replace("name: p", "name: r");
    let files = Files::new(&[
        ("a.yaml", POLICY),
        ("deep/er/b.yml", &other),
        ("deep/c.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}"#),
        (".hidden/d.yaml", "not: [read"),
        ("e.txt", "not: [read"),
    ]);
    let folder = files.path("");
    let count = |args: &[&str], input: &str| {
        let run = tortie_with(&[&["validate"][..], args].concat(), input).ended(0);
        run.stdout.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(count(&["-f", &folder], ""), 1);
    assert_eq!(count(&["-f", &folder, "-R"], ""), 3);
    assert_eq!(count(&["-R", "-f", &folder, "-f", "-"], &third), 4);
    assert_eq!(count(&["-f", "-"], &format!("{POLICY}---\n{other}---\n")), 2);
    assert_eq!(count(&["-f", "-"], ""), 0);

    let run = tortie(&["validate", "-R", "-f", &folder, "-f", &files.path("a.yaml")]).ended(2);
    assert!(run.stderr.contains("the same resource is given twice"), "{}", run.stderr);
    let run = tortie_with(&["validate", "-f", "-"], "a: [").ended(2);
    assert!(run.stderr.starts_with("error: invalid input: -:"), "{}", run.stderr);
    let run = tortie(&["validate", "-f", &files.path("none.yaml")]).ended(2);
    assert!(run.stderr.contains("none.yaml: cannot read the file"), "{}", run.stderr);
    assert!(run.stderr.contains("\nhint: check the spelling"), "{}", run.stderr);
}

#[test]
fn what_nobody_reads_is_passed_over_with_a_warning() {
    let text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}";
    let run = tortie_with(&["validate", "-f", "-"], text);
    assert_eq!(run.status, 0);
    assert_eq!(
        run.stderr,
        "warning: -: document 1 (ConfigMap c): kind: has no meaning for policy, passed over\n"
    );
    let run = tortie_with(&["validate", "-f", "-", "-o", "json"], text);
    assert_eq!(run.json(), json!([]), "the warning does not spoil the document");
}

#[test]
fn secrets_are_never_shown() {
    let text = "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {key: [hunter2]}}\n---\n\
                {apiVersion: v1, kind: Secret, metadata: {name: t}, stringData: hunter2}\n";
    for format in ["table", "json"] {
        let run = tortie_with(&["validate", "-f", "-", "-o", format], text).ended(2);
        assert!(!format!("{run:?}").contains("hunter2"), "{run:?}");
    }
}

/// `tortie explain` on [`CLUSTER`].
fn explain(args: &[&str]) -> Run {
    tortie_with(&[&["explain", "-f", "-"][..], args].concat(), CLUSTER)
}

#[test]
fn explain_answers_with_its_exit_status() {
    let flow = ["--from", "192.0.2.1", "--to", "shop/db", "--port", "5432"];
    let run = explain(&flow).ended(1);
    assert!(run.stdout.starts_with("deny\n  ingress of shop/db: deny, "), "{run:?}");
    assert!(run.stdout.contains("192.0.2.1"), "{run:?}");

    let flow = ["--from", "shop/db", "--to", "shop/web-1", "--port", "http"];
    let run = explain(&flow).ended(0);
    assert!(run.stdout.starts_with("allow\n"), "{run:?}");
    assert!(run.stdout.contains("profile kns.shop"), "{run:?}");
}

#[test]
fn explain_gives_json_as_promised() {
    let request = ["--method", "GET", "--path", "/x", "-o", "json"];
    let flow = ["--from", "shop/web-0", "--to", "shop/db", "--port", "5432"];
    let answer = explain(&[&flow[..], &request].concat()).ended(0).json();
    let by_reference = explain(&[&flow[..], &request, &["--engine", "reference"]].concat());
    assert_eq!(by_reference.ended(0).json(), answer);
    assert_eq!(answer["verdict"], json!("allow"));
    for (leg, endpoint) in
        [("egress", "shop/web-0"), ("ingress", "shop/db"), ("application", "shop/db")]
    {
        assert_eq!(answer[leg]["endpoint"], json!(endpoint));
        assert_eq!(answer[leg]["verdict"], json!("allow"));
    }
    let trace = answer["application"]["trace"].as_array().unwrap();
    assert_eq!(
        trace.iter().map(fields).collect::<Vec<_>>(),
        [
            json!(["default", "NetworkPolicy", "shop", "db", "log", 0]),
            json!(["default", "NetworkPolicy", "shop", "db", "allow", 1]),
        ]
    );
    assert_eq!(
        fields(&answer["egress"]["trace"][0]),
        json!([null, "Profile", null, "kns.shop", "profile", 0])
    );

    let flow = ["--from", "192.0.2.1", "--to", "shop/db", "--port", "5432", "-o", "json"];
    let answer = explain(&flow).ended(1).json();
    assert_eq!((&answer["egress"], &answer["application"]), (&Value::Null, &Value::Null));
    let trace = answer["ingress"]["trace"].as_array().unwrap();
    assert_eq!(
        trace.iter().map(fields).collect::<Vec<_>>(),
        [
            json!(["default", "NetworkPolicy", "shop", "db", "log", 0]),
            json!(["default", "NetworkPolicy", "shop", "db", "no-match", null]),
            json!(["default", null, null, null, "tier-default", null]),
        ]
    );
}

/// The promised fields of a trace entry; each must be there, if only as null.
fn fields(entry: &Value) -> Value {
    let fields = ["tier", "kind", "namespace", "name", "action", "rule"];
    fields.into_iter().map(|f| entry.get(f).unwrap_or_else(|| panic!("{entry}")).clone()).collect()
}

#[test]
fn explain_asks_the_sidecar_about_certificates() {
    let flow = ["--from", "shop/web-0", "--to", "shop/db", "--port", "5432", "--method", "GET"];
    let stolen = "spiffe://cluster.local/ns/shop/sa/admin";
    for (identity, domain, status) in [
        ("spiffe://cluster.local/ns/shop/sa/web", "cluster.local", 0),
        (stolen, "cluster.local", 1),
        ("spiffe://bank.example/ns/shop/sa/web", "cluster.local", 1),
        ("spiffe://bank.example/ns/shop/sa/web", "bank.example", 0),
    ] {
        let more = ["--from-identity", identity, "--trust-domain", domain];
        explain(&[&flow[..], &more].concat()).ended(status);
    }
    let run = explain(&[&flow[..], &["--from-identity", stolen]].concat()).ended(1);
    assert!(run.stdout.contains("application of shop/db: deny"), "{run:?}");
    assert!(run.stdout.contains("certificate of shop/admin"), "{run:?}");
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    for (args, want) in [
        (&["--from", "shop/web", "--to", "shop/db"][..], "did you mean `shop/web-0`?"),
        (&["--from", "web-0", "--to", "shop/db"], "neither `namespace/pod` nor"),
        (&["--from", "shop/web-0", "--to", "shop/db", "--port", "0"], "port"),
        (&["--from", "shop/web-0", "--to", "shop/db", "--port", "https"], "`https`"),
        (&["--from", "shop/web-0", "--to", "shop/db", "--protocol", "TPC"], "protocol"),
        (&["--from", "shop/web-0"], "--to"),
        (&["--from", "shop/web-0", "--to", "shop/db", "--nonsense"], "--nonsense"),
    ] {
        let run = explain(args).ended(2);
        assert!(run.stdout.is_empty() && run.stderr.starts_with("error: "), "{args:?}: {run:?}");
        assert!(run.stderr.contains(want), "{args:?}: {run:?}");
    }
    let run = tortie(&["nft", "--node", "n"]).ended(2);
    assert!(run.stderr.contains("--file"), "{run:?}");
}

#[test]
fn selectors_are_checked() {
    let run = tortie(&["selector", "check", "app in {'b','a'} && !has(x)"]).ended(0);
    let mut lines = run.stdout.lines();
    assert_eq!(lines.next(), Some(r#"(app in {"a", "b"} && !has(x))"#));
    assert!(lines.next().unwrap().starts_with("s:") && lines.next().is_none(), "{run:?}");
    let run = tortie(&["selector", "check", ""]).ended(0);
    assert_eq!(run.stdout, "all()\ns:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug\n");

    let run = tortie(&["selector", "check", "app = 'x'"]).ended(2);
    assert!(run.stdout.is_empty(), "{run:?}");
    assert!(run.stderr.starts_with("error: bad selector: "), "{run:?}");
    assert!(run.stderr.contains("\napp = 'x'\n    ^"), "{}", run.stderr);
    assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
}

#[test]
fn selectors_are_matched() {
    let matches =
        |labels: &[&str]| tortie(&[&["selector", "match", "a == 'b=c'"], labels].concat());
    assert_eq!(matches(&["x=", "a=b=c"]).ended(0).stdout, "yes\n");
    assert_eq!(matches(&["a=b"]).ended(1).stdout, "no\n");
    assert_eq!(matches(&[]).ended(1).stdout, "no\n");
    for wrong in ["a", "=b"] {
        let run = matches(&[wrong]).ended(2);
        assert!(run.stderr.contains("KEY=VALUE"), "{run:?}");
    }
}

/// Cases about [`CLUSTER`]; the last `wrong` of three do not come true.
fn cases(wrong: usize) -> String {
    let expect = |index: usize, truth: &str| match (index >= 3 - wrong, truth) {
        (false, truth) => truth.to_owned(),
        (true, "allow") => "deny".to_owned(),
        (true, _) => "allow".to_owned(),
    };
    format!(
        "apiVersion: tortie.dev/v1\nkind: PolicyTest\ncases:\n\
         - {{name: web reads, from: shop/web-0, to: shop/db, port: 5432, method: GET, expect: {}}}\n\
         - {{from: shop/web-0, to: shop/db, port: 5432, method: PUT, expect: {},\n   \
             decidedBy: {{leg: application, tier: default, action: tier-default}}}}\n\
         - {{name: nobody else, from: 192.0.2.1, to: shop/db, port: 5432, expect: {}}}\n",
        expect(0, "allow"),
        expect(1, "deny"),
        expect(2, "deny"),
    )
}

#[test]
fn expectations_are_checked() {
    let files = Files::new(&[("cluster.yaml", CLUSTER), ("cases.yaml", &cases(0))]);
    let (cluster, good) = (files.path("cluster.yaml"), files.path("cases.yaml"));
    for engine in ["compiled", "reference"] {
        let run = tortie(&["test", "-f", &cluster, &good, "--engine", engine]).ended(0);
        assert_eq!(run.stdout, "3 passed, 0 failed\n", "{engine}");
    }

    let files = Files::new(&[("cases.yaml", &cases(2))]);
    let bad = files.path("cases.yaml");
    let run = tortie(&["test", "-f", &cluster, &bad]).ended(1);
    assert!(run.stdout.starts_with("FAILED shop/web-0 -> shop/db: expected allow, found deny\n"));
    assert!(run.stdout.contains("FAILED nobody else: "), "{run:?}");
    assert!(run.stdout.ends_with("\n1 passed, 2 failed\n"), "{run:?}");

    let reports = tortie(&["test", "-f", &cluster, &bad, "-o", "json"]).ended(1).json();
    let passed: Vec<_> = reports.as_array().unwrap().iter().map(|r| &r["passed"]).collect();
    assert_eq!(passed, [true, false, false]);
    assert_eq!(reports[0]["name"], json!("web reads"));
    assert_eq!(reports[1]["explanation"]["verdict"], json!("deny"));
}

#[test]
fn the_rule_that_must_decide_is_compared() {
    let by = |by: &str| {
        let case = format!(
            "apiVersion: tortie.dev/v1\nkind: PolicyTest\ncases:\n\
             - {{from: shop/web-0, to: shop/db, port: 5432, method: GET, expect: allow, decidedBy: {{{by}}}}}\n"
        );
        let files = Files::new(&[("cluster.yaml", CLUSTER), ("cases.yaml", &case)]);
        tortie(&["test", "-f", &files.path("cluster.yaml"), &files.path("cases.yaml")])
    };
    by("leg: application, namespace: shop, name: db, rule: 1").ended(0);
    for (wrong, want) in [
        ("rule: 0", "expected rule `0` to decide, found `1`"),
        ("leg: ingress", "expected leg `ingress` to decide, found `application`"),
        ("name: web", "expected name `web` to decide, found `db`"),
    ] {
        let run = by(wrong).ended(1);
        assert!(run.stdout.contains(want), "{run:?}");
    }
}

#[test]
fn cases_that_are_no_cases_are_refused() {
    let cluster = Files::new(&[("cluster.yaml", CLUSTER)]);
    let cluster = cluster.path("cluster.yaml");
    for (text, want) in [
        (POLICY, "no cases to test"),
        ("{apiVersion: tortie.dev/v1, kind: PolicyTest}", "no cases to test"),
        (
            "{apiVersion: tortie.dev/v1, kind: PolicyTest, cases: [{from: 192.0.2.1, to: shop/db}]}",
            "cases[0].expect: is required",
        ),
        (
            "{apiVersion: tortie.dev/v1, kind: PolicyTest, cases: [{from: a, to: b, expect: allow}]}",
            "cases[0].from: `a` is neither",
        ),
        (
            "{apiVersion: tortie.dev/v1, kind: PolicyTest, cases: [{expects: allow}]}",
            "cases[0].expects: unknown field",
        ),
    ] {
        let run = tortie_with(&["test", "-f", &cluster, "-"], text).ended(2);
        assert!(run.stdout.is_empty() && run.stderr.contains(want), "{text}: {run:?}");
    }
    let text = cases(0).replace("shop/db", "shop/dbb");
    let run = tortie_with(&["test", "-f", &cluster, "-"], &text).ended(1);
    assert!(run.stdout.contains("there is no pod `shop/dbb`"), "{run:?}");
}

#[test]
fn the_examples_keep_their_promises() {
    let folder = repository("examples/yaobank");
    let cases = format!("{folder}/policy-test.yaml");
    let run = tortie(&["test", "-f", &folder, &cases]).ended(0);
    assert!(run.stdout.ends_with(" passed, 0 failed\n"), "{run:?}");
    tortie(&["validate", "-f", &folder]).ended(0);
}

#[test]
fn usage_is_explained() {
    let run = tortie(&["--help"]).ended(0);
    for command in ["validate", "explain", "test", "selector", "demo"] {
        assert!(run.stdout.contains(command), "{command}");
        let run = tortie(&[command, "--help"]).ended(0);
        assert!(run.stdout.contains("Usage:"), "{command}");
    }
    tortie(&["--version"]).ended(0);
    for wrong in [&[][..], &["frobnicate"], &["validate"], &["explain", "-f"], &["selector"]] {
        let run = tortie(wrong).ended(2);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{wrong:?}: {run:?}");
    }
}

/// `2>&1 | head -0`: nobody reads errors, but the exit status says what it would.
#[test]
fn a_closed_pipe_of_errors_is_no_panic() {
    for args in
        [&["validate", "-f", "/nonexistent"][..], &["selector", "check", "a =="], &["frobnicate"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = Command::new(env!("CARGO_BIN_EXE_tortie"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(writer)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2), "{args:?}");
    }
}

/// `tortie … | head -0`: the reader is gone before anything is written.
#[test]
fn a_closed_pipe_is_no_panic() {
    let files = Files::new(&[("a.yaml", CLUSTER)]);
    let path = files.path("a.yaml");
    for args in [
        &["validate", "-f", &path][..],
        &["validate", "-f", &path, "-o", "json"],
        &["explain", "-f", &path, "--from", "shop/web-0", "--to", "shop/db"],
        &["connectivity", "-f", &path, "--ports", "tcp/80"],
        &["selector", "check", "all()"],
        &["selector", "match", "all()"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = Command::new(env!("CARGO_BIN_EXE_tortie"))
            .args(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(3), ""), "{args:?}");
    }
}
