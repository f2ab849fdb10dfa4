//! What the API costs over HTTP, with the store in a file; the server is a process of its own.
//!
//! Sizes grow with `TORTIE_BENCH_OBJECTS` (20,000 of each kind by default; 100,000 to record).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_precision_loss,
    reason = "benchmark code"
)]

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

const POLICIES: &str = "/apis/projectcalico.org/v3/namespaces/default/networkpolicies";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// How many write at a time while the store is filled.
const WRITERS: usize = 32;

/// The server; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tortie-apiserver"))
            .arg("--data")
            .arg(folder)
            .args(["--listen", "127.0.0.1:0", "--insecure-http"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("//").next().unwrap().to_owned();
        Server { child, address }
    }

    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client(BufReader::new(stream))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn head(&mut self) -> (u16, usize) {
        let (mut code, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                return (code, length);
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if line.starts_with("http/") {
                code = line.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
    }

    /// The length of what comes back.
    async fn ask(&mut self, method: &str, path: &str, media: &str, body: &str) -> usize {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.0.write_all(request.as_bytes()).await.unwrap();
        let (code, length) = self.head().await;
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).await.unwrap();
        assert!(code < 300, "{code} {}", String::from_utf8_lossy(&answer));
        length
    }

    async fn post(&mut self, path: &str, body: &Value) {
        self.ask("POST", path, "application/json", &body.to_string()).await;
    }
}

fn policy(number: usize) -> Value {
    let selector = format!("app == 'a{}' && tier in {{'x', 'y'}}", number % 500);
    let rule = |port: usize| {
        json!({
            "action": "Allow", "protocol": "TCP", "source": {"selector": selector},
            "destination": {"ports": [port, "8000:8010"], "nets": ["10.0.0.0/8"]},
        })
    };
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": format!("policy-{number}")},
        "spec": {"selector": selector, "ingress": [rule(80), rule(443)], "egress": [rule(53)]},
    })
}

fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "labels": {"app": format!("a{}", number % 500)}},
        "spec": {"containers": [{"name": "main", "image": "web:1", "ports": [{"containerPort": 80}]}]},
    })
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Writes many objects, so many at a time.
async fn fill(server: &Arc<Server>, path: &'static str, count: usize, make: fn(usize) -> Value) {
    let (next, start) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (server, next) = (server.clone(), next.clone());
            tokio::spawn(async move {
                let mut client = server.connect().await;
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return;
                    }
                    client.post(path, &make(number)).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let plural = path.rsplit('/').next().unwrap();
    println!("{count} {plural} by {WRITERS} writers: {:.0} a second", rate(count, start.elapsed()));
}

/// What the disk takes for a page that is written and made durable.
fn disk(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("probe")).unwrap();
    let start = Instant::now();
    for _ in 0..300 {
        file.write_all(&[1; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    println!(
        "the disk: {:.0} appends of 4 KiB with fdatasync a second",
        rate(300, start.elapsed())
    );
}

async fn one_writer(server: &Server) {
    let (mut client, start) = (server.connect().await, Instant::now());
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{count}")}});
        client.post(MAPS, &map).await;
        count += 1;
    }
    println!("one writer: {:.0} durable writes a second", rate(count, start.elapsed()));
}

async fn lists(server: &Server) {
    let mut client = server.connect().await;
    for (what, path) in [("policies", POLICIES), ("policies again", POLICIES), ("pods", PODS)] {
        let start = Instant::now();
        let length = client.ask("GET", &format!("{path}?limit=10000"), "", "").await;
        println!("list of 10,000 {what}: {:?}, {} KiB", start.elapsed(), length >> 10);
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// How long changes take to those who watch, from before the write is sent.
async fn watching(server: &Arc<Server>, watchers: usize, a_second: u64, seconds: u64) {
    let (sender, mut delays) = mpsc::unbounded_channel();
    for _ in 0..watchers {
        let mut client = server.connect().await;
        let path = format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dticker");
        client
            .0
            .write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())
            .await
            .unwrap();
        client.head().await;
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut line = String::new();
            while client.0.read_line(&mut line).await.unwrap_or(0) > 0 {
                let told = now();
                let sent = line.split("\"at\":\"").nth(1).and_then(|rest| rest.split('"').next());
                let sent: u64 = sent.and_then(|sent| sent.parse().ok()).unwrap_or(0);
                if sender.send(told.saturating_sub(sent)).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    drop(sender);
    // Each is told what there is first.
    for _ in 0..watchers {
        delays.recv().await.unwrap();
    }
    let mut client = server.connect().await;
    let mut ticks = interval(Duration::from_micros(1_000_000 / a_second));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let changes = a_second * seconds;
    let writer = tokio::spawn(async move {
        for _ in 0..changes {
            ticks.tick().await;
            let patch = json!({"data": {"at": now().to_string()}}).to_string();
            let path = format!("{MAPS}/ticker");
            client.ask("PATCH", &path, "application/merge-patch+json", &patch).await;
        }
    });
    let expected = usize::try_from(changes).unwrap() * watchers;
    let mut all = Vec::with_capacity(expected);
    while all.len() < expected {
        all.push(delays.recv().await.unwrap());
    }
    writer.await.unwrap();
    all.sort_unstable();
    let at = |part: usize| Duration::from_micros(all[(all.len() - 1) * part / 1000]);
    println!(
        "{watchers} watchers, {a_second} changes a second: p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(500),
        at(990),
        at(999)
    );
}

fn main() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let count = std::env::var("TORTIE_BENCH_OBJECTS").ok().and_then(|count| count.parse().ok());
    let count: usize = count.unwrap_or(20_000);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        disk(folder.path());
        let start = Instant::now();
        let server = Arc::new(Server::start(&folder.path().join("data")));
        println!("ready on an empty store after {:?}", start.elapsed());
        one_writer(&server).await;
        let before = server.resident();
        fill(&server, POLICIES, count, policy).await;
        let size = policy(0).to_string().len() + 300;
        let each = server.resident().saturating_sub(before) / count;
        println!("memory for a policy: {each} bytes; its own are about {size}, metadata included");
        fill(&server, PODS, count, pod).await;
        lists(&server).await;
        let ticker =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ticker"}});
        server.connect().await.post(MAPS, &ticker).await;
        watching(&server, 1000, 20, 10).await;
        watching(&server, 100, 200, 10).await;
        let (mib, kinds) = (server.resident() >> 20, 2 * count);
        println!("{mib} MiB resident with {kinds} objects and history");
    });
}
