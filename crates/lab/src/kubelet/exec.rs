//! A command in a container, its streams carried over a WebSocket.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::{Command as Plain, Stdio};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::ask::Exec;
use super::streams::{self, STDERR, STDOUT, Said};
use crate::exec::{Running, exit_code};

/// How long the client gets to open its streams: kubectl up to 1.32 drops what comes sooner.
const HEAD_START: Duration = Duration::from_millis(50);
/// How much is carried at a time, in bytes.
const PIECE: usize = 16 << 10;

/// Where input goes, as far as there is any.
type Input = Pin<Box<dyn AsyncWrite + Send>>;
/// Where output comes from.
type Output = Pin<Box<dyn AsyncRead + Send>>;

/// A command that runs, and its streams.
struct Session {
    child: Child,
    input: Option<Input>,
    outputs: Vec<(u8, Output)>,
    /// Its terminal, if it has one.
    terminal: Option<OwnedFd>,
}

/// Runs a command until it ends or the client goes away, in which case it is killed.
pub(super) async fn session(mut socket: WebSocket, mut running: Running, ask: Exec) {
    if ask.terminal {
        running.environment().insert("TERM".to_owned(), "xterm".to_owned());
    }
    sleep(HEAD_START).await;
    let last = match start(&running, &ask) {
        Ok(session) => match session.carry(&mut socket).await {
            Some(code) => streams::ended(code),
            None => return,
        },
        Err(error) => streams::failed(&format!("cannot run the command: {error}")),
    };
    let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    if socket.send(Message::Binary(last.into())).await.is_ok() {
        let _ = socket.send(Message::Close(Some(close))).await;
        // Until the client has closed its side too, what was sent may be on its way.
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

fn start(running: &Running, ask: &Exec) -> io::Result<Session> {
    let command = running.command(&ask.command);
    if ask.terminal { start_on_terminal(&command) } else { start_on_pipes(command, ask.input) }
}

fn start_on_pipes(command: Plain, input: bool) -> io::Result<Session> {
    let mut command = Command::from(command);
    command.stdin(if input { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().map(|stream| (STDOUT, Box::pin(stream) as Output));
    let stderr = child.stderr.take().map(|stream| (STDERR, Box::pin(stream) as Output));
    Ok(Session {
        input: child.stdin.take().map(|stream| Box::pin(stream) as Input),
        outputs: stdout.into_iter().chain(stderr).collect(),
        terminal: None,
        child,
    })
}

/// Runs it in a session of its own, whose terminal is the other side of ours.
fn start_on_terminal(inner: &Plain) -> io::Result<Session> {
    let pair = nix::pty::openpty(None, None)?;
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "--"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear();
    for (name, value) in inner.get_envs() {
        value.map(|value| command.env(name, value));
    }
    command.stdin(pair.slave.try_clone()?).stdout(pair.slave.try_clone()?).stderr(pair.slave);
    let child = command.kill_on_drop(true).spawn()?;
    rustix::io::ioctl_fionbio(&pair.master, true)?;
    let ours = || pair.master.try_clone().map(File::from);
    // To the runtime our side of a terminal is a pipe like any other.
    let (input, output) =
        (Sender::from_file_unchecked(ours()?)?, Receiver::from_file_unchecked(ours()?)?);
    Ok(Session {
        child,
        input: Some(Box::pin(input)),
        outputs: vec![(STDOUT, Box::pin(output))],
        terminal: Some(pair.master),
    })
}

impl Session {
    /// Carries everything to and fro; gives the exit status, or nothing if the client has gone.
    async fn carry(mut self, socket: &mut WebSocket) -> Option<u8> {
        let (sender, mut pieces) = mpsc::channel(4);
        for (stream, output) in self.outputs.drain(..) {
            tokio::spawn(read_all(stream, output, sender.clone()));
        }
        drop(sender);
        loop {
            tokio::select! {
                piece = pieces.recv() => match piece {
                    Some(piece) => socket.send(Message::Binary(piece.into())).await.ok()?,
                    // All output is told; now its end.
                    None => return self.child.wait().await.ok().map(exit_code),
                },
                message = socket.recv() => match message? {
                    Ok(Message::Binary(message)) => self.said(&message).await,
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                },
            }
        }
    }

    async fn said(&mut self, message: &[u8]) {
        match streams::read(message) {
            Said::Input(content) => {
                if let Some(input) = &mut self.input
                    && (input.write_all(content).await.is_err() || input.flush().await.is_err())
                {
                    // It does not read any more.
                    self.input = None;
                }
            }
            Said::InputEnds => self.input = None,
            Said::Size(columns, rows) => {
                let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
                if let Some(terminal) = &self.terminal {
                    // The next resize may do better.
                    let _ = tcsetwinsize(terminal, size);
                }
            }
            Said::Nothing => {}
        }
    }
}

/// Reads a stream to its end. That of a terminal ends in an error, when nobody is left at the other
/// side.
async fn read_all(stream: u8, mut output: Output, sender: mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let content = buffer.get(..count).unwrap_or_default();
        if sender.send(streams::piece(stream, content)).await.is_err() {
            return;
        }
    }
}
