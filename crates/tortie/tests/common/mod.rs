//! A server of the test's own, and programs that speak to it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

#[path = "../../../store/tests/common/etcd.rs"]
mod etcd;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// What a program did.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// What it said, if it ended with this status.
    #[track_caller]
    pub fn ended(self, status: i32) -> Run {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command, input: &str) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who does not read may end before everything is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        status: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A folder in which programs find nothing but what the test puts there.
pub struct Home(pub TempDir);

impl Home {
    pub fn new() -> Home {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tortie"), home.path().join("calicoctl"))
            .unwrap();
        Home(home)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A program with an environment of the test's own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let kept = ["PATH", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];
        let kept = kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let kept: Vec<_> = kept.collect();
        command.env_clear().envs(kept).env("HOME", self.path());
        command
    }

    pub fn tortie(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_tortie"))
    }

    /// The same program under its other name.
    pub fn calicoctl(&self) -> Command {
        self.command(self.path().join("calicoctl"))
    }
}

/// `tortie apiserver` with an empty store; killed when dropped.
pub struct Server {
    child: Child,
    pub home: Home,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// With flags of the test's own.
    pub fn with(flags: &[&str]) -> Server {
        let home = Home::new();
        let mut command = home.tortie();
        command
            .args(["apiserver", "--listen", "127.0.0.1:0", "--data"])
            .arg(home.path().join("data"))
            .args(flags);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("https://"), "the server said {line:?}");
        Server { child, home }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("data/kubeconfig")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.tortie();
        command.args(arguments).env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Runs tortie.
    pub fn tortie(&self, arguments: &[&str], input: &str) -> Run {
        run(&mut self.command(arguments), input)
    }

    /// What tortie says when it succeeds.
    #[track_caller]
    pub fn says(&self, arguments: &[&str], input: &str) -> String {
        let run = self.tortie(arguments, input);
        assert_eq!(run.status, 0, "{arguments:?}: {run:?}");
        run.out
    }

    /// Makes a user with no rights but those that everybody has, and says where its kubeconfig is.
    pub fn stranger(&self) -> String {
        let data = self.home.path().join("data");
        let file = self.home.path().join("stranger");
        let mut command = self.home.tortie();
        command.args(["user", "add", "ada", "--data"]).arg(&data).arg("--output").arg(&file);
        let made = run(&mut command, "");
        assert_eq!(made.status, 0, "{made:?}");
        file.to_str().unwrap().to_owned()
    }

    /// Runs calicoctl.
    pub fn calicoctl(&self, arguments: &[&str], input: &str) -> Run {
        run(self.home.calicoctl().args(arguments).env("KUBECONFIG", self.kubeconfig()), input)
    }

    /// What the real kubectl says when it succeeds.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.home.command(kubectl().unwrap());
        let run = run(command.args(arguments).env("KUBECONFIG", self.kubeconfig()), input);
        assert_eq!(run.status, 0, "kubectl {arguments:?}: {run:?}");
        run.out
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits, but not for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.unwrap()
}

/// A real etcd, and programs that speak to it.
pub struct Etcd {
    server: etcd::Server,
    pub home: Home,
    pub url: String,
}

impl Etcd {
    pub fn start() -> Option<Etcd> {
        if !etcd::available() {
            return None;
        }
        let (server, home) = (etcd::Server::start(), Home::new());
        let etcd = Etcd { url: server.url(), server, home };
        // It answers once it has elected itself.
        let ready = (0..60).any(|_| etcd.ctl(&["endpoint", "health"], "").status == 0);
        assert!(ready, "etcd does not answer");
        Some(etcd)
    }

    /// Runs etcdctl.
    pub fn ctl(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.home.command("etcdctl");
        run(command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url]).args(arguments), input)
    }

    /// Runs calicoctl on it.
    pub fn calicoctl(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.home.calicoctl();
        command.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", &self.url);
        run(command.args(arguments), input)
    }
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
pub fn no_kubectl() -> bool {
    if kubectl().is_some() {
        return false;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "there is no kubectl");
    eprintln!("skipped: there is no kubectl; set KUBECTL or run scripts/ensure.sh kubectl");
    true
}

/// A file of the repository.
pub fn repository(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(path).to_str().unwrap().to_owned()
}
