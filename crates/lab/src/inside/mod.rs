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

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::error::At;
use crate::state::LabDir;

/// With this exit status the supervisor says that nobody waits for the lab any more.
pub(crate) const ABANDONED: u8 = 75;

/// Pid 1 of the lab: runs the supervisor. When the lab was abandoned it removes the lab's files,
/// after the last process that could write any.
pub(crate) fn lab(dir: &Path) -> Result<u8, Error> {
    init::check_pid()?;
    close_inherited()?;
    let executable = std::env::current_exe().at("find", "/proc/self/exe")?;
    let mut command = Command::new(executable);
    command.args(["lab", "inside", "supervise"]).arg(dir);
    let code = init::Init::start(&mut command)?.wait()?;
    if code == ABANDONED {
        init::end_all()?;
        LabDir::from_path(dir)?.remove()?;
    }
    Ok(code)
}

/// Becomes another program, without what this process was left open by whoever started it.
pub(crate) fn enter(argv: &[String]) -> Result<u8, Error> {
    close_inherited()?;
    let (program, arguments) =
        argv.split_first().ok_or_else(|| Error::program("enter", "no program"))?;
    Err(Command::new(program).args(arguments).exec()).at("run", program)
}

/// Closes everything but the standard streams. A shell may leave directories open to its children,
/// and through one of those a container could reach any file of the machine.
fn close_inherited() -> Result<(), Error> {
    let fds = fs::read_dir("/proc/self/fd").at("read", "/proc/self/fd")?;
    let fds = fds.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for fd in fds.filter(|fd| *fd > 2).collect::<Vec<_>>() {
        // One of them was the directory listing itself, which is gone by now.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}
