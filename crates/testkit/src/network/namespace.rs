//! Network namespaces that live as long as they are held.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, anyhow, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace; gone once this and all sockets in it are closed.
#[derive(Debug)]
pub struct Namespace {
    handle: OwnedFd,
}

/// Whether tests may make namespaces here: they need root. Says so if not.
///
/// # Panics
/// If they may not and `CI` is `true`: there nothing may be skipped.
#[expect(clippy::panic, reason = "a test that is skipped looks as if it had passed")]
pub fn may_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: network namespaces need root");
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            panic!("CI must run as root");
        }
    }
    root
}

/// Runs something on a thread of its own, whose namespaces are nobody else's business.
fn apart<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let done = thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| anyhow!("a thread in a network namespace panicked"))?
}

impl Namespace {
    /// A new one, with nothing but a loopback interface that is down.
    ///
    /// # Errors
    /// If this process may not make one.
    pub fn new() -> anyhow::Result<Namespace> {
        apart(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare")?;
            Ok(Namespace { handle: File::open("/proc/thread-self/ns/net")?.into() })
        })
    }

    /// Runs something in the namespace, on a thread of its own: sockets made there stay there, and
    /// programs started there run there.
    ///
    /// # Errors
    /// If the namespace cannot be entered, and those of the work.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        apart(|| {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.handle.as_fd(), network).context("setns")?;
            work()
        })
    }

    /// Runs a program in the namespace, feeds it a text, and returns what it prints.
    ///
    /// # Errors
    /// If it cannot be run or fails; with what it says.
    pub fn run(&self, program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        self.within(|| {
            let mut command = Command::new(program);
            command.args(arguments);
            feed(command, input).with_context(|| format!("{program} {}", arguments.join(" ")))
        })
    }

    /// Sets parameters below `/proc/sys/net`.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn set(&self, parameters: &[(&str, &str)]) -> anyhow::Result<()> {
        self.within(|| {
            parameters.iter().try_for_each(|(name, value)| {
                std::fs::write(format!("/proc/sys/net/{name}"), value)
                    .with_context(|| (*name).to_owned())
            })
        })
    }

    /// A path by which programs of this machine find the namespace while it is held.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }
}

fn feed(mut command: Command, input: &str) -> anyhow::Result<String> {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn()?;
    let stdin = child.stdin.take();
    thread::scope(|scope| {
        // Apart, so that neither side waits for the other with a full pipe.
        let fed = scope.spawn(|| stdin.map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes())));
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{}: {said}", output.status);
        fed.join().map_err(|_| io::Error::other("the feeding thread panicked"))??;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    })
}
