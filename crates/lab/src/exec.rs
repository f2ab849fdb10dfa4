//! Running a command in a container, from outside the lab or from its node.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{At, Error};
use crate::files::read_json;
use crate::plan::{CONTAINER_PATH, ContainerPlan, PodPlan, Settings};
use crate::privileges::Privileges;
use crate::process::{ProcessId, child_of, outer_pid};
use crate::programs;
use crate::state::{Holder, LabDir};
use crate::status::{PodStatus, Role, Status};
use crate::supervisor::{AUTHORIZER, PROXY};

/// What a command said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 and the signal for a command that was killed.
    pub status: u8,
    /// Standard output, with anything that is not UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// Finds a pod by `NAMESPACE/NAME`, by its name alone, or by that of the workload whose only pod it is.
pub(crate) fn find_pod<'a>(status: &'a Status, text: &str) -> Result<&'a PodStatus, Error> {
    let stays = |pod: &&PodStatus| !pod.ending;
    let named = |pod: &&PodStatus| pod.id() == text || pod.name == text;
    let of_workload = |pod: &&PodStatus| {
        pod.workload.as_deref().is_some_and(|name| {
            name == text || text.strip_prefix(&*pod.namespace) == Some(&format!("/{name}"))
        })
    };
    let by_name: Vec<&PodStatus> = status.pods.iter().filter(stays).filter(named).collect();
    let by_workload = || status.pods.iter().filter(stays).filter(of_workload).collect();
    let found = if by_name.is_empty() { by_workload() } else { by_name };
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(pod), None) => Ok(pod),
        (None, _) => Err(Error::NoSuchPod {
            what: format!("pod `{text}`: not in lab `{}`", status.name),
            hint: format!("it has {}", names(status.pods.iter().map(PodStatus::id))),
        }),
        (Some(one), Some(other)) => Err(Error::NoSuchPod {
            what: format!("pod `{text}`: is not the name of one pod alone"),
            hint: format!("choose {} or {}", one.id(), other.id()),
        }),
    }
}

fn names(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

/// The container of a pod that is meant: the one named, or the first that is not the sidecar's.
pub(crate) fn container_name(pod: &PodStatus, chosen: Option<&str>) -> Result<String, Error> {
    let all = || pod.containers.iter().map(|c| c.name.as_str());
    let found = match chosen {
        Some(name) => all().find(|other| *other == name),
        None => {
            let own = pod.containers.iter().find(|c| c.role == Role::Application);
            own.map(|c| c.name.as_str()).or_else(|| all().next())
        }
    };
    found.map(str::to_owned).ok_or_else(|| Error::NoSuchPod {
        what: format!("pod `{}`: no container `{}`", pod.id(), chosen.unwrap_or_default()),
        hint: format!("it has {}", names(all().map(str::to_owned))),
    })
}

/// A container that runs, and how to get into it.
#[derive(Debug)]
pub(crate) struct Running {
    /// The lab's executable.
    executable: PathBuf,
    /// The pid of the container's pid 1, as whoever enters sees it.
    target: u32,
    /// Whether a user namespace has to be entered first.
    user: bool,
    privileges: Privileges,
    environment: BTreeMap<String, String>,
}

impl Running {
    /// From outside of the lab.
    pub(crate) fn from_outside(
        dir: &LabDir,
        settings: &Settings,
        holder: Holder,
        pod: &PodStatus,
        container: &str,
    ) -> Result<Self, Error> {
        let outside = |pid| outer_pid(holder.init.pid(), pid);
        let mut running = Self::find(dir, settings, pod, container, outside)?;
        running.user = settings.rootless;
        if let Ok(terminal) = std::env::var("TERM") {
            running.environment.entry("TERM".to_owned()).or_insert(terminal);
        }
        Ok(running)
    }

    /// From the node.
    pub(crate) fn from_node(
        dir: &LabDir,
        settings: &Settings,
        pod: &PodStatus,
        container: &str,
    ) -> Result<Self, Error> {
        Self::find(dir, settings, pod, container, Some)
    }

    /// `seen` gives the pid by which whoever enters sees a process of the node.
    fn find(
        dir: &LabDir,
        settings: &Settings,
        pod: &PodStatus,
        container: &str,
        seen: impl Fn(u32) -> Option<u32>,
    ) -> Result<Self, Error> {
        let not_running = || Error::NoSuchPod {
            what: format!("pod `{}`: container `{container}` is not running", pod.id()),
            hint: format!("see `tortie lab --name {} status` and `logs`", dir.name()),
        };
        let running = pod.containers.iter().find(|c| c.name == container).and_then(|c| c.pid);
        let target = running.and_then(seen).and_then(child_of).ok_or_else(not_running)?;
        let plan: PodPlan = read_json(&dir.pod(&pod.interface).plan())?;
        Ok(Self {
            executable: settings.executable.clone(),
            target,
            user: false,
            privileges: privileges(settings, &plan, container),
            environment: environment(&plan, container),
        })
    }

    /// The environment of commands.
    pub(crate) fn environment(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.environment
    }

    /// The pid of the container's pid 1, as whoever enters sees it.
    pub(crate) fn target(&self) -> u32 {
        self.target
    }

    /// The user and group of commands, if they are not the lab's own.
    pub(crate) fn user(&self) -> Option<u32> {
        self.privileges.user
    }

    /// A command that runs `argv` as the container's own process runs: same view of the machine,
    /// environment and privileges.
    ///
    /// It enters the namespaces directly, so a terminal stays a terminal, and its exit status is that
    /// of `argv`.
    pub(crate) fn command(&self, argv: &[String]) -> Command {
        self.entering(&[], argv)
    }

    /// As [`Running::command`], at the head of a session whose terminal is its standard input.
    ///
    /// The session begins within the container: only then do programs there know its number, without
    /// which no shell controls jobs.
    pub(crate) fn command_on_terminal(&self, argv: &[String]) -> Command {
        let setsid = programs::find("setsid").unwrap_or_else(|| "setsid".into());
        self.entering(&[&setsid.to_string_lossy(), "--ctty", "--"], argv)
    }

    /// Runs `argv` by way of `first`, which still has every privilege.
    fn entering(&self, first: &[&str], argv: &[String]) -> Command {
        let program = |name: &str| programs::find(name).unwrap_or_else(|| name.into());
        let mut command = Command::new(&self.executable);
        command.args(["lab", "inside", "enter", "--"]).arg(program("nsenter"));
        command.arg(format!("--target={}", self.target));
        if self.user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--"]);
        let mut words = self.privileges.words(&program("setpriv").to_string_lossy());
        // The command must not outlive whoever waits for it.
        words.insert(1, "--pdeathsig=KILL".to_owned());
        command.args(first).args(words).args(argv).env_clear().envs(&self.environment);
        command
    }
}

fn privileges(settings: &Settings, pod: &PodPlan, container: &str) -> Privileges {
    match container {
        PROXY => Privileges::sidecar(settings.rootless, pod.has_sidecar()),
        AUTHORIZER => Privileges::sidecar(settings.rootless, false),
        _ => Privileges::APPLICATION,
    }
}

/// The container's environment.
fn environment(pod: &PodPlan, container: &str) -> BTreeMap<String, String> {
    let planned = |c: &&ContainerPlan| c.name == container;
    let own = pod.init.iter().chain(&pod.containers).find(planned).map(|c| c.env.clone());
    own.unwrap_or_else(|| BTreeMap::from([("PATH".to_owned(), CONTAINER_PATH.to_owned())]))
}

/// Runs a command without input, to its end or until the time is over.
pub(crate) fn capture(mut command: Command, what: &str, limit: Duration) -> Result<Output, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().at("run", "nsenter")?;
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let status = wait(&mut child, limit)?
        .ok_or_else(|| Error::Timeout { what: what.to_owned(), seconds: limit.as_secs() })?;
    Ok(Output { status: exit_code(status), stdout: text(stdout), stderr: text(stderr) })
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is all there is.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn text(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a child; kills it, and gives none, when the time is over.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, Error> {
    let process = ProcessId::of(child.id()).ok().and_then(ProcessId::open);
    let in_time = match &process {
        Some(process) => process.wait(limit).at("wait for", "nsenter")?,
        None => true,
    };
    if !in_time {
        child.kill().at("kill", "nsenter")?;
    }
    let status = child.wait().at("wait for", "nsenter")?;
    Ok(in_time.then_some(status))
}

/// An exit status as a shell gives it.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_of_a_command() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo out; echo err >&2; exit 7"]);
        let output = capture(shell, "sh", Duration::from_secs(10)).unwrap();
        assert_eq!((output.status, &*output.stdout, &*output.stderr), (7, "out\n", "err\n"));
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        let error = capture(sleep, "sleep", Duration::from_millis(1)).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
}
