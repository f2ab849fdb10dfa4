//! The real program, on a socket of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tortie_proto::ext_authz::authorization_client::AuthorizationClient;

/// Ten times what anything here should take.
pub const LONG: Duration = Duration::from_secs(120);

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tortie-authz"))
}

/// A folder with the files of a server: `pods.yaml`, `policy.yaml`, and `s.sock` to come.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "pods.yaml", super::BANK);
    write(folder.path(), "policy.yaml", super::POLICY);
    folder
}

/// Replaces a file at once, as editors and volumes do.
pub fn write(folder: &Path, name: &str, text: &str) {
    let scratch = folder.join(format!(".{name}.new"));
    std::fs::write(&scratch, text).unwrap();
    std::fs::rename(scratch, folder.join(name)).unwrap();
}

/// The arguments of a server over the files of a folder.
pub fn arguments(folder: &Path, endpoint: &str) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let args = ["server", "-l", &path("s.sock"), "-f", &path("pods.yaml"), "-f"];
    let more = [&path("policy.yaml"), "--endpoint", endpoint, "--log-format", "json"];
    args.into_iter().chain(more.map(|a| a as &str)).map(str::to_owned).collect()
}

/// A running server; killed on drop.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    socket: PathBuf,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn start(folder: &Path, endpoint: &str) -> Server {
        Server::with(folder, &arguments(folder, endpoint))
    }

    pub fn with(folder: &Path, arguments: &[String]) -> Server {
        Server::with_env(folder, arguments, &[])
    }

    pub fn with_env(folder: &Path, arguments: &[String], env: &[(&str, String)]) -> Server {
        let mut child = program()
            .args(arguments)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let server = Server { child, lines, socket: folder.join("s.sock") };
        server.wait_for("\"listening\"");
        server
    }

    /// Waits for a log line with a word in it.
    pub fn wait_for(&self, word: &str) -> String {
        let deadline = Instant::now() + LONG;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(word) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no `{word}`: {error}; log: {seen:#?}"),
            }
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the process itself is, for reading its memory.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn channel(&self) -> Channel {
        let address = format!("unix:{}", self.socket.display());
        Endpoint::from_shared(address).unwrap().connect().await.unwrap()
    }

    pub async fn client(&self) -> AuthorizationClient<Channel> {
        AuthorizationClient::new(self.channel().await)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops the process, and waits until none of its threads runs any more.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + LONG;
        while !self.is_frozen() {
            assert!(Instant::now() < deadline, "the server does not stop");
            std::thread::yield_now();
        }
    }

    fn is_frozen(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.into_iter().all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
            // The state stands behind the name, which is in parentheses.
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, s)| s.starts_with('T')))
        })
    }

    /// Waits for the end of a server that was told to end.
    pub fn wait(&mut self) -> ExitStatus {
        // The log ends with the process.
        let deadline = Instant::now() + LONG;
        let left = || deadline.saturating_duration_since(Instant::now());
        while self.lines.recv_timeout(left()).is_ok() {}
        assert!(!left().is_zero(), "the server does not end");
        self.child.wait().unwrap()
    }

    /// Runs `health` against this server.
    pub fn health(&self, check: &str) -> Output {
        run(&["health", check, "--dial-path", &self.socket.display().to_string()])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
