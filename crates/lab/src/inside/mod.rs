//! The processes that run inside the lab, each a hidden subcommand of the same executable.
//!
//! `unshare` → [`init`] (pid 1 of the lab) → the supervisor → `unshare` → [`container`] (pid 1 of
//! a container) → the container's process. Each ends with the one before it. Beside them a
//! [`pause`] holds each pod's network. The API server is a child of pid 1 too: it alone listens in
//! the network around the lab.

pub(crate) mod container;
pub(crate) mod init;
pub(crate) mod pause;
mod rootfs;
pub(crate) mod sandbox;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;
use crate::error::At;
use crate::files::{open_log, read_json};
use crate::plan::Settings;
use crate::privileges::Privileges;
use crate::state::LabDir;

/// With this exit status the supervisor says that nobody waits for the lab any more.
pub(crate) const ABANDONED: u8 = 75;

/// Pid 1 of the lab: runs the API server, and the supervisor in the node's network. When the lab was abandoned it removes the lab's files,
/// after the last process that could write any.
pub(crate) fn lab(dir: &Path) -> Result<u8, Error> {
    init::check_pid()?;
    close_inherited()?;
    let executable = std::env::current_exe().at("find", "/proc/self/exe")?;
    let lab = LabDir::from_path(dir)?;
    let settings: Settings = read_json(&lab.settings())?;
    let mut supervisor = Command::new("unshare");
    supervisor.args(["--net", "--"]).arg(&executable).args(["lab", "inside", "supervise"]).arg(dir);
    let server = api_server(&executable, &lab, settings.api_port)?;
    let code = init::Init::start(&mut supervisor)?.keep(server)?.wait()?;
    if code == ABANDONED {
        init::end_all()?;
        lab.remove()?;
    }
    Ok(code)
}

/// The API server, without any privilege.
fn api_server(executable: &Path, lab: &LabDir, port: u16) -> Result<Command, Error> {
    let log = open_log(&lab.api_log())?;
    let words = Privileges::APPLICATION.words("setpriv");
    let (program, words) = words.split_first().ok_or_else(|| Error::program("setpriv", ""))?;
    let mut command = Command::new(program);
    command.args(words).arg(executable).args(["apiserver", "--data"]).arg(lab.api());
    command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    command.stdin(Stdio::null()).stdout(log.try_clone().at("open", lab.api_log())?).stderr(log);
    Ok(command)
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
