//! Pid 1 of a namespace: runs one command, reaps whatever is left to it, and ends with it.
//!
//! The command is a child rather than pid 1 itself, so that it may wait for its own children
//! without taking the orphans' exit statuses, or ignore both.

use std::process::{Child, Command};

use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::Error;
use crate::error::At;

/// A command that runs below this process.
#[derive(Debug)]
pub(crate) struct Init {
    child: Child,
}

impl Init {
    /// Starts the command.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Error> {
        let program = command.get_program().to_owned();
        Ok(Self { child: command.spawn().at("run", program)? })
    }

    /// Reaps until the command has ended; gives its exit status as a shell would.
    pub(crate) fn wait(self) -> Result<u8, Error> {
        let child = i32::try_from(self.child.id()).unwrap_or_default();
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid.as_raw_pid() == child => return Ok(code(status)),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).at("wait for", format!("/proc/{child}")),
            }
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
