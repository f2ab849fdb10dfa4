//! `tortie lab exec`, and which of this command's streams the other gets.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use super::Exec;
use crate::error::At;
use crate::exec::exit_code;
use crate::{Error, Lab};

pub(super) const EXAMPLES: &str = "Examples:
  tortie lab exec customer -- curl -s http://summary/519940
  tortie lab exec -ti customer -- bash
  tortie lab exec -i attack -- sh < script.sh";

/// Runs the command; gives its exit status.
///
/// Where it may have this command's streams it takes its place, so that terminal and signals are its
/// own. A terminal that it is not to have is kept from it by pipes.
pub(super) fn run(lab: &Lab, args: &Exec) -> Result<u8, Error> {
    let mut command = lab.exec_command(&args.pod, args.container.as_deref(), &args.argv)?;
    if !args.stdin {
        command.stdin(Stdio::null());
    }
    let wanted = args.stdin && args.tty;
    if wanted && !io::stdin().is_terminal() {
        eprintln!("note: the input is no terminal, so the command gets none");
    }
    if wanted && io::stdin().is_terminal() {
        return Err(command.exec()).at("run", command.get_program());
    }
    let input = args.stdin && io::stdin().is_terminal();
    let outputs = [io::stdout().is_terminal(), io::stderr().is_terminal()];
    if !input && outputs == [false, false] {
        return Err(command.exec()).at("run", command.get_program());
    }
    piped(command, input, outputs)
}

/// Runs a command with pipes in place of terminals: of input, and of each output.
fn piped(mut command: Command, input: bool, outputs: [bool; 2]) -> Result<u8, Error> {
    if input {
        command.stdin(Stdio::piped());
    }
    let [stdout, stderr] = outputs;
    if stdout {
        command.stdout(Stdio::piped());
    }
    if stderr {
        command.stderr(Stdio::piped());
    }
    let mut child = command.spawn().at("run", command.get_program())?;
    if let Some(to) = child.stdin.take() {
        // It ends with this process: nobody can tell when no more is typed.
        drop(carry(own(io::stdin())?, to));
    }
    let mut carried = Vec::new();
    if let Some(from) = child.stdout.take() {
        carried.push(carry(from, own(io::stdout())?));
    }
    if let Some(from) = child.stderr.take() {
        carried.push(carry(from, own(io::stderr())?));
    }
    let status = child.wait().at("wait for", command.get_program())?;
    for one in carried {
        let _ = one.join();
    }
    Ok(exit_code(status))
}

/// A stream of this process, as it is: nothing waits in a buffer for the end of a line.
fn own(stream: impl AsFd) -> Result<File, Error> {
    Ok(stream.as_fd().try_clone_to_owned().at("open", "/dev/fd")?.into())
}

/// Carries a stream to its end, or until nobody takes it.
fn carry(
    mut from: impl io::Read + Send + 'static,
    mut to: impl io::Write + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || drop(io::copy(&mut from, &mut to)))
}
