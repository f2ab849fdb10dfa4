//! A lab of one test: its own name and state directory, ended when the test ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tortie-lab");

/// Ten times what any step here should take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The time for what is expected to be silence.
pub(crate) const SHORT: &str = "--max-time 1";

/// A place for labs.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    names: BTreeSet<String>,
}

impl Place {
    /// None, with a word about it, for an ordinary user outside of CI.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "the lab's tests need root");
            eprintln!("skipped: needs root");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("lab").tempdir_in("/tmp").unwrap();
        Some(Self { dir, names: BTreeSet::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("labs")
    }

    /// Writes a file; gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A `lab` command for the lab of this name.
    pub(crate) fn command(&mut self, name: &str, args: &[&str]) -> Command {
        self.names.insert(name.to_owned());
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

    /// Starts a lab with these manifests and the images of [`images`], and more arguments.
    pub(crate) fn up(&mut self, name: &str, manifests: &str, more: &[&str]) -> String {
        let file = self.file(&format!("{name}.yaml"), &(images() + manifests));
        self.ok(name, &[&["up", "-f", &file], more].concat())
    }

    /// Runs a shell script in a pod; gives its standard output, whatever its status.
    pub(crate) fn sh(&mut self, name: &str, pod: &str, script: &str) -> String {
        text(&self.run(name, &["exec", pod, "--", "sh", "-c", script]).stdout).trim().to_owned()
    }

    /// What `curl` in a pod gets from an address, or its exit status where it gets nothing. For an
    /// answer there is ample time, unless `args` say otherwise.
    pub(crate) fn curl(&mut self, name: &str, pod: &str, args: &str) -> String {
        self.sh(name, pod, &format!("curl -s --max-time 60 {args} || echo failed $?"))
    }

    pub(crate) fn status(&mut self, name: &str) -> Value {
        serde_json::from_str(&self.ok(name, &["status", "-o", "json"])).unwrap()
    }

    /// The status of a container.
    pub(crate) fn container(&mut self, name: &str, pod: &str, container: &str) -> Value {
        let status = self.status(name);
        let named = |list: &Value, name: &str| {
            list.as_array().unwrap().iter().find(|v| v["name"] == name).unwrap().clone()
        };
        named(&named(&status["pods"], pod)["containers"], container)
    }

    /// The recorded pid 1 of a lab, by its pid out here.
    pub(crate) fn init(&self, name: &str) -> u32 {
        let record = fs::read(self.state().join(name).join("record.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        record["holder"]["init"]["pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// A process of the lab, by a word of its command line.
    pub(crate) fn process(&self, name: &str, word: &str) -> Process {
        let says = |process: &Process| {
            let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|one| one == word.as_bytes())
        };
        tree(self.init(name)).into_iter().find(says).unwrap()
    }

    /// Runs a shell script on the node, with every privilege there.
    pub(crate) fn on_node(&self, name: &str, script: &str) -> String {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.process(name, "supervise").pid));
        command.args(["--mount", "--net", "--pid", "--", "sh", "-c", script]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a shell script in a pod's network, with every privilege there.
    pub(crate) fn in_network(
        &mut self,
        name: &str,
        pod: &str,
        container: &str,
        script: &str,
    ) -> String {
        let pid = self.container(name, pod, container)["pid"].clone();
        self.on_node(name, &format!("nsenter --net=/proc/{pid}/ns/net sh -c '{script}'"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in std::mem::take(&mut self.names) {
            let _ = self.run(&name, &["down"]);
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The images of these tests: `web` serves on `$PORT`, `datagrams` listens on `$PORT` of UDP,
/// `idle` does nothing, and `sh` is a shell.
pub(crate) fn images() -> String {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/labs");
    format!(
        "apiVersion: tortie.dev/v1\nkind: ImageMap\nmetadata: {{name: tests}}\nimages:\n\
         - {{image: web, command: [{here}/web.pl], env: [{{name: PORT, value: '80'}}]}}\n\
         - {{image: datagrams, command: [{here}/datagrams.pl], env: [{{name: PORT, value: '53'}}]}}\n\
         - {{image: idle, command: [sleep, infinity]}}\n\
         - {{image: sh, command: [sh, -c]}}\n---\n"
    )
}

/// A pod with one container of an image, and more fields of the container.
pub(crate) fn pod(name: &str, image: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  \
         serviceAccountName: {name}\n  containers: [{{name: main, image: {image}{more}}}]\n---\n"
    )
}

/// A pod that serves on port 80.
pub(crate) fn web(name: &str) -> String {
    pod(name, "web", ", ports: [{name: http, containerPort: 80}]")
}

/// A pod without a sidecar that does nothing.
pub(crate) fn outsider(name: &str) -> String {
    without_sidecar(name, &pod(name, "idle", ""))
}

/// The manifest of a pod of this name that gets no sidecar.
pub(crate) fn without_sidecar(name: &str, manifest: &str) -> String {
    manifest.replace(
        &format!("labels: {{app: {name}}}"),
        &format!("labels: {{app: {name}}}, annotations: {{sidecar.istio.io/inject: \"false\"}}"),
    )
}

/// A Service for the pods with this label `app`, with more fields.
pub(crate) fn service(name: &str, app: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {app}}}, ports: [{{port: 80}}]{more}}}\n---\n"
    )
}

/// Sidecars for the namespace `default`.
pub(crate) const INJECTED: &str = "apiVersion: v1\nkind: Namespace\n\
    metadata: {name: default, labels: {istio-injection: enabled}}\n---\n";

/// What this host shows of labs: mounts and links.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    pub(crate) fn now() -> Self {
        let links = fs::read_dir("/sys/class/net").unwrap();
        let links = links.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        Self(mounts.lines().map(str::to_owned).chain(links).collect())
    }

    /// Sees that nothing has been added that stays. Others on this host may add something for a while.
    pub(crate) fn assert_unchanged(&self) {
        let mut added: BTreeSet<String> = Self::now().0.difference(&self.0).cloned().collect();
        eventually(&format!("the end of {added:?}"), || {
            let now = Self::now();
            added.retain(|trace| now.0.contains(trace));
            added.is_empty()
        });
    }
}

/// A process: another one that gets its pid later is not it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it started, in the kernel's ticks.
    started: u64,
}

/// All processes below one, itself first.
pub(crate) fn tree(root: u32) -> Vec<Process> {
    let mut found = vec![root];
    let all = all_processes();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|p| p.1 == parent).map(|p| p.0));
        next += 1;
    }
    let process = |pid| Some(Process { pid, started: field(pid, 19)?.parse().ok()? });
    found.into_iter().filter_map(process).collect()
}

/// Every process with its parent.
fn all_processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: u32) -> Option<u32> {
    field(pid, 1)?.parse().ok()
}

/// What the kernel says of a process, by position after its name: state, parent, …
fn field(pid: u32, position: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(position).map(str::to_owned)
}

/// Whether a process is still there, zombies not counted.
pub(crate) fn alive(process: Process) -> bool {
    let same = field(process.pid, 19).is_some_and(|s| s == process.started.to_string());
    same && field(process.pid, 0).is_some_and(|state| state != "Z")
}

/// Whether there is anything in a directory.
pub(crate) fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

/// Sends a signal.
pub(crate) fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits for a condition that must come true.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let _ = rustix::event::poll(&mut [], Some(&pause));
    }
}
