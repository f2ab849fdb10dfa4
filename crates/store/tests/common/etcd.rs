//! A real etcd of the test's own, on the loopback address.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tortie_store::{Etcd, EtcdOptions, Tls};

/// Whether there is an etcd to test with. In CI there must be.
pub(crate) fn available() -> bool {
    let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    assert!(found || std::env::var("CI").is_err(), "CI needs the program `etcd`");
    if !found {
        println!("skipped: there is no program `etcd`");
    }
    found
}

/// A port that nobody has, and that nobody is given while its server is down: those that are given
/// to whoever asks for any begin at 32768.
pub(crate) fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(61);
    loop {
        let number = start.wrapping_add(TRIED.fetch_add(1, Ordering::SeqCst)) % 12_000;
        let port = 20_000 + u16::try_from(number).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// An etcd, killed when dropped.
pub(crate) struct Server {
    folder: TempDir,
    scheme: &'static str,
    ports: (u16, u16),
    more: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// An empty one.
    pub(crate) fn start() -> Server {
        Server::with("http", |_| vec![])
    }

    /// An empty one with flags that may name files in its folder.
    pub(crate) fn with(scheme: &'static str, more: impl FnOnce(&Path) -> Vec<String>) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let more = more(folder.path());
        let ports = (free_port(), free_port());
        let mut server = Server { folder, scheme, ports, more, child: None };
        server.run();
        server
    }

    /// Runs it again, on what it had.
    pub(crate) fn run(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let peer = format!("http://127.0.0.1:{}", self.ports.1);
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &self.url(), "--advertise-client-urls", &self.url()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(&self.more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Ends it, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Forgets all it had; it must not be running.
    pub(crate) fn wipe(&self) {
        std::fs::remove_dir_all(self.folder.path().join("data")).unwrap();
    }

    /// Stops or continues it.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Gives it users: its own root, and `ada`, who may do what a store does.
    pub(crate) fn add_users(&self, password: &str) {
        for words in ["user add root:secret", "user grant-role root root", "auth enable"] {
            self.control(words, &[]);
        }
        self.as_root(&format!("user add ada:{password}"));
        self.as_root("role add calico");
        self.as_root("user grant-role ada calico");
        for prefix in ["/calico/", "/tortie/"] {
            self.as_root(&format!("role grant-permission calico --prefix=true readwrite {prefix}"));
        }
    }

    /// What `etcdctl` does as etcd's own root, once there are users.
    pub(crate) fn as_root(&self, words: &str) {
        self.control(words, &["--user", "root:secret"]);
    }

    fn control(&self, words: &str, more: &[&str]) {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]).args(more);
        let output = command.args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports.0)
    }

    /// How to reach it.
    pub(crate) fn options(&self, tls: Option<Tls>) -> EtcdOptions {
        let timeout = Duration::from_secs(20);
        EtcdOptions { tls, timeout, ..EtcdOptions::new(vec![self.url()]) }
    }

    /// A store in it, once it listens.
    pub(crate) async fn store(&self) -> Etcd {
        self.connect(self.options(None)).await
    }

    /// The same with settings of the test's own.
    pub(crate) async fn connect(&self, options: EtcdOptions) -> Etcd {
        let connected = async {
            loop {
                match Etcd::connect(options.clone()).await {
                    Ok(store) => return store,
                    Err(error) => println!("not yet: {error}"),
                }
            }
        };
        super::soon(connected).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            println!("etcd said: {}", lines[lines.len().saturating_sub(15)..].join("\n"));
        }
    }
}
