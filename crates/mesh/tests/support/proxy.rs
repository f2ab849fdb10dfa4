//! A real Envoy in a pod.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::Value;
use tortie_mesh::envoy::arguments;

use super::net::{Namespace, until};

/// A running Envoy, killed with this value.
pub struct RunningEnvoy {
    process: Child,
    dir: PathBuf,
}

impl RunningEnvoy {
    /// Starts one whose files are in `dir`, and waits until it serves.
    pub fn start(envoy: &Path, inside: &Namespace, bootstrap: &Value, dir: &Path) -> Self {
        let file = dir.join("bootstrap.json");
        fs::write(&file, bootstrap.to_string()).unwrap();
        let mut command = inside.command(envoy.to_str().unwrap());
        command.args(arguments(&file, Some(&dir.join("envoy.log"))));
        let mut running = Self { process: command.spawn().unwrap(), dir: dir.to_owned() };
        until("ready Envoy", || {
            let ended = running.process.try_wait().unwrap();
            assert!(ended.is_none(), "Envoy ended: {}", running.read("envoy.log"));
            (running.admin("/ready")?.contains("LIVE")).then_some(())
        });
        running
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// What the admin interface answers.
    pub fn admin(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.dir.join("admin.sock")).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The value of a counter or gauge; zero if there is none yet.
    pub fn counter(&self, name: &str) -> u64 {
        let stats = self.admin("/stats").unwrap();
        let found = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// The access log so far.
    pub fn access_log(&self) -> Vec<Value> {
        let log = self.read("access.log");
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// A file of its directory.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }
}

impl Drop for RunningEnvoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.read("envoy.log"), self.read("access.log"));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
