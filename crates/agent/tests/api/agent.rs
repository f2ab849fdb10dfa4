//! Agents with a sidecar.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tortie_calc::State;
use tortie_policysync::client::{self, Config, Sink, Status};
use tortie_policysync::server::layout::{self, Credentials};

use crate::admin::Admin;
use crate::program;
use crate::world::{digest, soon};

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
    admin: Admin,
    dir: tempfile::TempDir,
}

impl Agent {
    /// As it is shipped.
    pub(crate) fn start(server: &str) -> Agent {
        Agent::with(|prefix, admin| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tortie-agent"));
            command
                .args(["--node", "here", "--dataplane", "none", "--server", server])
                .arg("--policy-sync-prefix")
                .arg(prefix)
                .arg("--admin")
                .arg(format!("unix:{}", admin.display()));
            command
        })
    }

    /// One that waits for nothing for long.
    pub(crate) fn impatient(server: &str) -> Agent {
        Agent::with(|prefix, admin| program::agent(server, prefix, admin))
    }

    fn with(command: impl FnOnce(&Path, &Path) -> Command) -> Agent {
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
        let admin = Admin(dir.path().join("admin"));
        let child = command(&prefix, &admin.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).map(Stdio::from).unwrap())
            .spawn()
            .unwrap();
        let handed = Handed::default();
        let mut sink = handed.clone();
        let mut config = Config::new(layout::socket_path(&prefix, "server"));
        config.longest_pause = Duration::from_millis(200);
        let (status, _) = watch::channel(Status::new(Instant::now()));
        let sidecar = tokio::spawn(async move { client::run(config, &mut sink, status).await });
        Agent { child, handed, sidecar, admin, dir }
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

    /// Waits until it has handed over what a fresh agent would.
    pub(crate) async fn converges(&self, server: &str) -> String {
        let fresh = Agent::start(server).settled().await;
        soon("the same as fresh", async || (self.now() == fresh).then_some(())).await;
        fresh
    }

    /// Waits until it says that the server is followed, or is not.
    pub(crate) async fn says(&self, connected: bool) {
        let is =
            async || (self.metric("tortie_source_connected") == f64::from(connected)).then_some(());
        soon("it says how it is", is).await;
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) async fn ready(&self) {
        soon("the agent is ready", async || self.is_ready().then_some(())).await;
    }
}

impl Deref for Agent {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.sidecar.abort();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
