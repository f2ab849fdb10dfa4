//! The processes that run inside the lab, each a hidden subcommand of the same executable.
//!
//! `unshare` → [`init`] (pid 1 of the lab) → the supervisor → everything else. The end of any of
//! the first three ends the lab.

pub(crate) mod init;

use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::error::At;

/// The supervisor, as pid 1 of the lab starts it.
pub(crate) fn supervise(dir: &Path) -> Result<Command, Error> {
    let executable = std::env::current_exe().at("find", "/proc/self/exe")?;
    let mut command = Command::new(executable);
    command.args(["lab", "inside", "supervise"]).arg(dir);
    Ok(command)
}
