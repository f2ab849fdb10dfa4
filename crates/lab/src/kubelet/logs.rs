//! What a container has printed, and goes on printing.

use std::convert::Infallible;
use std::io;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

use super::ask::Logs;
use super::refusal;
use crate::status::{ContainerStatus, PodStatus};
use crate::supervisor::{Environment, previous};
use crate::times::Notes;

/// How often to look for more.
const INTERVAL: Duration = Duration::from_millis(100);
/// How much is read at a time, in bytes.
const PIECE: usize = 16 << 10;

/// Pieces on their way to the client, who may have gone away.
type Pieces = mpsc::Sender<Result<Bytes, Infallible>>;

/// A log to tell, and the run of the container that writes it.
struct Source {
    env: Arc<Environment>,
    path: PathBuf,
    uid: String,
    container: String,
    /// The run's process, if it goes on.
    run: Option<u32>,
}

/// Shows a log.
pub(super) fn answer(
    env: Arc<Environment>,
    pod: &PodStatus,
    container: &str,
    ask: &Logs,
) -> Response {
    let Some(found) = pod.containers.iter().find(|one| one.name == container) else {
        return refusal(StatusCode::NOT_FOUND, "no such container");
    };
    let path = if ask.previous { previous(&found.log) } else { found.log.clone() };
    if !path.exists() {
        return refusal(StatusCode::BAD_REQUEST, no_log(found, ask.previous));
    }
    if (ask.times || ask.since.is_some()) && Notes::open(&path).is_err() {
        let why = format!("when container `{container}` printed what could not be noted");
        return refusal(StatusCode::BAD_REQUEST, why);
    }
    let (sender, receiver) = mpsc::channel(4);
    let (uid, container, ask) = (pod.uid.clone(), container.to_owned(), ask.clone());
    let run = found.pid.filter(|_| !ask.previous);
    let source = Source { env, path, uid, container, run };
    tokio::spawn(async move {
        // What came before an error is all there is.
        let _ = source.tell(&ask, &sender).await;
    });
    Body::from_stream(ReceiverStream::new(receiver)).into_response()
}

/// Why there is nothing to show.
fn no_log(container: &ContainerStatus, previous: bool) -> String {
    let ContainerStatus { name, reason, .. } = container;
    match reason {
        _ if previous => format!("container `{name}` has not run before"),
        Some(reason) => format!("container `{name}` has not started: {reason}"),
        None => format!("container `{name}` has not started yet"),
    }
}

impl Source {
    /// Whether it may still grow: the next run has a log of its own, and what is being stopped may
    /// have something to say.
    fn grows(&self) -> bool {
        let status = self.env.status.borrow();
        let containers = status.pod(&self.uid).map(|pod| pod.containers.as_slice());
        let mut containers = containers.unwrap_or_default().iter();
        self.run.is_some()
            && containers.any(|one| one.name == self.container && one.pid == self.run)
    }

    /// Sends the log, and what comes to it for as long as it grows, if that is asked.
    async fn tell(&self, ask: &Logs, sender: &Pieces) -> io::Result<()> {
        self.env.times.catch_up(&self.path);
        let start = start(&self.path, ask).await?;
        let mut stamps = if ask.times { Some(Stamps::new(&self.path, start)?) } else { None };
        let mut left = ask.bytes.unwrap_or(u64::MAX);
        let mut file = File::open(&self.path).await?;
        file.seek(SeekFrom::Start(start)).await?;
        loop {
            // Asked before the log is read: what it said last is not missed.
            let goes_on = ask.follow && self.grows();
            let mut piece = vec![0; PIECE];
            let count = file.read(&mut piece).await?;
            piece.truncate(count);
            if let Some(stamps) = &mut stamps {
                self.env.times.catch_up(&self.path);
                piece = stamps.put_on(&piece);
            }
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left = left.saturating_sub(piece.len() as u64);
            if !piece.is_empty() && sender.send(Ok(piece.into())).await.is_err() {
                return Ok(());
            }
            match (count, goes_on, left) {
                (_, _, 0) | (0, false, _) => return Ok(()),
                (0, true, _) if sender.is_closed() => return Ok(()),
                (0, true, _) => sleep(INTERVAL).await,
                _ => {}
            }
        }
    }
}

/// Where in a log to begin.
async fn start(log: &Path, ask: &Logs) -> io::Result<u64> {
    if ask.lines.is_none() && ask.since.is_none() {
        return Ok(0);
    }
    let content = tokio::fs::read(log).await?;
    let by_lines = ask.lines.map_or(0, |lines| last_lines(&content, lines));
    let by_time = match ask.since {
        Some(since) => line_from(&content, Notes::open(log)?.length_before(since)),
        None => 0,
    };
    Ok(by_lines.max(by_time) as u64)
}

/// Where the last lines begin.
fn last_lines(content: &[u8], lines: usize) -> usize {
    let Some(before) = lines.checked_sub(1) else { return content.len() };
    let end = content.strip_suffix(b"\n").unwrap_or(content);
    let breaks = end.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    breaks.map(|(position, _)| position + 1).nth(before).unwrap_or_default()
}

/// Where the first line begins that does so at this position or later.
fn line_from(content: &[u8], position: u64) -> usize {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    let Some(before) = position.checked_sub(1) else { return 0 };
    let rest = content.get(before..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'\n');
    end.map_or(content.len(), |end| before + end + 1)
}

/// Puts its time before each line: when its beginning was there.
struct Stamps {
    notes: Notes,
    position: u64,
    line_begins: bool,
}

impl Stamps {
    /// From a position where a line begins.
    fn new(log: &Path, position: u64) -> io::Result<Self> {
        Ok(Self { notes: Notes::open(log)?, position, line_begins: true })
    }

    fn put_on(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut stamped = Vec::with_capacity(piece.len() * 2);
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line_begins {
                // What is not noted yet came just now.
                let time = self.notes.time_of(self.position);
                let time = time.unwrap_or_else(OffsetDateTime::now_utc);
                stamped.extend_from_slice(in_nanoseconds(time).as_bytes());
                stamped.push(b' ');
            }
            stamped.extend_from_slice(part);
            self.position += part.len() as u64;
            self.line_begins = part.ends_with(b"\n");
        }
        stamped
    }
}

/// A time as kubelets have it, always with nine digits after the point.
fn in_nanoseconds(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default();
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), time.nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines() {
        for (content, lines, want) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\n", 9, "a\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
        ] {
            let start = last_lines(content.as_bytes(), lines);
            assert_eq!(content.get(start..), Some(want), "{content:?} {lines}");
        }
    }

    #[test]
    fn lines_from_a_position() {
        for (content, position, want) in [
            ("a\nbc\nd", 0, "a\nbc\nd"),
            ("a\nbc\nd", 1, "bc\nd"),
            ("a\nbc\nd", 2, "bc\nd"),
            ("a\nbc\nd", 3, "d"),
            ("a\nbc\nd", 6, ""),
            ("a\n", 9, ""),
        ] {
            let start = line_from(content.as_bytes(), position);
            assert_eq!(content.get(start..), Some(want), "{position}");
        }
    }

    #[test]
    fn times_before_lines() {
        let time = OffsetDateTime::from_unix_timestamp_nanos(1_000_000_050).unwrap();
        assert_eq!(in_nanoseconds(time), "1970-01-01T00:00:01.000000050Z");
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let note = |length: u64, time: u64| [length.to_le_bytes(), time.to_le_bytes()].concat();
        std::fs::write(dir.path().join("log.times"), [note(4, 1), note(8, 2)].concat()).unwrap();
        let mut stamps = Stamps::new(&log, 0).unwrap();
        let text = [stamps.put_on(b"ab\nc"), stamps.put_on(b"d\nef\n")].concat();
        let text = String::from_utf8(text).unwrap();
        let at = |nanosecond| format!("1970-01-01T00:00:00.{nanosecond:09}Z");
        assert_eq!(text, format!("{} ab\n{} cd\n{} ef\n", at(1), at(1), at(2)));
    }
}
