//! What a container has printed, and goes on printing.

use std::convert::Infallible;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

use super::ask::Logs;
use super::refusal;
use crate::status::{ContainerStatus, PodStatus};
use crate::supervisor::{Environment, previous};

/// How often to look for more: the kernel tells of a change to a file, but the containers' logs lie
/// in no folder that anybody watches.
const INTERVAL: Duration = Duration::from_millis(100);
/// How much is read at a time, in bytes.
const PIECE: usize = 16 << 10;

/// Pieces on their way to the client, who may have gone away.
type Pieces = mpsc::Sender<Result<Bytes, Infallible>>;

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
    let log = if ask.previous { previous(&found.log) } else { found.log.clone() };
    if !log.exists() {
        return refusal(StatusCode::BAD_REQUEST, no_log(found, ask.previous));
    }
    let (sender, receiver) = mpsc::channel(4);
    let (uid, name, ask) = (pod.uid.clone(), container.to_owned(), ask.clone());
    // The next run has a log of its own, and what is being stopped may still have something to say.
    let run = found.pid.filter(|_| !ask.previous);
    tokio::spawn(async move {
        let lives = || {
            let status = env.status.borrow();
            let containers = status.pod(&uid).map(|pod| pod.containers.as_slice());
            let mut containers = containers.unwrap_or_default().iter();
            run.is_some() && containers.any(|one| one.name == name && one.pid == run)
        };
        // What came before an error is all there is.
        let _ = tell(&log, &ask, &sender, lives).await;
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

/// Sends the log, and what comes to it for as long as the container lives, if that is asked.
async fn tell(
    log: &PathBuf,
    ask: &Logs,
    sender: &Pieces,
    lives: impl Fn() -> bool,
) -> std::io::Result<()> {
    let mut left = ask.bytes.unwrap_or(u64::MAX);
    let mut file = match File::open(log).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if let Some(lines) = ask.lines {
        let start = start_of(log, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    loop {
        // Asked before the log is read: what it said last is not missed.
        let goes_on = ask.follow && lives();
        let mut piece = vec![0; PIECE];
        let count = file.read(&mut piece).await?;
        piece.truncate(count.min(usize::try_from(left).unwrap_or(usize::MAX)));
        left = left.saturating_sub(count as u64);
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

/// Where the last lines of a file begin.
async fn start_of(log: &Path, lines: usize) -> std::io::Result<u64> {
    let content = tokio::fs::read(log).await?;
    let end = content.strip_suffix(b"\n").unwrap_or(&content);
    if lines == 0 {
        return Ok(content.len() as u64);
    }
    let breaks = end.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let start = breaks.map(|(position, _)| position + 1).nth(lines - 1);
    Ok(start.unwrap_or_default() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        for (content, lines, want) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\n", 9, "a\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
        ] {
            std::fs::write(&log, content).unwrap();
            let start = usize::try_from(start_of(&log, lines).await.unwrap()).unwrap();
            assert_eq!(&content.as_bytes()[start..], want.as_bytes(), "{content:?} {lines}");
        }
    }
}
