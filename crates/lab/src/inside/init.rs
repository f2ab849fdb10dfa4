//! Pid 1 of a namespace: runs one command, reaps whatever is left to it, and ends with it.
//!
//! The command is a child rather than pid 1 itself, so that it may wait for its own children
//! without taking the orphans' exit statuses, or ignore both.

use std::process::{Child, Command};

use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};

use crate::Error;
use crate::error::At;

/// The pause before a command that ended is started again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A command that runs below this process.
#[derive(Debug)]
pub(crate) struct Init {
    child: Child,
    kept: Option<(Command, Child)>,
}

impl Init {
    /// Starts the command.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Error> {
        let program = command.get_program().to_owned();
        Ok(Self { child: command.spawn().at("run", program)?, kept: None })
    }

    /// Starts one more command, which is started again whenever it ends.
    pub(crate) fn keep(mut self, mut command: Command) -> Result<Self, Error> {
        let program = command.get_program().to_owned();
        let child = command.spawn().at("run", program)?;
        self.kept = Some((command, child));
        Ok(self)
    }

    /// Reaps until the command has ended; gives its exit status as a shell would.
    pub(crate) fn wait(mut self) -> Result<u8, Error> {
        let child = i32::try_from(self.child.id()).unwrap_or_default();
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid.as_raw_pid() == child => return Ok(code(status)),
                Ok(Some((pid, _))) => self.start_again(pid)?,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).at("wait for", format!("/proc/{child}")),
            }
        }
    }

    /// Starts the kept command again, if this process was it.
    fn start_again(&mut self, ended: Pid) -> Result<(), Error> {
        if let Some((command, child)) = &mut self.kept
            && Ok(ended.as_raw_pid()) == i32::try_from(child.id())
        {
            // Nothing else is to be done meanwhile: whoever ends now is reaped after it.
            let _ = poll(&mut [], Some(&PAUSE));
            *child = command.spawn().at("run", command.get_program())?;
        }
        Ok(())
    }
}

/// Refuses to go on unless this process is pid 1 of a namespace: what it does next would be wrong,
/// or a disaster, anywhere else.
pub(crate) fn check_pid() -> Result<(), Error> {
    match std::process::id() {
        1 => Ok(()),
        other => Err(Error::program("lab inside", format!("runs as pid {other}, not as pid 1"))),
    }
}

/// Kills every other process of the namespace and waits for all of them.
pub(crate) fn end_all() -> Result<(), Error> {
    check_pid()?;
    // From pid 1, the process group of pid 1 means everybody else.
    match kill_process_group(Pid::INIT, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error).at("kill", "/proc"),
    }
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error).at("wait for", "/proc"),
        }
    }
}

/// 128 and the signal's number for a process that a signal ended.
fn code(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(255)
}
