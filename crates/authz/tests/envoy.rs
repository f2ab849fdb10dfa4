//! Behind a real Envoy: whatever happens to the authorizer, no request passes without a verdict.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
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
    address: SocketAddr,
}

impl Proxy {
    fn start(envoy: &Path, folder: &Path, authorizer: &Path) -> Proxy {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = folder.join("envoy.json");
        std::fs::write(&file, bootstrap(address, authorizer).to_string()).unwrap();
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
        while TcpStream::connect(address).is_err() {
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

fn bootstrap(address: SocketAddr, authorizer: &Path) -> serde_json::Value {
    let typed = |kind: &str, mut fields: serde_json::Value| {
        fields["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
        fields
    };
    let ext_authz = typed(
        "filters.http.ext_authz.v3.ExtAuthz",
        json!({
            "transport_api_version": "V3", "failure_mode_allow": false,
            "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "0.2s"},
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
                "address": {"socket_address": {"address": address.ip(), "port_value": address.port()}},
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
    address: SocketAddr,
    path: &str,
    headers: &str,
) -> std::io::Result<(u16, Option<String>, String)> {
    let mut stream = TcpStream::connect(address)?;
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

struct Load<'a> {
    address: SocketAddr,
    done: &'a AtomicBool,
    seen: &'a Mutex<Vec<Seen>>,
}

impl Load<'_> {
    fn run(&self, worker: usize) {
        for turn in 0.. {
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            let open = (turn + worker).is_multiple_of(2);
            let begun = Instant::now();
            let answer = get(self.address, if open { "/open/x" } else { "/secret" }, "");
            let (status, verdict, _) = answer.unwrap_or((0, None, String::new()));
            let seen = Seen { begun, took: begun.elapsed(), open, status, verdict };
            self.seen.lock().unwrap().push(seen);
        }
    }

    /// Waits for so many answers to requests that began from now on and are as wanted; gives all
    /// that began from now on.
    fn wait(&self, count: usize, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let now = Instant::now();
        loop {
            let since: Vec<_> =
                self.seen.lock().unwrap().iter().filter(|s| s.begun >= now).cloned().collect();
            if since.iter().filter(|s| wanted(s)).count() >= count {
                return since;
            }
            assert!(now.elapsed() < LONG, "only {} answers", since.len());
            std::thread::yield_now();
        }
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
    let proxy = Proxy::start(&envoy, folder.path(), authorizer.socket());
    let (done, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let load = Load { address: proxy.address, done: &done, seen: &seen };
    let passed = |s: &Seen| s.status == 200;
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let load = &load;
            scope.spawn(move || load.run(worker));
        }
        load.wait(50, passed);

        // Killed: nothing passes until it is back.
        authorizer.signal(Signal::KILL);
        assert!(!authorizer.wait().success());
        let dead = load.wait(100, |_| true);
        assert!(!dead.iter().any(passed), "passed while the authorizer was dead");
        authorizer = sidecar(&folder);
        load.wait(50, passed);

        // Frozen: every request waits as long as Envoy is told to, and is refused.
        authorizer.signal(Signal::STOP);
        // What was answered before the signal may still be on its way.
        load.wait(4, |_| true);
        let frozen = load.wait(8, |_| true);
        assert!(!frozen.iter().any(passed), "passed while the authorizer was frozen");
        authorizer.signal(Signal::CONT);
        load.wait(50, passed);
        done.store(true, Ordering::Relaxed);
    });
    let seen = seen.into_inner().unwrap();
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
    let proxy = Proxy::start(&envoy, folder.path(), authorizer.socket());
    let (status, policy, _) = get(proxy.address, "/open", "x-tortie-policy: forged\r\n").unwrap();
    assert_eq!((status, policy.as_deref()), (200, Some("GlobalNetworkPolicy open")));
    let (status, policy, text) = get(proxy.address, "/secret", "").unwrap();
    assert_eq!((status, policy), (451, None));
    assert!(text.ends_with("no: default"), "{text}");
}
