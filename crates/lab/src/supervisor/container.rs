//! One container: started, watched, and started again.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Environment;
use super::probe::Probe;
use crate::Error;
use crate::error::At;
use crate::exec::exit_code;
use crate::files::{open_log, tail};
use crate::inside::container::Reply;
use crate::inside::sandbox::Sandbox;
use crate::plan::Restart;
use crate::status::{ContainerStatus, State};
use crate::times;

/// The pause before the first restart; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause, and how long a container must run to be as good as new.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One container to be kept running.
#[derive(Debug)]
pub(crate) struct Container {
    /// The uid of its pod.
    pub(crate) pod: String,
    /// Name, unique in the pod.
    pub(crate) name: String,
    /// The words that lead into the pod's namespaces.
    pub(crate) enter: Vec<String>,
    /// What it runs and sees.
    pub(crate) sandbox: Sandbox,
    /// When it counts as ready.
    pub(crate) probe: Probe,
    /// When it starts again.
    pub(crate) restart: Restart,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// Whether the pod is being stopped.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Container {
    /// Keeps it running. Returns when it ended and stays ended, with whether that was a success.
    pub(crate) async fn run(&self, env: &Environment) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let end = self.run_once(env).await;
            let success = matches!(&end, Ok(status) if status.success());
            let stays = *self.stopping.borrow()
                || self.restart == Restart::Never
                || (self.restart == Restart::OnFailure && success);
            if stays {
                self.ended(env, &end, if success { State::Completed } else { State::Error });
                return success;
            }
            self.ended(env, &end, State::CrashLoopBackOff);
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let mut stopping = self.stopping.clone();
            let stopped = stopping.wait_for(|stopping| *stopping);
            if timeout(pause, stopped).await.is_ok() {
                return success;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            env.update(&self.pod, &self.name, |c| c.restarts += 1);
        }
    }

    async fn run_once(&self, env: &Environment) -> Result<ExitStatus, Error> {
        let log = self.new_log()?;
        let _noting = env.times.watch(&self.log);
        let mut child = self.start(env, log).await?;
        env.update(&self.pod, &self.name, |c| {
            c.pid = child.id();
            c.started_at = Some(env.now());
            // One that was started again has to prove itself first, so that a container which
            // crashes again and again does not look well every other moment.
            if c.restarts == 0 {
                c.state = State::Running;
            }
        });
        let ready = async {
            self.probe.passed().await;
            env.update(&self.pod, &self.name, ContainerStatus::set_ready);
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            status = child.wait() => status.at("wait for", &self.name),
            never = ready => match never {},
        }
    }

    /// Starts it; an error says why its process could not be started.
    async fn start(&self, env: &Environment, log: File) -> Result<Child, Error> {
        let (own, other) = UnixStream::pair().at("create", "container channel")?;
        if let Some(user) = self.sandbox.privileges.user {
            // It may open /dev/stdout anew, which takes more than to have it open.
            std::os::unix::fs::fchown(&log, Some(user), Some(user)).at("change", &self.log)?;
        }
        let (program, enter) = self.enter.split_first().ok_or_else(|| Error::program("", ""))?;
        let child = Command::new(program)
            .args(enter)
            .args(["unshare", "--mount", "--pid", "--fork", "--kill-child"])
            .args(["--propagation", "private", "--"])
            .arg(&env.executable)
            .args(["lab", "inside", "container"])
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(log.try_clone().at("open", &self.log)?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .at("run", program)?;
        own.set_nonblocking(true).at("open", "container channel")?;
        let channel = tokio::net::UnixStream::from_std(own).at("open", "container channel")?;
        match self.hand_over(channel).await {
            Some(Reply::Started) => Ok(child),
            Some(Reply::Failed(reason)) => Err(Error::program(&self.name, reason)),
            None => Err(Error::program(&self.name, "its namespaces could not be made")),
        }
    }

    /// A log for one run; that of the run before is kept beside it.
    fn new_log(&self) -> Result<File, Error> {
        times::rename(&self.log, &previous(&self.log)).at("rename", &self.log)?;
        open_log(&self.log)
    }

    /// Passes the sandbox on and waits for the reply; none if the other side ended.
    async fn hand_over(&self, mut channel: tokio::net::UnixStream) -> Option<Reply> {
        let mut line = serde_json::to_vec(&self.sandbox).ok()?;
        line.push(b'\n');
        channel.write_all(&line).await.ok()?;
        let mut reply = String::new();
        BufReader::new(channel).read_line(&mut reply).await.ok()?;
        serde_json::from_str(&reply).ok()
    }

    fn ended(&self, env: &Environment, end: &Result<ExitStatus, Error>, state: State) {
        let (code, message) = match end {
            Ok(status) => (Some(exit_code(*status)), last_line(&self.log)),
            Err(error) => (None, Some(error.to_string())),
        };
        tracing::info!(container = self.name, ?code, ?state, "ended");
        env.update(&self.pod, &self.name, |c| {
            c.state = state;
            c.finished_at = Some(env.now());
            c.ready = false;
            c.exit_code = code;
            c.message = message.filter(|_| state != State::Completed);
            c.pid = None;
        });
    }
}

/// The log of the run before.
pub(crate) fn previous(log: &Path) -> PathBuf {
    log.with_extension("previous")
}

fn last_line(log: &Path) -> Option<String> {
    tail(log, 1).pop()
}
