//! Processes named so that a recycled pid is never taken for the one that was meant.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process: its pid and when it started, in clock ticks since boot.
///
/// Pids are reused, the pair is not within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pid: u32,
    started: u64,
}

/// A process that ran when it was opened, held by a descriptor that no other process can take.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
}

/// The fields of `/proc/PID/stat` used here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// One letter: `R`, `S`, `Z` …
    pub(crate) state: char,
    /// The parent's pid.
    pub(crate) parent: u32,
    /// Start time in clock ticks since boot.
    pub(crate) started: u64,
}

impl Stat {
    /// Reads the state of a process.
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
    }

    /// The command name stands in parentheses and may itself hold spaces and parentheses, so
    /// fields are counted from the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Fields 3 and 4 are taken; the start time is field 22.
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { state, parent, started })
    }
}

impl ProcessId {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, started: Stat::read(pid)?.started })
    }

    /// The pid, as long as the process lives.
    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    /// Whether it runs; a zombie does not.
    pub(crate) fn alive(self) -> bool {
        Stat::read(self.pid).is_ok_and(|s| s.started == self.started && s.state != 'Z')
    }

    /// Holds the process, if it still runs.
    pub(crate) fn open(self) -> Option<Process> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Only now is the pid pinned, so only now does the comparison mean something.
        self.alive().then_some(Process { pidfd })
    }
}

impl Process {
    /// Kills it at once. That it is gone already is no error.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks it to end. That it is gone already is no error.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended; false if the time is over first.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&limit)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The first child of a process, in no particular order.
pub(crate) fn child_of(parent: u32) -> Option<u32> {
    pids()?.find(|pid| Stat::read(*pid).is_ok_and(|stat| stat.parent == parent))
}

/// The pid out here of a process that has `inner` as its pid in the namespace of which `init` is
/// pid 1.
pub(crate) fn outer_pid(init: u32, inner: u32) -> Option<u32> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(init)?;
    pids()?
        .find(|pid| innermost_pid(*pid) == Some(inner) && namespace(*pid).as_ref() == Some(&wanted))
}

/// The pid of a process in its own pid namespace.
fn innermost_pid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

fn pids() -> Option<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    Some(entries.filter_map(|e| e.file_name().to_str()?.parse().ok()))
}

/// The id of the running kernel's boot, so that a record from before a reboot is known as such.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn stat_with_a_nasty_name() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 100 200";
        let want = Stat { state: 'S', parent: 3, started: 987_654 };
        assert_eq!(Stat::parse(text), Some(want));
        assert_eq!(Stat::parse("7 (x"), None);
        assert_eq!(Stat::parse("7 (x) S 3"), None);
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_it() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.alive() && own.open().is_some());
        let recycled = ProcessId { started: own.started + 1, ..own };
        assert!(!recycled.alive() && recycled.open().is_none());
    }

    #[test]
    fn pids_of_the_own_namespace_are_the_same_outside() {
        let own = std::process::id();
        assert_eq!(outer_pid(own, own), Some(own));
        assert_eq!(outer_pid(own, u32::MAX), None);
    }

    #[test]
    fn kill_and_wait() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        let process = id.open().unwrap();
        assert!(!process.wait(Duration::ZERO).unwrap());
        assert!(child_of(std::process::id()).is_some());
        process.kill().unwrap();
        assert!(process.wait(Duration::from_secs(10)).unwrap());
        assert!(!id.alive(), "a zombie counts as dead");
        child.wait().unwrap();
        process.kill().unwrap();
    }
}
