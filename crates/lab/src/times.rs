//! When what was printed.
//!
//! A program writes its log itself, so nothing it says depends on anybody else. The supervisor is told
//! by the kernel that a log has grown, and keeps a file of notes beside it: each is 16 bytes, the
//! log's length and the nanoseconds since 1970, as little-endian integers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use time::OffsetDateTime;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// What is printed within this time has the same note: a container that prints all the time must not
/// keep the supervisor busy.
const RESOLUTION: Duration = Duration::from_millis(5);

/// Where the notes on a log are.
fn notes(log: &Path) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(".times");
    path.into()
}

/// Renames a log, with the notes on it, if it is there.
pub(crate) fn rename(log: &Path, to: &Path) -> io::Result<()> {
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::rename(log, to) {
        Err(error) if absent(&error) => return Ok(()),
        other => other?,
    }
    match fs::rename(notes(log), notes(to)) {
        // What is there is of the log that was replaced.
        Err(error) if absent(&error) => match fs::remove_file(notes(to)) {
            Err(error) if !absent(&error) => Err(error),
            _ => Ok(()),
        },
        other => other,
    }
}

/// Takes notes of the logs that grow.
#[derive(Debug)]
pub(crate) struct Times {
    /// Tells that one has grown; absent if the machine has no more of these.
    inotify: Option<OwnedFd>,
    logs: Mutex<BTreeMap<PathBuf, Growing>>,
}

/// A log that may grow.
#[derive(Debug)]
struct Growing {
    log: File,
    notes: File,
    /// How much of it is noted.
    length: u64,
    /// By which number the kernel watches it.
    watch: i32,
}

/// As long as it lives, notes are taken of a log.
#[derive(Debug)]
pub(crate) struct Watching<'a> {
    times: &'a Times,
    log: &'a Path,
}

impl Times {
    /// Watches nothing yet.
    pub(crate) fn new() -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let inotify = inotify.inspect_err(|error| tracing::warn!(%error, "logs have no times"));
        Self { inotify: inotify.ok(), logs: Mutex::default() }
    }

    /// Takes notes of an empty log from now on. Without success that log has no times, and that is
    /// all.
    pub(crate) fn watch<'a>(&'a self, log: &'a Path) -> Watching<'a> {
        if let Some(inotify) = &self.inotify {
            match Growing::new(inotify, log) {
                Ok(growing) => drop(self.logs().insert(log.to_owned(), growing)),
                Err(error) => tracing::warn!(log = %log.display(), %error, "it has no times"),
            }
        }
        Watching { times: self, log }
    }

    /// Notes how long a log is now, if it is one that may grow.
    pub(crate) fn catch_up(&self, log: &Path) {
        let mut logs = self.logs();
        if logs.get_mut(log).is_some_and(|growing| growing.note().is_err()) {
            logs.remove(log);
            give_up(log);
        }
    }

    /// Takes the notes, for ever.
    ///
    /// # Errors
    /// If the kernel does not tell any more.
    pub(crate) async fn keep(&self) -> io::Result<()> {
        let Some(inotify) = &self.inotify else { return Ok(()) };
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that lie about their descriptor; this does not"
        )]
        let inotify = AsyncFd::with_interest(inotify.try_clone()?, Interest::READABLE)?;
        loop {
            let mut ready = inotify.readable().await?;
            drain(inotify.get_ref())?;
            ready.clear_ready();
            // All of them: to look whether one has grown costs less than to know which.
            self.logs().retain(|log, growing| {
                let noted = growing.note().is_ok();
                if !noted {
                    give_up(log);
                }
                noted
            });
            sleep(RESOLUTION).await;
        }
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Growing>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Incomplete notes would be wrong ones.
fn give_up(log: &Path) {
    tracing::warn!(log = %log.display(), "its times cannot be noted any more");
    let _ = fs::remove_file(notes(log));
}

/// Takes away what the kernel has told.
fn drain(inotify: &OwnedFd) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(inotify, &mut buffer);
    loop {
        match events.next() {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

impl Growing {
    fn new(inotify: &OwnedFd, path: &Path) -> io::Result<Self> {
        let log = File::open(path)?;
        let watch = inotify::add_watch(inotify, path, WatchFlags::MODIFY)?;
        Ok(Self { log, notes: File::create(notes(path))?, length: 0, watch })
    }

    fn note(&mut self) -> io::Result<()> {
        let length = self.log.metadata()?.len();
        if length > self.length {
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
            let now = u64::try_from(now).unwrap_or_default();
            let note = [length.to_le_bytes(), now.to_le_bytes()].concat();
            self.notes.write_all(&note)?;
            self.length = length;
        }
        Ok(())
    }
}

impl Drop for Watching<'_> {
    /// Notes what was printed last.
    fn drop(&mut self) {
        self.times.catch_up(self.log);
        if let Some(growing) = self.times.logs().remove(self.log)
            && let Some(inotify) = &self.times.inotify
        {
            let _ = inotify::remove_watch(inotify, growing.watch);
        }
    }
}

/// The notes on one log, read from the first to the last.
#[derive(Debug)]
pub(crate) struct Notes {
    file: BufReader<File>,
    /// The one read last: length and time.
    last: (u64, u64),
}

impl Notes {
    /// Opens the notes on a log.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn open(log: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(notes(log))?), last: (0, 0) })
    }

    /// When the byte at this position was there, if that is noted. Positions must not go back.
    pub(crate) fn time_of(&mut self, position: u64) -> Option<OffsetDateTime> {
        while self.last.0 <= position {
            self.last = self.next()?;
        }
        OffsetDateTime::from_unix_timestamp_nanos(self.last.1.into()).ok()
    }

    /// How long the log was before this time.
    pub(crate) fn length_before(mut self, time: OffsetDateTime) -> u64 {
        let limit = u64::try_from(time.unix_timestamp_nanos()).unwrap_or_default();
        let all = std::iter::from_fn(|| self.next());
        all.filter(|(_, time)| *time < limit).last().map_or(0, |(length, _)| length)
    }

    fn next(&mut self) -> Option<(u64, u64)> {
        let mut number = || {
            let mut bytes = [0; 8];
            self.file.read_exact(&mut bytes).ok().map(|()| u64::from_le_bytes(bytes))
        };
        Some((number()?, number()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_tell_when_each_byte_came() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut out = File::create(&log).unwrap();
        let times = Times::new();
        let watching = times.watch(&log);
        let start = OffsetDateTime::now_utc();
        out.write_all(b"first\n").unwrap();
        times.catch_up(&log);
        let middle = OffsetDateTime::now_utc();
        out.write_all(b"second\n").unwrap();
        drop(watching);
        out.write_all(b"later\n").unwrap();
        times.catch_up(&log);

        let mut notes = Notes::open(&log).unwrap();
        let first = notes.time_of(0).unwrap();
        assert!((start..=middle).contains(&first));
        assert_eq!(notes.time_of(5), Some(first));
        assert!(notes.time_of(6).unwrap() >= middle);
        assert_eq!(notes.time_of(13), None, "nobody watched any more");
        for (time, length) in [(start, 0), (middle, 6), (OffsetDateTime::now_utc(), 13)] {
            assert_eq!(Notes::open(&log).unwrap().length_before(time), length);
        }

        let previous = dir.path().join("previous");
        rename(&log, &previous).unwrap();
        assert!(Notes::open(&log).is_err() && Notes::open(&previous).is_ok());
        File::create(&log).unwrap();
        rename(&log, &previous).unwrap();
        assert!(Notes::open(&previous).is_err(), "those of another log");
        rename(&log, &previous).unwrap();
    }

    #[tokio::test]
    async fn the_kernel_tells_of_growth() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut out = File::create(&log).unwrap();
        let times = Times::new();
        let _watching = times.watch(&log);
        let noted = async {
            out.write_all(b"x").unwrap();
            while Notes::open(&log).unwrap().time_of(0).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = times.keep() => panic!("{ended:?}"),
            () = noted => {}
        }
    }
}
