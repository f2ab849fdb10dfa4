//! The processes that run inside the lab, each a hidden subcommand of the same executable.
//!
//! `unshare` → [`init`] (pid 1 of the lab) → the supervisor → `unshare` → [`container`] (pid 1 of
//! a container) → the container's process. Each ends with the one before it. Beside them a
//! [`pause`] holds each pod's network.

pub(crate) mod container;
pub(crate) mod init;
pub(crate) mod pause;
mod rootfs;
pub(crate) mod sandbox;

use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::error::At;

/// Pid 1 of the lab: runs the supervisor.
pub(crate) fn lab(dir: &Path) -> Result<u8, Error> {
    let executable = std::env::current_exe().at("find", "/proc/self/exe")?;
    let mut command = Command::new(executable);
    command.args(["lab", "inside", "supervise"]).arg(dir);
    init::Init::start(&mut command)?.wait()
}
