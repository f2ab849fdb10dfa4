//! A command in a container, its streams carried over a WebSocket.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout_at};

use super::ask::Exec;
use super::streams::{self, STDERR, STDOUT, Said};
use super::terminal::{self, Terminal};
use crate::exec::{Running, exit_code};

/// How long the client gets to open its streams: kubectl up to 1.32 drops what comes sooner.
const HEAD_START: Duration = Duration::from_millis(50);
/// How much output is carried at a time, in bytes.
const PIECE: usize = 16 << 10;
/// How many messages of input may wait for a command that does not read.
const QUEUE: usize = 8;
/// How often to say something: without input being read, only that tells whether the client is there.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Where input goes, as far as there is any.
type Input = Pin<Box<dyn AsyncWrite + Send>>;
/// Where output comes from.
type Output = Pin<Box<dyn AsyncRead + Send>>;

/// A command that runs, and its streams.
struct Session {
    child: Child,
    /// Its terminal, if it has one.
    terminal: Option<OwnedFd>,
    /// Input on its way, as long as there may be more.
    input: Option<mpsc::Sender<Bytes>>,
    /// Output on its way, each piece with its stream. It ends with the output.
    pieces: mpsc::Receiver<Vec<u8>>,
    /// Who writes and reads the command's streams.
    _carriers: JoinSet<()>,
}

/// Runs a command until it ends or the client goes away, in which case it is killed.
pub(super) async fn session(mut socket: WebSocket, mut running: Running, ask: Exec) {
    if ask.terminal {
        running.environment().entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
    }
    let Some(early) = head_start(&mut socket).await else { return };
    let last = match Session::start(&running, &ask, &early) {
        Ok(mut session) => match session.carry(&mut socket).await {
            Some(code) => streams::ended(code),
            None => return session.kill().await,
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

/// What the client says in its head start; nothing if it goes away.
async fn head_start(socket: &mut WebSocket) -> Option<Vec<Bytes>> {
    let end = Instant::now() + HEAD_START;
    let mut early = Vec::new();
    while early.len() < QUEUE {
        match timeout_at(end, socket.recv()).await {
            Ok(message) => early.push(content(message)?),
            Err(_) => return Some(early),
        }
    }
    sleep_until(end).await;
    Some(early)
}

/// What a message says, which may be nothing; none if the client has gone.
fn content(message: Option<Result<Message, axum::Error>>) -> Option<Bytes> {
    match message? {
        Ok(Message::Binary(content)) => Some(content),
        Ok(Message::Close(_)) | Err(_) => None,
        Ok(_) => Some(Bytes::new()),
    }
}

impl Session {
    fn start(running: &Running, ask: &Exec, early: &[Bytes]) -> io::Result<Self> {
        let mut session = if ask.terminal {
            Self::on_terminal(running, ask, early)?
        } else {
            Self::on_pipes(running, ask)?
        };
        early.iter().for_each(|message| session.said(message));
        Ok(session)
    }

    fn on_pipes(running: &Running, ask: &Exec) -> io::Result<Self> {
        let mut command = Command::from(running.command(&ask.command));
        command.stdin(if ask.input { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Self::spawn(&mut command)?;
        let stdout = child.stdout.take().map(|stream| (STDOUT, Box::pin(stream) as Output));
        let stderr = child.stderr.take().map(|stream| (STDERR, Box::pin(stream) as Output));
        let input = child.stdin.take().map(|stream| Box::pin(stream) as Input);
        Ok(Self::new(child, None, input, stdout.into_iter().chain(stderr)))
    }

    /// Its terminal has the client's size from the beginning, if that is known by now.
    fn on_terminal(running: &Running, ask: &Exec, early: &[Bytes]) -> io::Result<Self> {
        let Terminal { ours, theirs } = terminal::open(running)?;
        early.iter().for_each(|message| resize(&ours, &streams::read(message)));
        let mut command = Command::from(running.command_on_terminal(&ask.command));
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        let child = Self::spawn(&mut command)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let side = || ours.try_clone().map(File::from);
        // To the runtime our side of a terminal is a pipe like any other.
        let input = Box::pin(Sender::from_file_unchecked(side()?)?) as Input;
        let output = Box::pin(Receiver::from_file_unchecked(side()?)?) as Output;
        Ok(Self::new(child, Some(ours), ask.input.then_some(input), [(STDOUT, output)]))
    }

    /// In a process group of its own, so that all of it can be killed.
    fn spawn(command: &mut Command) -> io::Result<Child> {
        command.process_group(0).kill_on_drop(true).spawn()
    }

    fn new(
        child: Child,
        terminal: Option<OwnedFd>,
        input: Option<Input>,
        outputs: impl IntoIterator<Item = (u8, Output)>,
    ) -> Self {
        let mut carriers = JoinSet::new();
        let (sender, pieces) = mpsc::channel(QUEUE);
        for (stream, output) in outputs {
            carriers.spawn(read_all(stream, output, sender.clone()));
        }
        let input = input.map(|input| {
            let (sender, contents) = mpsc::channel(QUEUE);
            carriers.spawn(write_all(input, contents));
            sender
        });
        Self { child, terminal, input, pieces, _carriers: carriers }
    }

    /// Carries everything to and fro; gives the exit status, or nothing if the client has gone.
    ///
    /// The client is not heard while its input waits, and heard for as long as the command runs,
    /// even when that has closed its outputs.
    async fn carry(&mut self, socket: &mut WebSocket) -> Option<u8> {
        let mut signs = interval(HEARTBEAT);
        let mut silent = false;
        loop {
            let waits = self.input.clone().filter(|input| input.capacity() == 0);
            tokio::select! {
                piece = self.pieces.recv(), if !silent => match piece {
                    Some(piece) => socket.send(Message::Binary(piece.into())).await.ok()?,
                    None => silent = true,
                },
                status = self.child.wait(), if silent => return status.ok().map(exit_code),
                message = socket.recv(), if waits.is_none() => self.said(&content(message)?),
                () = room(waits.as_ref()), if waits.is_some() => {}
                _ = signs.tick() => socket.send(Message::Ping(Bytes::new())).await.ok()?,
            }
        }
    }

    fn said(&mut self, message: &Bytes) {
        match streams::read(message) {
            Said::Input(content) => {
                let sent = |input: &mpsc::Sender<_>| input.try_send(message.slice_ref(content));
                if self.input.as_ref().map(sent).is_some_and(|sent| sent.is_err()) {
                    // It does not read any more.
                    self.input = None;
                }
            }
            Said::InputEnds => self.input = None,
            said => self.terminal.iter().for_each(|terminal| resize(terminal, &said)),
        }
    }

    /// Kills the command, and with it what it started and did not set apart. The end of a session's
    /// first process hangs up the terminal, which is what the others hear of it.
    async fn kill(mut self) {
        let group = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        // As long as nobody has waited for it, the number is its own.
        if let Some(group) = group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::warn!(%error, "a command outlives its client");
        }
        let _ = self.child.wait().await;
    }
}

fn resize(terminal: &OwnedFd, said: &Said<'_>) {
    if let Said::Size(columns, rows) = *said {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        // The next resize may do better.
        let _ = tcsetwinsize(terminal, size);
    }
}

/// Returns when there is room for more input, or nobody to take it.
async fn room(input: Option<&mpsc::Sender<Bytes>>) {
    if let Some(input) = input {
        let _ = input.reserve().await;
    }
}

/// Writes input to its end, or until the command does not read any more.
async fn write_all(mut input: Input, mut contents: mpsc::Receiver<Bytes>) {
    while let Some(content) = contents.recv().await {
        if input.write_all(&content).await.is_err() {
            return;
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
