//! What the supervisor tells the command that starts it: one JSON object a line.
//!
//! The channel is also a lifeline: the supervisor ends when the other side goes away without
//! having said that the lab may live on, so a lab never outlives an interrupted `up` or demo.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::Error;
use crate::error::{At, Reported};

/// The only thing ever sent to the supervisor.
const DETACH: u8 = b'd';

/// One message of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Message {
    /// A step begins.
    Step(String),
    /// The lab is up.
    Ready,
    /// The lab cannot be brought up.
    Failed(Reported),
}

/// The starting command's end.
#[derive(Debug)]
pub(crate) struct Receiver {
    lines: BufReader<UnixStream>,
}

impl Receiver {
    /// A channel, with the other end as a child's standard output.
    pub(crate) fn pair() -> Result<(Self, Stdio), Error> {
        let (own, other) = UnixStream::pair().at("create", "control socket")?;
        Ok((Self { lines: BufReader::new(own) }, Stdio::from(OwnedFd::from(other))))
    }

    /// The next message; none when the supervisor is gone.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line).ok(),
            _ => None,
        }
    }

    /// Lets the lab outlive this process.
    pub(crate) fn detach(&mut self) -> Result<(), Error> {
        self.lines.get_mut().write_all(&[DETACH]).at("write", "control socket")
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct Sender(OwnedWriteHalf);

/// Tells when the starting command is gone.
#[derive(Debug)]
pub(crate) struct Lifeline(OwnedReadHalf);

/// The supervisor's two halves of the channel, which is its standard output.
pub(crate) fn from_stdout() -> Result<(Sender, Lifeline), Error> {
    let fd = std::io::stdout().as_fd().try_clone_to_owned().at("open", "standard output")?;
    let stream = UnixStream::from(fd);
    let ready = stream.set_nonblocking(true);
    let stream = ready.and_then(|()| tokio::net::UnixStream::from_std(stream));
    let (read, write) = stream.at("open", "standard output")?.into_split();
    Ok((Sender(write), Lifeline(read)))
}

impl Sender {
    /// Sends a message. That nobody listens any more shows in the [`Lifeline`].
    pub(crate) async fn send(&mut self, message: &Message) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            let _ = self.0.write_all(&line).await;
        }
    }
}

impl Lifeline {
    /// Returns when the other side is gone without having detached; else never.
    pub(crate) async fn broken(mut self) {
        let mut byte = [0];
        match self.0.read(&mut byte).await {
            Ok(1..) if byte == [DETACH] => std::future::pending().await,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        for message in [
            Message::Step("a\nb".into()),
            Message::Ready,
            Message::Failed(Reported { message: "x".into(), hint: None, exit_code: 3 }),
        ] {
            let text = serde_json::to_string(&message).unwrap();
            assert!(!text.contains('\n'));
            assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
        }
    }
}
