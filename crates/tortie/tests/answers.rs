//! What commands against a server answer: exit status, standard output, and what standard error says,
//! hints included. One table, played from top to bottom on one server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Run, Server, run};

const WEB: &str = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web, labels: {owner: shop}}
spec:
  order: 5
  selector: app == 'web'
  ingress:
  - {action: Allow, protocol: TCP, destination: {ports: [80]}}
";
const INNER: &str = r#"{"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
 "metadata": {"name": "inner", "namespace": "default"}, "spec": {"selector": "all()"}}"#;
/// YAML takes `y` for a truth.
const TRUTH: &str = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: y}
spec: {}
";
const GENERATED: &str = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {generateName: made-}
spec: {}
";
const NAMELESS: &str = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
spec: {}
";
const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: key, namespace: default}
stringData: {pw: hunter2}
";
/// Names and values that steer a terminal.
const LOUD: &str = r#"{"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet",
 "metadata": {"name": "loud", "namespace": "default", "annotations": {"x": "a\u001b[2J\nb"}}}"#;
const LOUDER: &str = r#"{"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet",
 "metadata": {"name": "l\u001b[2Jd\u202e", "namespace": "default"}}"#;
const LOST: &str = "apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: x, namespace: nowhere}
spec: {}
";

/// A server, and a folder `policies` with one policy in it and one below it.
struct Stage {
    server: Server,
    folder: String,
}

impl Stage {
    fn set() -> Stage {
        let server = Server::start();
        let folder = server.home.path().join("policies");
        std::fs::create_dir_all(folder.join("below")).unwrap();
        std::fs::create_dir_all(server.home.path().join("empty")).unwrap();
        std::fs::write(folder.join("web.yaml"), WEB).unwrap();
        std::fs::write(folder.join("below/inner.json"), INNER).unwrap();
        std::fs::write(folder.join("notes.txt"), "no: [yaml").unwrap();
        let broken = "users: [{user: {token: hunter2}}]\nclusters: {";
        std::fs::write(server.home.path().join("broken"), broken).unwrap();
        Stage { folder: server.home.path().to_str().unwrap().to_owned(), server }
    }

    /// Runs the words of a line, in the folder.
    fn play(&self, line: &str, input: &str) -> Run {
        let words = line.split(' ').map(|word| word.replace('_', " "));
        let words: Vec<String> = words.collect();
        let mut command = self.server.home.tortie();
        command.args(words).env("KUBECONFIG", self.server.kubeconfig());
        run(command.current_dir(&self.folder), input)
    }
}

/// A line (`_` is a blank within a word), standard input, exit status, and parts of what is said: on
/// standard output, and on standard error.
type Line = (&'static str, &'static str, i32, &'static str, &'static str);

const MANIFESTS: &[Line] = &[
    ("apply -f policies -R --dry-run", "", 0, "inner created (server dry run)", ""),
    ("get gnp,np", "", 0, "", "no resources found in namespace default"),
    ("apply -f policies", "", 0, "/web created\n", ""),
    ("apply -f policies -R", "", 0, "/web unchanged\n", ""),
    ("apply -f policies/web.yaml -f -", INNER, 0, "/inner unchanged\n", ""),
    ("create -f policies", "", 1, "", "already exists\nhint: `tortie apply` changes what is there"),
    ("create", "", 2, "", "error: no file is named\nhint: say -f FILE"),
    ("replace", "", 2, "", "hint: say -f FILE"),
    ("create -f none", "", 2, "", "none: cannot read the file"),
    ("create -f policies/notes.txt", "", 2, "", "policies/notes.txt:1:"),
    ("create -f empty", "", 2, "", "error: empty: there are no objects"),
    ("create -f -", "", 2, "", "error: -: there are no objects"),
    ("create -f -", "a: 1", 2, "", "-: document 1: apiVersion: is required"),
    (
        "create -f -",
        NAMELESS,
        2,
        "",
        "document 1 (GlobalNetworkPolicy): metadata.name: is required",
    ),
    ("create -f -", GENERATED, 0, "/made-", ""),
    ("apply -f -", GENERATED, 2, "", "is required\nhint: only `tortie create` makes a name"),
    ("replace -f -", NAMELESS, 2, "", "metadata.name: is required"),
    ("delete -f -", NAMELESS, 2, "", "metadata.name: is required"),
    ("create -f -", TRUTH, 2, "", "metadata.name: is not text\nhint: put it in quotes"),
    ("apply -f -", TRUTH, 2, "", "metadata.name: is not text"),
    ("apply -f -", LOST, 1, "", "namespaces \"nowhere\" not found"),
    ("apply -f policies -o yaml --dry-run=client", "", 0, "  order: 5\n", ""),
    ("apply -f policies --dry-run=never", "", 2, "", "none, client, server"),
    ("replace -f policies/web.yaml", "", 0, "/web replaced\n", ""),
    ("get -f policies -R -o name", "", 0, "networkpolicy.projectcalico.org/inner\nglobal", ""),
];

const READING: &[Line] = &[
    ("get gnp,np -A -o name", "", 0, "networkpolicy.projectcalico.org/inner\n", ""),
    ("get gnp/web np/inner", "", 0, "networkpolicy.projectcalico.org/inner ", ""),
    ("get gnp none", "", 1, "", "error: get: globalnetworkpolicies: "),
    ("get gnp web none", "", 1, "web    default   5 ", "\"none\" not found"),
    ("get gnp none web -o name", "", 1, "globalnetworkpolicy.projectcalico.org/web\n", "\"none\""),
    ("get gnp none web -o yaml", "", 1, "  name: web\n", "\"none\" not found"),
    ("get gnp none web -o name --ignore-not-found", "", 0, "/web\n", ""),
    ("get gnp none --ignore-not-found", "", 0, "", ""),
    ("get gnp web -A", "", 2, "", "is in one namespace\nhint: say which by -n"),
    ("get globalnetworkpolicie", "", 2, "", "hint: did you mean `globalnetworkpolicies`?"),
    ("get nothing", "", 2, "", "no kind `nothing`\nhint: say a kind by its name"),
    ("get", "", 2, "", "KIND NAME"),
    ("get gnp web/x", "", 2, "", "KIND/NAME"),
    ("get gnp -o xml", "", 2, "", "must be table, wide, name, yaml, json, jsonpath="),
    ("get gnp -o jsonpath={.items[*", "", 2, "", "is not closed"),
    ("get gnp web -o jsonpath={.spec.order}", "", 0, "5", ""),
    ("get gnp -l owner=shop -o custom-columns=N:.metadata.name", "", 0, "N\nweb\n", ""),
    ("get gnp -l owner_in_(shop", "", 2, "", "unable to parse requirement"),
    ("get gnp --field-selector spec.x=y", "", 2, "", "field label not supported"),
    ("get gnp,np -w", "", 2, "", "--watch: one kind"),
    ("get np -n nowhere", "", 0, "", "no resources found in namespace nowhere"),
    ("describe gnp none web", "", 1, "Name:         web\n", "\"none\" not found"),
    ("describe networksets", "", 0, "", "no resources found in namespace default"),
    ("describe networksets -A", "", 0, "", "no resources found\n"),
];

const CHANGES: &[Line] = &[
    ("patch gnp web", "", 2, "", "--patch"),
    ("patch gnp web -p {", "", 2, "", "--patch: line 1: not YAML"),
    ("patch gnp -p {}", "", 2, "", "one object must be named"),
    ("patch gnp none -p {}", "", 1, "", "\"none\" not found"),
    ("patch gnp web -p spec:_{order:_6}", "", 0, "/web patched\n", ""),
    ("patch gnp web -p spec:_{order:_6}", "", 0, "/web patched (no change)\n", ""),
    (
        "patch gnp web --type strategic -p spec:_{order:_7}",
        "",
        2,
        "",
        "hint: only kinds of Kubernetes",
    ),
    ("patch gnp web --type json -p {}", "", 2, "", "not a JSON patch"),
    ("patch gnp web -p spec:_{selector:_a_=}", "", 2, "", "spec.selector: bad selector"),
    ("patch gnp web --patch-file none", "", 2, "", "--patch-file: cannot read `none`"),
    ("label gnp web", "", 2, "", "hint: say KEY=VALUE, KEY- or --list"),
    ("label gnp web --list", "", 0, "owner=shop\n", ""),
    ("label gnp web a=b c=d", "", 0, "/web labeled\n", ""),
    ("label gnp web a=x", "", 1, "", "`a` is `b` already\nhint: use --overwrite"),
    ("label gnp web a=x --overwrite --dry-run", "", 0, "/web labeled (server dry run)\n", ""),
    ("label gnp a=b", "", 2, "", "hint: give names, --selector or --all"),
    ("label gnp web -l a=b e=f", "", 2, "", "names exclude --selector and --all"),
    ("label gnp -l a=none e=f", "", 0, "", "no resources found\n"),
    ("label -f policies --all e=f", "", 2, "", "cannot be used with"),
    ("label -f policies e=f", "", 0, "/web labeled\n", ""),
    ("label gnp web bad_key=x", "", 2, "", "metadata.labels: `bad key`"),
    ("annotate gnp/web np/inner note=x", "", 0, "/inner annotated\n", ""),
    (
        "stage gnp/none np/inner --dry-run",
        "",
        1,
        "/inner staged (server dry run)\n",
        "there is neither",
    ),
    ("stage np/inner --dry-run=client", "", 0, "/inner staged (dry run)\n", ""),
    ("get snp", "", 0, "", "no resources found"),
    ("stage inner", "", 2, "", "`inner` is not KIND/NAME"),
    ("stage tier/default", "", 2, "", "has no staged form\nhint: policies have one"),
    ("enforce gnp/none", "", 1, "", "there is neither"),
    ("apply -f -", LOUD, 0, "/loud created\n", ""),
    ("apply -f -", LOUDER, 2, "", "(NetworkSet default/l\\u{1b}[2Jd\\u{202e}): metadata.name: "),
    ("validate -f -", LOUDER, 2, "", "(NetworkSet default/l\\u{1b}[2Jd\\u{202e}): metadata.name: "),
    ("describe networkset loud", "", 0, "x: a\\u{1b}[2J\n", ""),
    ("annotate networkset loud --list", "", 0, "x=a\\u{1b}[2J\n", ""),
    (
        "get networkset loud -o custom-columns=X:.metadata.annotations.x",
        "",
        0,
        "a\\u{1b}[2J\\nb\n",
        "",
    ),
    ("apply -f -", SECRET, 0, "/key created\n", ""),
    ("describe secret key", "", 0, "\n  Pw:  7 bytes\nType:", ""),
    ("get secret key -o yaml", "", 0, "  pw: aHVudGVyMg==\n", ""),
    ("get networkset loud -o yaml", "", 0, "a\\u001b[2J\\nb", ""),
    ("delete networkset loud", "", 0, "\"loud\" deleted", ""),
    // Nothing is named by what a script left empty: certainly not everything.
    ("delete gnp ", "", 2, "", "`` is no name of an object"),
    ("delete gnp .", "", 2, "", "`.` is no name of an object"),
    ("patch gnp  -p {}", "", 2, "", "`` is no name of an object"),
    ("label gnp  e=f", "", 2, "", "`` is no name of an object"),
    ("get gnp ", "", 2, "", "`` is no name of an object"),
    ("delete gnp -l ", "", 2, "", "hint: give names, --selector or --all"),
    ("label gnp -l  e=f", "", 2, "", "hint: give names, --selector or --all"),
    ("get gnp web -o name -n ", "", 0, "/web\n", ""),
    ("delete gnp", "", 2, "", "which globalnetworkpolicies?\nhint: give names"),
    ("delete gnp none web --dry-run", "", 1, "\"web\" deleted (server dry run)\n", "\"none\""),
    ("delete gnp web --all", "", 2, "", "names exclude"),
    ("delete gnp -l none=such", "", 0, "", "no resources found\n"),
    ("delete gnp -f policies", "", 2, "", "cannot be used with"),
    ("delete tier default", "", 1, "", "the tier is built in"),
    ("delete -f policies -R", "", 0, "\"inner\" deleted\n", ""),
    ("delete -f policies -R", "", 1, "", "\"inner\" not found"),
    ("delete -f policies -R --ignore-not-found", "", 0, "", ""),
];

const PLACES: &[Line] = &[
    ("get gnp --server http://127.0.0.1:9", "", 3, "", "cannot reach the API server at `http://"),
    ("get gnp --server http://127.0.0.1:9", "", 3, "", "\nhint: `tortie up` starts a server"),
    ("get gnp --server http://u:hunter2@127.0.0.1:9", "", 2, "", "hint: credentials are said by"),
    ("get gnp --server http://127.0.0.1:9/?token=hunter2", "", 2, "", "a user or a query"),
    // The same flags before the command, as kubectl has them.
    ("--server http://127.0.0.1:9 get gnp", "", 3, "", "cannot reach the API server at `http://"),
    ("--server=http://127.0.0.1:9 -n x apply -f policies", "", 3, "", "cannot reach"),
    ("--kubeconfig none get gnp", "", 2, "", "error: kubeconfig `none`: cannot read the file"),
    ("--context none get gnp", "", 2, "", "there is no context `none`"),
    ("-n kube-system get np", "", 0, "", "no resources found in namespace kube-system"),
    ("--namespace=kube-system get np", "", 0, "", "no resources found in namespace kube-system"),
    ("--server x selector check all()", "", 2, "", "--server"),
    ("--server", "", 2, "", "--server"),
    ("--server x", "", 2, "", "Usage: tortie"),
    ("get gnp --server unix:///none", "", 3, "", "cannot reach the API server at `unix:///none`"),
    ("get gnp --server ftp://x", "", 2, "", "hint: https://"),
    (
        "get gnp --kubeconfig none",
        "",
        2,
        "",
        "error: kubeconfig `none`: cannot read the file: No such",
    ),
    ("get gnp --kubeconfig broken", "", 2, "", "kubeconfig `broken`: it is not the YAML of"),
    ("get gnp --context none", "", 2, "", "there is no context `none`"),
    ("explain --from a/b --to a/c --server http://127.0.0.1:9", "", 3, "", "cannot reach"),
    ("diff --staged --server http://127.0.0.1:9", "", 3, "", "cannot reach"),
];

#[test]
fn every_answer_is_the_one_promised() {
    let stage = Stage::set();
    let mut wrong = Vec::new();
    for (line, input, status, out, err) in [MANIFESTS, READING, CHANGES, PLACES].concat() {
        let said = stage.play(line, input);
        let fits = said.status == status && said.out.contains(out) && said.err.contains(err);
        let silent = status < 2 || said.out.is_empty();
        let secret = said.err.contains("hunter2") || said.err.contains("panicked");
        if !fits || !silent || secret {
            wrong.push(format!("{line}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_certificate_of_nobody_known_is_no_server() {
    let stage = Stage::set();
    let config = std::fs::read_to_string(stage.server.kubeconfig()).unwrap();
    let url = config.split("https://").nth(1).unwrap();
    let url: String = url.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    let line = format!("get gnp --server https://{url}");
    let said = stage.play(&line, "").ended(3);
    assert!(said.err.contains("hint: only the server's own kubeconfig"), "{said:?}");
}

#[test]
fn a_watch_tells_what_is_gone() {
    let stage = Stage::set();
    stage.play("apply -f policies -R", "").ended(0);
    let mut watching = stage.server.command(&["get", "np", "-A", "-w", "-o", "name"]);
    watching.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = watching.spawn().unwrap();
    let line = |from: &mut dyn BufRead| {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        line
    };
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut out), "networkpolicy.projectcalico.org/inner\n");
    stage.play("delete np inner", "").ended(0);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    assert_eq!(line(&mut err), "note: networkpolicy.projectcalico.org/inner is gone\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn every_command_says_how_it_is_used() {
    let stage = Stage::set();
    for verb in [
        "get",
        "describe",
        "create",
        "apply",
        "replace",
        "patch",
        "label",
        "annotate",
        "delete",
        "stage",
        "enforce",
        "explain",
        "connectivity",
        "diff",
        "up",
        "user",
        "calicoctl",
    ] {
        let help = stage.play(&format!("{verb} --help"), "").ended(0).out;
        assert!(help.contains("Examples:"), "{verb}");
        if !["up", "user"].contains(&verb) {
            assert!(help.contains("Exit status: 0 "), "{verb}");
        }
    }
}

#[test]
fn shells_are_told_what_completes() {
    let stage = Stage::set();
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef tortie"), ("fish", "-c tortie")]
    {
        let script = stage.play(&format!("completion {shell}"), "").ended(0).out;
        assert!(script.contains(part) && script.contains("connectivity"), "{shell}");
    }
    stage.play("completion tcsh", "").ended(2);
}
