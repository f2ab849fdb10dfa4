//! A part of `tortie up`: a process of its own, started again when it ends.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CapabilitySet;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long it may take to end once it is told to.
const GRACE: Duration = Duration::from_secs(10);

/// Pause before it is started again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// After how long at work an end is a new one.
const STEADY: Duration = Duration::from_secs(60);

type Prepare = Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>;

/// What a part is.
pub(super) struct Part {
    name: &'static str,
    arguments: Vec<OsString>,
    keep: CapabilitySet,
    environment: Vec<(&'static str, &'static str)>,
    prepare: Option<Prepare>,
}

impl Part {
    /// A command of this program, with the capabilities that it keeps.
    pub(super) fn new(name: &'static str, arguments: Vec<OsString>, keep: CapabilitySet) -> Part {
        Part { name, arguments, keep, environment: Vec::new(), prepare: None }
    }

    /// With a variable in its environment.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Part {
        self.environment.push((name, value));
        self
    }

    /// With something to do before each start.
    pub(super) fn prepared_by(
        self,
        prepare: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Part {
        Part { prepare: Some(Box::new(prepare)), ..self }
    }

    /// Keeps it at work until told to stop; the first line that it writes is told to `said`. Gives the
    /// exit status if it ended by itself before it ever said anything: then there is no use in starting
    /// it again.
    pub(super) async fn keep(
        &self,
        said: watch::Sender<String>,
        mut stopped: watch::Receiver<bool>,
    ) -> Option<i32> {
        let hopeful = said.receiver_count() == 0;
        let mut pause = PAUSES.0;
        loop {
            let begun = Instant::now();
            let status = match self.start(&said) {
                Err(error) => Err(error),
                Ok(child) => match ended(child, &mut stopped).await {
                    None => return None,
                    Some(status) => Ok(status),
                },
            };
            if let (Ok(status), false, true) = (&status, hopeful, said.borrow().is_empty()) {
                return status.code().or(Some(3));
            }
            if begun.elapsed() > STEADY {
                pause = PAUSES.0;
            }
            self.complain(status, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return None,
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn complain(&self, status: anyhow::Result<ExitStatus>, pause: Duration) {
        let (part, again) = (self.name, pause.as_secs_f32());
        match status {
            Ok(status) => tracing::error!(part, %status, again_in_seconds = again, "a part ended"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(part, error, again_in_seconds = again, "a part does not start");
            }
        }
    }

    fn start(&self, said: &watch::Sender<String>) -> anyhow::Result<Child> {
        if let Some(prepare) = &self.prepare {
            prepare()?;
        }
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["part", "--parent"])
            .arg(std::process::id().to_string())
            .args(["--keep", &self.keep.bits().to_string(), "--"])
            .args(&self.arguments)
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(output) = child.stdout.take() {
            let said = said.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(output).lines();
                if let Ok(Some(first)) = lines.next_line().await {
                    said.send_replace(first);
                }
                while let Ok(Some(_)) = lines.next_line().await {}
            });
        }
        Ok(child)
    }
}

/// Waits for a process to end by itself; ends it, and gives nothing, once told to stop.
async fn ended(mut child: Child, stopped: &mut watch::Receiver<bool>) -> Option<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status.ok().or(Some(ExitStatus::default())),
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    None
}
