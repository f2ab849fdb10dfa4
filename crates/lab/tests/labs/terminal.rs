//! A terminal with somebody who types and reads.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::DEADLINE;

/// A program on a terminal of its own.
pub(crate) struct Terminal {
    side: File,
    child: Child,
    /// What was shown and is not yet asked for.
    shown: String,
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Starts a program at the head of a session on a terminal of this size.
    pub(crate) fn start(inner: &Command, columns: u16, rows: u16) -> Self {
        let pair = nix::pty::openpty(None, None).unwrap();
        tcsetwinsize(&pair.master, size(columns, rows)).unwrap();
        rustix::io::fcntl_setfd(&pair.master, rustix::io::FdFlags::CLOEXEC).unwrap();
        let mut command = Command::new("setsid");
        // Whatever these tests were started to ignore, its end is heard.
        command
            .args(["--ctty", "--wait", "--", "env", "--default-signal"])
            .arg(inner.get_program())
            .args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let theirs = || pair.slave.try_clone().unwrap();
        command.stdin(theirs()).stdout(theirs()).stderr(theirs());
        let child = command.spawn().unwrap();
        Self { side: pair.master.into(), child, shown: String::new() }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.side.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.side, size(columns, rows)).unwrap();
    }

    /// Reads until this is shown; gives all up to its end.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = self.shown.find(text) {
                let rest = self.shown.split_off(found + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            assert!(self.more(end), "`{text}` does not come: {:?}", self.shown);
        }
    }

    /// Reads to the end; gives the program's exit status and what else was shown.
    pub(crate) fn end(mut self) -> (i32, String) {
        let end = Instant::now() + DEADLINE;
        while self.more(end) {}
        (self.child.wait().unwrap().code().unwrap_or(-1), std::mem::take(&mut self.shown))
    }

    /// Reads what comes; false at the end, which on a terminal is an error.
    fn more(&mut self, end: Instant) -> bool {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap();
        let mut fds = [PollFd::new(&self.side, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&left)).unwrap();
        assert!(ready > 0, "nothing more comes: {:?}", self.shown);
        let mut piece = [0; 4096];
        let count = self.side.read(&mut piece).unwrap_or(0);
        self.shown.push_str(&String::from_utf8_lossy(&piece[..count]));
        count > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
