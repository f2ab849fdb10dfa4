//! A lab of one test: its own name and state directory, ended when the test ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tortie-lab");

/// Ten times what any step here should take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A place for labs.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    names: Vec<String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "the lab's tests need root");
        let dir = tempfile::Builder::new().prefix("lab").tempdir_in("/tmp").unwrap();
        Self { dir, names: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("labs")
    }

    /// A `lab` command for the lab of this name.
    pub(crate) fn command(&mut self, name: &str, args: &[&str]) -> Command {
        self.names.push(name.to_owned());
        let mut command = Command::new(PROGRAM);
        command.args(["lab", "--name", name, "--state-dir"]).arg(self.state()).args(args);
        command
    }

    /// Runs a `lab` command.
    pub(crate) fn run(&mut self, name: &str, args: &[&str]) -> Output {
        self.command(name, args).output().unwrap()
    }

    /// Runs a `lab` command that must succeed; gives its standard output.
    pub(crate) fn ok(&mut self, name: &str, args: &[&str]) -> String {
        let output = self.run(name, args);
        assert!(output.status.success(), "lab {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a `lab` command that must fail with this status; gives its standard error.
    pub(crate) fn fails(&mut self, name: &str, args: &[&str], code: i32) -> String {
        let output = self.run(name, args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "lab {args:?}: {stderr}");
        stderr
    }

    /// The recorded pid 1 of a lab, by its pid out here.
    pub(crate) fn init(&self, name: &str) -> u32 {
        let record = fs::read(self.state().join(name).join("record.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["holder"]["init"]["pid"].as_u64().unwrap().try_into().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in std::mem::take(&mut self.names).into_iter().collect::<BTreeSet<_>>() {
            let _ = self.run(&name, &["down"]);
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a host shows of a lab: the processes below one, and this namespace's mounts and links.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    mounts: String,
    links: BTreeSet<String>,
}

impl Traces {
    pub(crate) fn now() -> Self {
        let links = fs::read_dir("/sys/class/net").unwrap();
        Self {
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(),
            links: links.map(|e| e.unwrap().file_name().into_string().unwrap()).collect(),
        }
    }
}

/// All processes below this one, itself included.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let all = all_processes();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|p| p.1 == parent).map(|p| p.0));
        next += 1;
    }
    found
}

/// Every process with its parent.
fn all_processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether a process is still there, zombies not counted.
pub(crate) fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

/// Waits for a condition that must come true.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        pause();
    }
}

/// A short wait between two looks at a condition.
fn pause() {
    let _ = rustix::event::poll(
        &mut [],
        Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 }),
    );
}
