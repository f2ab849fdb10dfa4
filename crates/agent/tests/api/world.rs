//! API servers, the way to them, and agents with a sidecar.

use std::fs;
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tortie_apiserver::{Door, Options};
use tortie_calc::State;
use tortie_client::server::{ApiKind, Delete, Kinds, Patch, Place, Server, Write};
use tortie_daemon::shutdown::{self, Trigger};
use tortie_policysync::client::{self, Config, Sink, Status};
use tortie_policysync::server::layout::{self, Credentials};
use tortie_store::{Engine, Local};

/// Ten times what anything here should take.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until something is so.
pub(crate) async fn soon<T>(what: &str, is: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = is().await {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A document: kind with its group, namespace (empty for none), name, and what it has besides.
type Document = (&'static str, &'static str, &'static str, fn() -> Value);

fn allow(selector: &str, source: &str, port: u32) -> Value {
    let source = json!({"selector": source});
    let rule = json!({
        "action": "Allow", "protocol": "TCP", "source": source, "destination": {"ports": [port]},
    });
    json!({"spec": {"selector": selector, "types": ["Ingress"], "ingress": [rule]}})
}

fn pod(app: &str, address: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"nodeName": "here", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    })
}

const CALICO: &str = "networkpolicy.projectcalico.org";

pub(crate) const FIRST: &[Document] = &[
    ("pod", "default", "server", || pod("server", "10.65.0.2")),
    ("pod", "default", "client", || pod("client", "10.65.0.3")),
    ("pod", "default", "gone", || pod("client", "10.65.0.4")),
    (
        "globalnetworkset",
        "",
        "outside",
        || json!({"metadata": {"labels": {"net": "outside"}}, "spec": {"nets": ["192.0.2.0/24"]}}),
    ),
    (CALICO, "default", "server", || allow("app == 'server'", "app == 'client'", 80)),
    ("globalnetworkpolicy", "", "outside", || allow("all()", "net == 'outside'", 443)),
];

/// Shares hardly anything with the first, but for the pod that is looked at.
pub(crate) const SECOND: &[Document] = &[
    ("pod", "default", "server", || pod("server", "10.65.0.9")),
    ("pod", "default", "other", || pod("client", "10.65.0.4")),
    (
        "globalnetworkset",
        "",
        "inside",
        || json!({"metadata": {"labels": {"net": "inside"}}, "spec": {"nets": ["198.51.100.0/24"]}}),
    ),
    ("networkpolicy.networking.k8s.io", "default", "server", || {
        let from = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
        json!({"spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": [{"protocol": "TCP", "port": 81}]}],
        }})
    }),
    ("globalnetworkpolicy", "", "inside", || allow("all()", "net == 'inside'", 8443)),
];

/// A policy for the server, on a port.
pub(crate) fn policy(name: &str, port: u32) -> Value {
    let mut document = allow("app == 'server'", "app == 'client'", port);
    document["apiVersion"] = "projectcalico.org/v3".into();
    document["kind"] = "NetworkPolicy".into();
    document["metadata"] = json!({"namespace": "default", "name": name});
    document
}

/// An API server, with an empty store in memory.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    server: Server,
    kinds: Kinds,
    _trigger: Trigger,
}

impl Api {
    pub(crate) async fn new(documents: &[Document]) -> Api {
        let store = Local::in_memory(tortie_store::Options::default()).await.unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (trigger, drain) = shutdown::drain();
        let doors = [Door::Open(any)];
        let api = tortie_apiserver::Server::start(doors, Engine::Local(store), Options::default());
        let api = api.await.unwrap();
        let address = api.address().unwrap();
        tokio::spawn(api.serve(drain));
        let place = Place { server: Some(format!("http://{address}")), ..Place::default() };
        let server = Server::connect(&place).await.unwrap();
        let kinds = server.kinds().await.unwrap();
        let api = Api { address, server, kinds, _trigger: trigger };
        api.replace(&[], documents).await;
        api
    }

    fn kind(&self, name: &str) -> ApiKind {
        self.kinds.find(name).unwrap_or_else(|| panic!("no {name}")).kind.clone()
    }

    /// Removes what there was, in favour of something else.
    pub(crate) async fn replace(&self, old: &[Document], new: &[Document]) {
        for (kind, namespace, name, _) in old {
            let kind = self.kind(kind);
            let done = self.server.delete(&kind, Some(namespace), name, &Delete::default()).await;
            done.unwrap();
        }
        for (kind, namespace, name, rest) in new {
            let kind = self.kind(kind);
            let mut document = rest();
            document["apiVersion"] = kind.api_version().into();
            document["kind"] = kind.kind.clone().into();
            document["metadata"]["name"] = (*name).into();
            if kind.namespaced {
                document["metadata"]["namespace"] = (*namespace).into();
            }
            self.apply(&document).await;
        }
    }

    pub(crate) async fn apply(&self, document: &Value) {
        let kind = self.kinds.of(document).unwrap().kind.clone();
        let metadata = &document["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str(), metadata["name"].as_str());
        let write = Write { manager: Some("test".to_owned()), ..Write::default() };
        let patch = Patch::Apply { document: document.clone(), force: true };
        let done = self.server.patch(&kind, namespace, name.unwrap(), &patch, &write).await;
        done.unwrap();
        if let Some(status) = document.get("status") {
            let write = Write { part: Some("status".to_owned()), ..Write::default() };
            let patch = Patch::Merge(json!({"status": status}));
            let done = self.server.patch(&kind, namespace, name.unwrap(), &patch, &write).await;
            done.unwrap();
        }
    }
}

/// The way to a server, which can be cut, and lead to another one.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    to: watch::Sender<Option<SocketAddr>>,
}

impl Way {
    pub(crate) async fn to(server: SocketAddr) -> Way {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to, leads) = watch::channel(Some(server));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(stream, leads.clone()));
            }
        });
        Way { address, to }
    }

    /// Ends every connection, and every new one at once.
    pub(crate) fn cut(&self) {
        self.to.send_replace(None);
    }

    /// Ends every connection; new ones go there.
    pub(crate) fn open(&self, server: SocketAddr) {
        self.to.send_replace(Some(server));
    }
}

async fn carry(mut stream: TcpStream, mut leads: watch::Receiver<Option<SocketAddr>>) {
    let target = *leads.borrow_and_update();
    let Some(target) = target else { return };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut server) => {}
        _ = leads.changed() => {}
    }
}

/// What a sidecar has been handed over, state by state.
#[derive(Clone, Default)]
struct Handed(Arc<Mutex<Vec<String>>>);

impl Sink for Handed {
    fn publish(&mut self, state: &State) {
        self.0.lock().unwrap().push(digest(state));
    }
}

/// A running agent, and a sidecar of the pod `server`.
pub(crate) struct Agent {
    child: Child,
    handed: Handed,
    sidecar: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Agent {
    pub(crate) async fn start(server: SocketAddr) -> Agent {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("nodeagent");
        fs::create_dir(&prefix).unwrap();
        let whose = Credentials {
            workload: "server".to_owned(),
            namespace: "default".to_owned(),
            network_namespace: format!("/proc/{}/ns/net", std::process::id()),
            ..Credentials::default()
        };
        layout::announce(&prefix, "server", &whose).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tortie-agent"))
            .args(["--node", "here", "--dataplane", "none", "--server"])
            .arg(format!("http://{server}"))
            .arg("--policy-sync-prefix")
            .arg(&prefix)
            .arg("--admin")
            .arg(format!("unix:{}", dir.path().join("admin").display()))
            .stderr(fs::File::create(dir.path().join("log")).map(Stdio::from).unwrap())
            .spawn()
            .unwrap();
        let handed = Handed::default();
        let mut sink = handed.clone();
        let mut config = Config::new(layout::socket_path(&prefix, "server"));
        config.longest_pause = Duration::from_millis(200);
        let (status, _) = watch::channel(Status::new(Instant::now()));
        let sidecar = tokio::spawn(async move { client::run(config, &mut sink, status).await });
        Agent { child, handed, sidecar, dir }
    }

    /// What the sidecar was handed over last; empty before the first time.
    pub(crate) fn now(&self) -> String {
        self.handed.0.lock().unwrap().last().cloned().unwrap_or_default()
    }

    /// What it was handed over since the last time this was asked; the last one is kept.
    pub(crate) fn forget(&self) -> Vec<String> {
        let mut handed = self.handed.0.lock().unwrap();
        let last = handed.last().cloned();
        std::mem::replace(&mut *handed, last.into_iter().collect())
    }

    /// What a fresh agent comes to: everything has been told when it is ready.
    pub(crate) async fn settled(self) -> String {
        self.ready().await;
        soon("the first state", async || {
            let now = self.now();
            now.contains("endpoint").then_some(now)
        })
        .await
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.dir.path().join("admin")).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    pub(crate) async fn ready(&self) {
        soon("the agent is ready", async || self.is_ready().then_some(())).await;
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let answer = self.get("/metrics").unwrap();
        let line = answer.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {answer}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.sidecar.abort();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
    }
}

/// A state as text: equal for equal states. The revision is left out, which is when, not what.
pub(crate) fn digest(state: &State) -> String {
    let mut lines = Vec::new();
    for (id, set) in &state.sets {
        let mut members: Vec<_> = set.members.iter().collect();
        members.sort_unstable();
        lines.push(format!("set {id:?} {:?} {members:?} {}", set.kind, set.incomplete));
    }
    lines.extend(state.policies.iter().map(|(id, policy)| format!("policy {id:?} {policy:?}")));
    lines.extend(state.profiles.iter().map(|(id, profile)| format!("profile {id} {profile:?}")));
    lines.extend(
        state.endpoints.iter().map(|(id, endpoint)| format!("endpoint {id:?} {endpoint:?}")),
    );
    lines.extend(state.accounts.iter().map(|(id, labels)| format!("account {id:?} {labels:?}")));
    lines.extend(state.namespaces.iter().map(|(id, labels)| format!("namespace {id} {labels:?}")));
    lines.sort_unstable();
    lines.join("\n")
}
