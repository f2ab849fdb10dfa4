//! Running a command in a container, from outside the lab.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{At, Error};
use crate::plan::{CONTAINER_PATH, ContainerPlan, Plan, PodPlan};
use crate::privileges::Privileges;
use crate::process::{ProcessId, child_of, outer_pid};
use crate::programs;
use crate::state::Holder;
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

/// Finds a pod by `NAMESPACE/NAME`, or by its name alone.
pub(crate) fn find_pod<'a>(status: &'a Status, text: &str) -> Result<&'a PodStatus, Error> {
    let fits = |pod: &&PodStatus| pod.id() == text || pod.name == text;
    let mut found = status.pods.iter().filter(fits);
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

/// A command that runs `argv` in a container as the container's own process runs: same view of
/// the machine, environment and privileges.
///
/// It enters the namespaces directly, so a terminal stays a terminal, and its exit status is that
/// of `argv`.
pub(crate) fn command(
    plan: &Plan,
    status: &Status,
    holder: Holder,
    pod: &PodStatus,
    container: &str,
    argv: &[String],
) -> Result<Command, Error> {
    let not_running = || Error::NoSuchPod {
        what: format!("pod `{}`: container `{container}` is not running", pod.id()),
        hint: format!("see `tortie lab --name {} status` and `logs`", status.name),
    };
    let running = pod.containers.iter().find(|c| c.name == container).and_then(|c| c.pid);
    let launcher = running.and_then(|pid| outer_pid(holder.init.pid(), pid));
    let target = launcher.and_then(child_of).ok_or_else(not_running)?;
    let planned =
        plan.pods.iter().find(|p| p.id.to_string() == pod.id()).ok_or_else(not_running)?;

    let program = |name: &str| programs::find(name).unwrap_or_else(|| name.into());
    let mut command = Command::new(&plan.executable);
    command.args(["lab", "inside", "enter", "--"]).arg(program("nsenter"));
    command.arg(format!("--target={target}"));
    if plan.rootless {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--"]);
    let setpriv = program("setpriv");
    let mut words = privileges(plan, planned, container).words(&setpriv.to_string_lossy());
    // The command must not outlive whoever waits for it.
    words.insert(1, "--pdeathsig=KILL".to_owned());
    command.args(words).args(argv).env_clear().envs(environment(planned, container));
    Ok(command)
}

fn privileges(plan: &Plan, pod: &PodPlan, container: &str) -> Privileges {
    match container {
        PROXY => Privileges::sidecar(plan.rootless, pod.has_sidecar()),
        AUTHORIZER => Privileges::sidecar(plan.rootless, false),
        _ => Privileges::APPLICATION,
    }
}

/// The container's environment, with the terminal's type where there is a terminal.
fn environment(pod: &PodPlan, container: &str) -> BTreeMap<String, String> {
    let planned = |c: &&ContainerPlan| c.name == container;
    let own = pod.init.iter().chain(&pod.containers).find(planned).map(|c| c.env.clone());
    let bare = || BTreeMap::from([("PATH".to_owned(), CONTAINER_PATH.to_owned())]);
    let mut environment = own.unwrap_or_else(bare);
    if let Ok(terminal) = std::env::var("TERM") {
        environment.entry("TERM".to_owned()).or_insert(terminal);
    }
    environment
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
