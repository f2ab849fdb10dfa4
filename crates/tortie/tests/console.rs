//! `tortie console` beside a real API server, asked by HTTP and by a real browser.

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

mod browser;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::process::Process;
use common::{etcd, skipped};
use serde_json::Value;

/// Ten times longer than anything here should take.
const DEADLINE: Duration = Duration::from_secs(60);

const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Pod
metadata: { name: front, namespace: shop, labels: { app: web } }
spec: { nodeName: one, containers: [{ name: main, image: none }] }
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: { name: only-web, namespace: shop }
spec: { order: 10, selector: app == 'web', types: [Ingress] }
"#;

/// A running `tortie console`; killed when dropped.
struct Console {
    child: Child,
    address: String,
    code: String,
}

impl Console {
    fn start(kubeconfig: &Path) -> Console {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
        command.args(["console", "--listen", "127.0.0.1:0", "--kubeconfig"]).arg(kubeconfig);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("web console: http://").expect(&line);
        let (address, code) = url.split_once("/#code=").unwrap();
        Console { child, address: address.to_owned(), code: code.to_owned() }
    }

    /// Sends a request whose answer ends with the connection.
    fn send(&self, request: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "{request} HTTP/1.0\r\n{headers}\r\n").unwrap();
        BufReader::new(stream)
    }

    fn ask(&self, request: &str, headers: &str) -> (u16, String) {
        let mut answer = String::new();
        self.send(request, headers).read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn host(&self) -> String {
        format!("Host: {}\r\n", self.address)
    }

    /// The cookie that the code is exchanged for.
    fn cookie(&self) -> String {
        let headers = format!("{}Authorization: Bearer {}\r\n", self.host(), self.code);
        let (code, answer) = self.ask("GET /api/enter", &headers);
        assert_eq!(code, 200, "{answer}");
        let lines = answer.lines();
        let cookie = lines.filter_map(|line| line.strip_prefix("set-cookie: ")).next().unwrap();
        assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
        format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
    }

    /// Listens to states.
    fn states(&self) -> States {
        let headers = self.host() + &self.cookie();
        States(self.send("GET /api/events", &headers).lines())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// States as they come.
struct States(std::io::Lines<BufReader<TcpStream>>);

impl States {
    /// The first that is as wanted.
    fn until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let lines = self.0.by_ref().map(|line| line.unwrap());
        let mut states = lines.filter_map(|line| {
            Some(serde_json::from_str::<Value>(line.strip_prefix("data: ")?).unwrap())
        });
        states.find(is_wanted).unwrap()
    }
}

/// Names of the policies of a tier, in order.
fn policies(state: &Value, tier: &str) -> Vec<String> {
    let tiers = state["tiers"].as_array().unwrap();
    let found = tiers.iter().find(|column| column["name"] == tier);
    let policies = found.map(|column| column["policies"].as_array().unwrap().as_slice());
    let names = policies.unwrap_or_default().iter().map(|policy| policy["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn the_board_follows_the_server() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let listen = format!("127.0.0.1:{}", etcd::free_port());
    let server = Process::start(data, &["--listen", &listen]);
    let console = Console::start(&data.join("kubeconfig"));
    let mut states = console.states();
    let empty = states.until(|state| state["inSync"] == true);
    assert_eq!((policies(&empty, "default").len(), &empty["away"]), (0, &Value::Null));

    server.says_to(&["apply", "-f", "-"], SHOP);
    let state = states.until(|state| policies(state, "default") == ["only-web"]);
    let state = match state["nodes"][0]["pods"] == 1 {
        true => state,
        false => states.until(|state| state["nodes"][0]["pods"] == 1),
    };
    let policy = state.pointer("/tiers/1/policies/0").unwrap();
    assert_eq!((&policy["pods"], &policy["accepted"]), (&1.into(), &true.into()), "{state}");

    // What was known stays while the server is away.
    drop(server);
    let state = states.until(|state| state["away"]["since"].is_string());
    assert_eq!(policies(&state, "default"), ["only-web"]);
    let server = Process::start(data, &["--listen", &listen]);
    server.says(&["delete", "networkpolicies.projectcalico.org", "-n", "shop", "only-web"]);
    let state =
        states.until(|state| state["away"].is_null() && policies(state, "default").is_empty());
    assert_eq!(state["namespaces"].as_array().unwrap().len(), 5);
    // Who asks once is told the same.
    let headers = console.host() + &console.cookie();
    let (_, answer) = console.ask("GET /api/board", &headers);
    let board: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(board["tiers"], state["tiers"]);
}

#[test]
fn who_may_look() {
    let data = tempfile::tempdir().unwrap();
    let _server = Process::start(data.path(), &[]);
    let console = Console::start(&data.path().join("kubeconfig"));
    let (host, cookie) = (console.host(), console.cookie());
    let origin = format!("Origin: http://{}\r\n", console.address);
    let port = console.address.rsplit(':').next().unwrap();
    let cases = [
        ("GET /", host.clone(), 200),
        ("GET /api/board", format!("{host}{cookie}"), 200),
        ("GET /api/board", format!("{host}{cookie}{origin}"), 200),
        ("GET /api/board", format!("Host: localhost:{port}\r\n{cookie}"), 200),
        ("GET /api/board", host.clone(), 401),
        ("GET /api/events", host.clone(), 401),
        ("GET /api/enter", host.clone(), 401),
        ("GET /api/board", format!("{host}Cookie: tortie-console=guess\r\n"), 401),
        ("GET /api/board", format!("{host}{cookie}Origin: http://evil.example\r\n"), 403),
        ("GET /api/board", format!("{host}{cookie}Origin: http://127.0.0.1:1\r\n"), 403),
        ("GET /api/events", format!("{host}{cookie}Sec-Fetch-Site: same-site\r\n"), 403),
        ("GET /api/board", format!("Host: evil.example:{port}\r\n{cookie}"), 421),
        ("GET /api/board", cookie.clone(), 421),
        ("POST /api/board", format!("{host}{cookie}"), 405),
        ("OPTIONS /api/board", format!("{host}{origin}"), 405),
        ("GET /../../etc/passwd", format!("{host}{cookie}"), 404),
    ];
    for (request, headers, expected) in cases {
        let (code, answer) = console.ask(request, &headers);
        assert_eq!(code, expected, "{request} {headers}: {answer}");
        assert!(!answer.contains("access-control-"), "{answer}");
    }
}

#[test]
fn what_is_refused_at_the_start() {
    let fails = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
        let output = command.arg("console").args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = fails(&["--listen", "0.0.0.0:6981", "--server", "http://127.0.0.1:1"]);
    assert_eq!(code, 2);
    assert!(said.contains("can be reached from elsewhere") && said.contains("hint: "), "{said}");
    let (code, said) = fails(&["--listen", "127.0.0.1:0", "--kubeconfig", "/nonexistent"]);
    assert_eq!(code, 2, "{said}");
}

#[test]
fn a_browser_shows_the_board() {
    if skipped() || browser::missing() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let server = Process::start(data, &[]);
    server.says_to(&["apply", "-f", "-"], SHOP);
    let console = Console::start(&data.join("kubeconfig"));
    let profile = tempfile::tempdir().unwrap();
    let mut page = browser::Page::open(profile.path());
    page.go(&format!("http://{}/#code={}", console.address, console.code));
    // What it is told of first may be the policy, or the pod.
    let texts = ["kube-admin", "shop/only-web", "✓ accepted", "selects 1 pod", "Live: https"];
    page.until("document.body?.innerText", |shown| texts.iter().all(|text| shown.contains(text)));
    let address = page.until("location.href", |_| true);
    assert!(!address.contains(&console.code), "{address}");
    assert_eq!(page.until("document.cookie", |_| true), "", "no script sees the cookie");

    // It is live, and keeps what is focused.
    page.until("document.querySelector('.card').focus() ?? ''", |_| true);
    let other = SHOP.replace("only-web", "another").replace("order: 10", "order: 5");
    server.says_to(&["apply", "-f", "-"], &other);
    page.until("document.body.innerText", |text| text.contains("shop/another"));
    let focused = "document.activeElement.id";
    assert_eq!(page.until(focused, |_| true), "policy:NetworkPolicy/shop/only-web");
    page.press("ArrowUp");
    page.until(focused, |id| id == "policy:NetworkPolicy/shop/another");

    // Elsewhere the cookie is not enough: it counts below one path only.
    page.go(&format!("http://{}/", console.address));
    page.until("document.body?.innerText", |text| text.contains("Open the address"));
    let complaints = page.complaints();
    let expected = |text: &String| text.contains("401");
    assert!(complaints.iter().all(expected), "{complaints:?}");
}
