//! A lab by kubectl, as most tests of the API use it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Place, Process, eventually, text, tree};

/// `$KUBECTL`, the one that scripts/ensure.sh fetched, or that of the PATH.
pub(crate) fn kubectl() -> PathBuf {
    if let Some(chosen) = std::env::var_os("KUBECTL").filter(|chosen| !chosen.is_empty()) {
        return chosen.into();
    }
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/kubectl/kubectl");
    if cached.exists() { cached } else { "kubectl".into() }
}

/// A lab, by kubectl.
pub(crate) struct Cluster {
    pub(crate) place: Place,
    pub(crate) kubeconfig: String,
}

impl Cluster {
    /// A lab with the images of these tests and these manifests.
    pub(crate) fn up(manifests: &str) -> Option<Cluster> {
        let mut place = Place::new()?;
        place.up("x", manifests, &[]);
        let kubeconfig = place.ok("x", &["kubeconfig"]).trim().to_owned();
        Some(Cluster { place, kubeconfig })
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_of(&kubectl(), words)
    }

    /// A command of a certain kubectl.
    pub(crate) fn command_of(&self, kubectl: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(kubectl);
        command.env("KUBECONFIG", &self.kubeconfig).args(words);
        command
    }

    /// Exit status, standard output and standard error.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> (i32, String, String) {
        let (status, out, err) = give(self.command(words), input.as_bytes());
        (status, text(&out), err)
    }

    /// Standard error of a command that must fail with status 1.
    pub(crate) fn refused(&self, words: &[&str]) -> String {
        let (status, out, err) = self.run(words, "");
        assert_eq!(status, 1, "kubectl {words:?}: {out}{err}");
        err
    }

    /// A command that goes on, its streams in our hands.
    pub(crate) fn start(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.spawn().unwrap()
    }

    /// The process within the lab that has this word in its command line.
    pub(crate) fn process(&self, word: &str) -> Option<Process> {
        let has = |process: &Process| {
            let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            // Not whoever is about to become it: nsenter and its like have it further behind.
            line.split(|byte| *byte == 0).take(3).any(|one| one == word.as_bytes())
        };
        tree(self.place.init("x")).into_iter().find(has)
    }

    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let (status, out, err) = self.run(words, "");
        assert_eq!(status, 0, "kubectl {words:?}: {out}{err}");
        out
    }

    pub(crate) fn apply(&self, manifests: &str) {
        let (status, out, err) = self.run(&["apply", "-f", "-"], manifests);
        assert_eq!(status, 0, "{out}{err}");
    }

    /// Writes a word into the FIFO `/tmp/go` of a container that waits for one.
    ///
    /// The shell that writes ends with 0; or it is killed, which is 137, because the container has read
    /// the word, gone on and ended with everything in it before that shell has ended.
    pub(crate) fn tell(&self, pod: &str, container: &str, word: &str) {
        let script = format!("echo {word} > /tmp/go");
        let (status, out, err) =
            self.run(&["exec", pod, "-c", container, "--", "sh", "-c", &script], "");
        assert!([0, 137].contains(&status), "{status}: {out}{err}");
    }

    /// Names and readiness of the pods in `default`: `web-abc 1/1`.
    pub(crate) fn pods(&self) -> Vec<String> {
        let table = self.ok(&["get", "pods", "--no-headers", "--ignore-not-found"]);
        let cells = table.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>());
        cells.map(|cells| cells.join(" ")).collect()
    }

    /// Waits until there are so many pods and all are ready.
    pub(crate) fn wait_ready(&self, count: usize, ready: &str) -> Vec<String> {
        let mut pods = Vec::new();
        eventually(&format!("{count} pods {ready}"), || {
            pods = self.pods();
            pods.len() == count && pods.iter().all(|pod| pod.ends_with(&format!(" {ready}")))
        });
        pods
    }
}

/// Runs a command with this input; gives its exit status, standard output and standard error.
pub(crate) fn give(mut command: Command, input: &[u8]) -> (i32, Vec<u8>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Who does not read all of it closes it, which is no mistake.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (output.status.code().unwrap_or(-1), output.stdout, text(&output.stderr))
}

/// A Deployment of the image `web`, of pods that serve on this port.
pub(crate) fn deployment(replicas: u32, port: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  \
         replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    \
         metadata: {{labels: {{app: web}}}}\n    \
         spec: {{containers: [{{name: main, image: web, env: [{{name: PORT, value: '{port}'}}], \
         ports: [{{containerPort: {port}}}]}}]}}\n---\n"
    )
}
