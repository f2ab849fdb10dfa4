//! Pid 1 of a container: builds its root, starts its process, reaps, and ends with it.
//!
//! Standard input is a socket to the supervisor: one line with the sandbox comes in, one line goes
//! out that says whether the process was started.
//!
//! It leads a session of its own: a program that signals its whole process group must not find the
//! supervisor in it, or other containers.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::sandbox::Sandbox;
use super::{init, rootfs};
use crate::error::At;
use crate::{Error, programs};

/// What the supervisor is told.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Reply {
    /// The process was started.
    Started,
    /// It was not.
    Failed(String),
}

/// Runs the container; gives the exit status of its process.
pub(crate) fn run() -> Result<u8, Error> {
    init::check_pid()?;
    rustix::process::setsid().at("start", "session")?;
    let fd = std::io::stdin().as_fd().try_clone_to_owned().at("open", "standard input")?;
    let mut channel = UnixStream::from(fd);
    let mut reply = |reply: &Reply| {
        let text = serde_json::to_string(reply).unwrap_or_default();
        // The supervisor's end ends the lab, so there is nobody else to tell.
        let _ = writeln!(channel, "{text}");
    };
    let started = read_sandbox().and_then(|sandbox| {
        rootfs::enter(&sandbox)?;
        init::Init::start(&mut command(&sandbox))
    });
    match started {
        Ok(init) => {
            reply(&Reply::Started);
            init.wait()
        }
        Err(error) => {
            reply(&Reply::Failed(error.to_string()));
            Err(error)
        }
    }
}

fn read_sandbox() -> Result<Sandbox, Error> {
    let mut line = String::new();
    BufReader::new(std::io::stdin()).read_line(&mut line).at("read", "standard input")?;
    serde_json::from_str(&line).map_err(std::io::Error::from).at("read", "standard input")
}

fn command(sandbox: &Sandbox) -> Command {
    let setpriv = programs::find("setpriv").unwrap_or_else(|| "setpriv".into());
    let words = sandbox.privileges.words(&setpriv.to_string_lossy());
    let mut words = words.iter().chain(&sandbox.argv);
    let mut command = Command::new(words.next().map_or("setpriv", String::as_str));
    command.args(words).env_clear().envs(&sandbox.env);
    command.current_dir(&sandbox.directory).stdin(Stdio::null());
    command
}
