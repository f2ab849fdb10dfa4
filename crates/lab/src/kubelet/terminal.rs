//! A terminal of a container's own, which programs in it find below their `/dev/pts`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::fchown;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::exec::Running;

/// Both sides of a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    /// What is typed goes in here, what is shown comes out.
    pub(super) ours: OwnedFd,
    /// What is the terminal to programs.
    pub(super) theirs: OwnedFd,
}

/// Makes a terminal for a command in a container.
///
/// # Errors
/// If the container has ended, or its `/dev` has no terminals any more.
pub(super) fn open(running: &Running) -> io::Result<Terminal> {
    let view = File::open(format!("/proc/{}/ns/mnt", running.target()))?;
    // By its paths and links the container could lead whoever follows them from out here to other
    // files. Inside there is nothing to be led to; what goes inside is a thread, which ends there.
    let inside = std::thread::Builder::new().spawn(move || make(&view))?;
    let terminal =
        inside.join().map_err(|_| io::Error::other("the container cannot be entered"))??;
    fchown(&terminal.theirs, running.user(), running.user())?;
    Ok(terminal)
}

/// Moves this thread into a mount namespace and makes a terminal there.
#[expect(deprecated, reason = "unsafe is what shares descriptors no more, and these stay shared")]
fn make(view: &File) -> io::Result<Terminal> {
    rustix::thread::unshare(UnshareFlags::FS)?;
    move_into_link_name_space(view.as_fd(), Some(LinkNameSpaceType::Mount))?;
    let pair = nix::pty::openpty(None, None)?;
    // Containers that start meanwhile must not get it.
    fcntl_setfd(&pair.master, FdFlags::CLOEXEC)?;
    fcntl_setfd(&pair.slave, FdFlags::CLOEXEC)?;
    Ok(Terminal { ours: pair.master, theirs: pair.slave })
}
