//! Behind a real Envoy: whatever happens to the authorizer, no request passes without a verdict.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use common::process::{LONG, Server, write};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

/// The header by which an allowed answer names the policy that allowed it.
const VERDICT: &str = "x-tortie-policy";

const POD: &str = "apiVersion: v1\nkind: Pod\n\
    metadata: {name: web, namespace: default, labels: {app: web}}\n\
    spec: {containers: []}\nstatus: {podIP: 10.65.0.9}\n";
const POLICY: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
    metadata: {name: open}\nspec:\n  selector: app == 'web'\n  ingress:\n\
    \x20 - {action: Allow, http: {methods: [GET], paths: [{prefix: /open}]}}\n";

/// Envoy: `$ENVOY`, the PATH, or the project's cache. In CI it must be there.
fn envoy() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        || std::env::split_paths(&path).map(|dir| dir.join("envoy")).find(|f| f.is_file());
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/envoy/envoy");
    let found = std::env::var_os("ENVOY").map(PathBuf::from).or_else(on_path);
    let found = found.or_else(|| cached.is_file().then_some(cached));
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs envoy (set ENVOY)");
        eprintln!("skipped: needs envoy (set ENVOY or put it on the PATH)");
    }
    found
}

/// An Envoy that answers 200 itself to what the authorizer allows; killed on drop.
struct Proxy {
    child: Child,
    /// Where it listens: at a path, which nobody else can take.
    address: PathBuf,
}

impl Proxy {
    /// One that waits so long for the authorizer.
    fn start(envoy: &Path, folder: &Path, authorizer: &Path, patience: &str) -> Proxy {
        let address = folder.join("in.sock");
        let file = folder.join("envoy.json");
        std::fs::write(&file, bootstrap(&address, authorizer, patience).to_string()).unwrap();
        let log = std::fs::File::create(folder.join("envoy.log")).unwrap();
        let child = Command::new(envoy)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let proxy = Proxy { child, address };
        let deadline = Instant::now() + LONG;
        while UnixStream::connect(&proxy.address).is_err() {
            assert!(Instant::now() < deadline, "Envoy does not listen");
            std::thread::yield_now();
        }
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bootstrap(address: &Path, authorizer: &Path, patience: &str) -> serde_json::Value {
    let typed = |kind: &str, mut fields: serde_json::Value| {
        fields["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
        fields
    };
    let ext_authz = typed(
        "filters.http.ext_authz.v3.ExtAuthz",
        json!({
            "transport_api_version": "V3", "failure_mode_allow": false,
            "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": patience},
        }),
    );
    let manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "in",
            "http_filters": [
                {"name": "envoy.filters.http.ext_authz", "typed_config": ext_authz},
                {"name": "router", "typed_config": typed("filters.http.router.v3.Router", json!({}))},
            ],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "in"}}},
            ]}]},
        }),
    );
    let http2 = json!({"explicit_http_config": {"http2_protocol_options": {}}});
    let protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "static_resources": {
            "listeners": [{
                "name": "in",
                "address": {"pipe": {"path": address}},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [{
                "name": "authz", "type": "STATIC", "connect_timeout": "0.2s",
                "typed_extension_protocol_options": {
                    protocol: typed("upstreams.http.v3.HttpProtocolOptions", http2),
                },
                "load_assignment": {"cluster_name": "authz", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"pipe": {"path": authorizer}}}},
                ]}]},
            }],
        },
    })
}

/// The status of an answer, and the policy that it says allowed the request.
fn get(
    address: &Path,
    path: &str,
    headers: &str,
) -> std::io::Result<(u16, Option<String>, String)> {
    let mut stream = UnixStream::connect(address)?;
    stream.set_read_timeout(Some(LONG))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    let header = text.lines().find_map(|line| line.strip_prefix(VERDICT)?.strip_prefix(": "));
    Ok((status, header.map(str::to_owned), text))
}

/// What requests came to, in order: when they began and ended, and what was answered.
#[derive(Debug, Clone)]
struct Seen {
    begun: Instant,
    took: Duration,
    open: bool,
    status: u16,
    verdict: Option<String>,
}

/// Asks one question after the other, until nobody listens any more.
fn ask_on(address: &Path, worker: usize, seen: &Sender<Seen>) {
    for turn in 0.. {
        let open = (turn + worker).is_multiple_of(2);
        let begun = Instant::now();
        let answer = get(address, if open { "/open/x" } else { "/secret" }, "");
        let (status, verdict, _) = answer.unwrap_or((0, None, String::new()));
        let took = begun.elapsed();
        if seen.send(Seen { begun, took, open, status, verdict }).is_err() {
            return;
        }
    }
}

/// Requests under way, and what they came to so far. They end with this.
struct Load {
    answers: Receiver<Seen>,
    seen: Vec<Seen>,
}

impl Load {
    /// Waits for so many answers to requests that began from now on and are as wanted; gives all
    /// that began from now on.
    fn wait(&mut self, count: usize, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let (now, mut since, mut found) = (Instant::now(), Vec::new(), 0);
        while found < count {
            let left = LONG.saturating_sub(now.elapsed());
            let answer = self.answers.recv_timeout(left);
            let answer = answer.unwrap_or_else(|_| panic!("only {} answers", since.len()));
            if answer.begun >= now {
                found += usize::from(wanted(&answer));
                since.push(answer.clone());
            }
            self.seen.push(answer);
        }
        since
    }
}

fn sidecar(folder: &TempDir) -> Server {
    let path = |name: &str| folder.path().join(name).display().to_string();
    write(folder.path(), "all.yaml", &format!("{POD}---\n{POLICY}"));
    let header = format!("{VERDICT}={{policy}}");
    let socket = path("s.sock");
    let files = path("all.yaml");
    let arguments = [
        "server",
        "--log-format",
        "json",
        "-l",
        &socket,
        "-f",
        &files,
        "--endpoint",
        "default/web",
        "--downstream-header",
        &header,
        "--deny-status",
        "451",
        "--deny-body",
        "no: {tier}",
    ];
    Server::with(folder.path(), &arguments.map(str::to_owned))
}

#[test]
fn killed_and_frozen_under_load() {
    let Some(envoy) = envoy() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut authorizer = sidecar(&folder);
    let proxy = Proxy::start(&envoy, folder.path(), authorizer.socket(), "0.2s");
    let (sender, answers) = mpsc::channel();
    let mut load = Load { answers, seen: Vec::new() };
    for worker in 0..4 {
        let (address, sender) = (proxy.address.clone(), sender.clone());
        std::thread::spawn(move || ask_on(&address, worker, &sender));
    }
    let passed = |s: &Seen| s.status == 200;
    load.wait(50, passed);

    // Killed: nothing passes until it is back.
    authorizer.signal(Signal::KILL);
    assert!(!authorizer.wait().success());
    let dead = load.wait(100, |_| true);
    assert!(!dead.iter().any(passed), "passed while the authorizer was dead");
    authorizer = sidecar(&folder);
    load.wait(50, passed);

    // Frozen: every request waits as long as Envoy is told to, and is refused.
    authorizer.freeze();
    let frozen = load.wait(8, |_| true);
    assert!(!frozen.iter().any(passed), "passed while the authorizer was frozen");
    authorizer.signal(Signal::CONT);
    load.wait(50, passed);

    let seen = load.seen;
    for answer in seen.iter().filter(|s| passed(s)) {
        assert!(answer.open, "a secret was told: {answer:?}");
        let policy = answer.verdict.as_deref();
        assert_eq!(policy, Some("GlobalNetworkPolicy open"), "no verdict: {answer:?}");
    }
    let slowest = seen.iter().map(|s| s.took).max().unwrap();
    println!(
        "{} answers, {} passed, slowest {slowest:?}",
        seen.len(),
        seen.iter().filter(|s| passed(s)).count()
    );
}

#[test]
fn answers_reach_the_client_as_configured() {
    let Some(envoy) = envoy() else { return };
    let folder = tempfile::tempdir().unwrap();
    let authorizer = sidecar(&folder);
    let proxy = Proxy::start(&envoy, folder.path(), authorizer.socket(), "60s");
    let (status, policy, _) = get(&proxy.address, "/open", "x-tortie-policy: forged\r\n").unwrap();
    assert_eq!((status, policy.as_deref()), (200, Some("GlobalNetworkPolicy open")));
    let (status, policy, text) = get(&proxy.address, "/secret", "").unwrap();
    assert_eq!((status, policy), (451, None));
    assert!(text.ends_with("no: default"), "{text}");
}
