//! Starting the process tree of a lab, seen from outside.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::control::{Message, Receiver};
use crate::error::At;
use crate::files::{open_log, tail};
use crate::process::{ProcessId, child_of};
use crate::state::{Holder, LabDir, StateRoot};
use crate::{Error, programs};

/// A lab started by this process, which ends and vanishes with this value unless it is detached.
#[derive(Debug)]
pub(crate) struct Started {
    root: StateRoot,
    dir: LabDir,
    launcher: Child,
    channel: Receiver,
    holder: Option<Holder>,
    ended: bool,
}

/// How to start the supervisor.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The executable; it answers to `lab`.
    pub(crate) executable: &'a Path,
    /// What the supervisor gets as its standard input: the ingress gateway's listener.
    pub(crate) stdin: Stdio,
    /// Whether an ordinary user starts it.
    pub(crate) rootless: bool,
}

impl Launch<'_> {
    /// Starts the supervisor of a reserved lab, in namespaces of its own.
    ///
    /// It gets a session of its own too: no key pressed in this terminal reaches it, and nothing
    /// inside can type into this terminal. Nor does anything inside ignore the signals that whoever
    /// starts it ignores, as `nohup` does.
    /// `prepare` is to write what the supervisor reads. If anything fails, the directory is
    /// removed.
    pub(crate) fn start(
        self,
        root: &StateRoot,
        dir: &LabDir,
        prepare: impl FnOnce(&LabDir) -> Result<(), Error>,
    ) -> Result<Started, Error> {
        prepare(dir).and_then(|()| self.spawn(root, dir)).inspect_err(|_| {
            let _ = root.forget(dir);
        })
    }

    fn spawn(self, root: &StateRoot, dir: &LabDir) -> Result<Started, Error> {
        let (channel, stdout) = Receiver::pair()?;
        let log = open_log(&dir.supervisor_log())?;
        let mut command = Command::new("setsid");
        command.args([
            "env",
            "--default-signal",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.args(["--mount-proc", "--propagation", "private"]);
        if self.rootless {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg(self.executable).args(["lab", "inside", "init"]).arg(dir.path());
        command.env("PATH", programs::search_path());
        command.current_dir("/").stdin(self.stdin).stdout(stdout).stderr(log);
        let launcher = command.spawn().at("run", "setsid")?;
        let (root, dir) = (root.clone(), dir.clone());
        Ok(Started { root, dir, launcher, channel, holder: None, ended: false })
    }
}

impl Started {
    /// Waits until the lab is up, passing on each step.
    pub(crate) fn wait_ready(&mut self, mut step: impl FnMut(&str)) -> Result<(), Error> {
        loop {
            let message = self.channel.next().ok_or_else(|| self.early_end())?;
            if self.holder.is_none() {
                self.note_holder()?;
            }
            match message {
                Message::Step(text) => step(&text),
                Message::Ready => return Ok(()),
                Message::Failed(reported) => return Err(Error::Reported(reported)),
            }
        }
    }

    /// Records pid 1 of the lab, which exists once anything was heard from inside.
    fn note_holder(&mut self) -> Result<(), Error> {
        let launcher = self.launcher.id();
        let init = child_of(launcher).ok_or_else(|| self.early_end())?;
        let holder = Holder {
            launcher: ProcessId::of(launcher).at("read", format!("/proc/{launcher}/stat"))?,
            init: ProcessId::of(init).at("read", format!("/proc/{init}/stat"))?,
        };
        self.dir.record_holder(holder)?;
        self.holder = Some(holder);
        Ok(())
    }

    /// The error for a supervisor that ended, with the end of its log.
    fn early_end(&self) -> Error {
        let log = tail(&self.dir.supervisor_log(), 3).join("; ");
        let what = if log.is_empty() { "ended".to_owned() } else { format!("ended: {log}") };
        Error::Supervisor { name: self.dir.name().to_string(), what }
    }

    /// Lets the lab live on without this process.
    pub(crate) fn detach(&mut self) -> Result<(), Error> {
        self.channel.detach()?;
        self.ended = true;
        Ok(())
    }

    /// Ends the lab and removes everything of it.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        match self.holder {
            Some(holder) => holder.kill()?,
            None => self.launcher.kill().at("kill", "unshare")?,
        }
        // Only the parent can collect it; until then it would remain as a zombie.
        self.launcher.wait().at("wait for", "unshare")?;
        self.root.forget(&self.dir)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
