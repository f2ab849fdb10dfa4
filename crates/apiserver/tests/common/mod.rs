//! A server on a free port, and the real kubectl.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

#[path = "../../../store/tests/common/etcd.rs"]
pub mod etcd;
pub mod http;
pub mod process;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tortie_apiserver::{Door, Options, Server};
use tortie_daemon::shutdown::{self, Trigger};
use tortie_store::{Engine, Local};

/// A server of its own, with an empty store in memory; it ends with this.
pub struct Cluster {
    pub address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
    trigger: Option<Trigger>,
    home: TempDir,
}

/// What a kubectl said.
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::start_with(Options::default())
    }

    /// A server of its own over an etcd that others may use as well.
    pub fn start_in(server: &etcd::Server) -> Cluster {
        Cluster::start_on(Options::default(), async { Engine::Etcd(server.store().await) })
    }

    pub fn start_with(options: Options) -> Cluster {
        Cluster::start_on(options, async {
            Engine::Local(Local::in_memory(tortie_store::Options::default()).await.unwrap())
        })
    }

    pub fn start_on(options: Options, store: impl Future<Output = Engine>) -> Cluster {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let (trigger, drain) = shutdown::drain();
        let address = runtime.block_on(async {
            let store = store.await;
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let server = Server::start([Door::Open(any)], store, options).await.unwrap();
            let address = server.address().unwrap();
            tokio::spawn(server.serve(drain));
            address
        });
        let home = tempfile::tempdir().unwrap();
        Cluster { address, runtime: Some(runtime), trigger: Some(trigger), home }
    }

    /// The server, for requests that kubectl would not make.
    pub fn api(&self) -> http::Api {
        http::Api(self.address)
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    fn command(&self, kubectl: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl);
        command
            .arg(format!("--server=http://{}", self.address))
            .arg(format!("--cache-dir={}", self.home.path().join("cache").display()))
            .args(arguments)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("none"));
        command
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Said {
        said(self.command(&kubectl().unwrap(), arguments), input)
    }

    /// Starts kubectl, for what has no end.
    pub fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = self.command(&kubectl().unwrap(), arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap()
    }

    /// What kubectl says when it succeeds.
    pub fn says(&self, arguments: &[&str]) -> String {
        self.says_to(arguments, "")
    }

    /// What kubectl says to an input when it succeeds.
    pub fn says_to(&self, arguments: &[&str], input: &str) -> String {
        let said = self.kubectl(arguments, input);
        assert!(said.ok, "kubectl {arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    /// What kubectl complains of when it fails.
    pub fn refuses(&self, arguments: &[&str], input: &str) -> String {
        let said = self.kubectl(arguments, input);
        assert!(!said.ok, "kubectl {arguments:?} should fail: {}", said.out);
        said.err
    }
}

/// Waits for what nobody tells of.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < http::DEADLINE, "{what}: not within a minute");
        #[expect(clippy::disallowed_methods, reason = "nothing tells when others are done")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits, but not for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(http::DEADLINE, what).await.unwrap()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.trigger.take();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn said(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Said {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs kubectl in a home of its own.
pub fn run_kubectl(home: &Path, arguments: &[&str], input: &str) -> Said {
    said(kubectl_in(home, arguments), input)
}

/// Starts kubectl in a home of its own, for what has no end.
pub fn spawn_kubectl(home: &Path, arguments: &[&str]) -> std::process::Child {
    let mut command = kubectl_in(home, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn kubectl_in(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(kubectl().unwrap());
    command.args(arguments).env("HOME", home).env_remove("KUBECONFIG");
    command
}

/// The kubectl to use: `$KUBECTL`, the one that scripts/ensure.sh fetched, or that of the PATH.
fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECTL") {
        return Some(named.into());
    }
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/kubectl/kubectl");
    if cached.exists() {
        return Some(cached);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.exists())
}

/// Whether there is no kubectl and that is all right: never in CI.
pub fn skipped() -> bool {
    if kubectl().is_some() {
        return false;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "there is no kubectl");
    eprintln!("skipped: there is no kubectl; set KUBECTL or run scripts/ensure.sh kubectl");
    true
}
