//! One connection, from nothing to its end.

use prost::Message;
use prost::bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tortie_calc::{Disorder, State, Update};
use tortie_proto::felix::ToDataplane;

use super::{Config, Sink, Status};
use crate::codec::{BytesCodec, SYNC};
use crate::wire::{Decoder, WireError};

/// Why a connection ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The agent is not there.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The agent, or the connection to it, failed.
    #[error("the stream failed: {}: {}", .0.code(), .0.message())]
    Stream(Box<tonic::Status>),
    /// The agent ended the stream: the workload is gone, or another client took over.
    #[error("the agent ended the stream")]
    Ended,
    /// A message that cannot be understood.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A message that does not fit those before it.
    #[error("out of order: {0}")]
    Disorder(Disorder),
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> SessionError {
        SessionError::Stream(Box::new(status))
    }
}

/// Connects, and takes in what comes until it ends.
pub(super) async fn run(
    config: &Config,
    sink: &mut dyn Sink,
    status: &watch::Sender<Status>,
) -> SessionError {
    let stream = match connect(config).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    status.send_modify(Status::connected);
    let mut session = Session {
        stream,
        decoder: Decoder::new(config.compat),
        state: State::default(),
        waiting: None,
        whole: true,
        status,
    };
    loop {
        if let Err(error) = session.step(config, sink).await {
            // What was told before is as good as ever.
            if session.is_whole() && session.waiting.is_some() {
                session.publish(sink);
            }
            return error;
        }
    }
}

/// Connects once, and shows each message until the stream ends. Nothing is kept.
///
/// # Errors
/// If the agent cannot be reached, the connection fails, or bytes come that are no message; what
/// `show` returns ends the watch, too.
pub async fn watch<E: From<SessionError>>(
    config: &Config,
    mut show: impl FnMut(&ToDataplane) -> Result<(), E>,
) -> Result<(), E> {
    let mut stream = connect(config).await?;
    while let Some(bytes) = stream.message().await.map_err(SessionError::from)? {
        let message = ToDataplane::decode(bytes)
            .map_err(|error| SessionError::Wire(WireError::Garbage(error.to_string())))?;
        show(&message)?;
    }
    Ok(())
}

async fn connect(config: &Config) -> Result<Streaming<Bytes>, SessionError> {
    let fail = |error: tonic::transport::Error| SessionError::Connect(innermost(&error));
    let channel = endpoint(config).map_err(fail)?.connect().await.map_err(fail)?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(config.max_message);
    grpc.ready().await.map_err(fail)?;
    let path = PathAndQuery::from_static(SYNC);
    let request = Request::new(Bytes::new()); // an empty message
    Ok(call(&mut grpc, request, path, config).await?.into_inner())
}

async fn call(
    grpc: &mut Grpc<Channel>,
    request: Request<Bytes>,
    path: PathAndQuery,
    config: &Config,
) -> Result<tonic::Response<Streaming<Bytes>>, tonic::Status> {
    let call = grpc.server_streaming(request, path, BytesCodec);
    let late = |_| tonic::Status::deadline_exceeded("no answer from the agent");
    tokio::time::timeout(config.patience, call).await.map_err(late)?
}

fn endpoint(config: &Config) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("unix:{}", config.socket.display()))?;
    Ok(endpoint
        .connect_timeout(config.patience)
        .http2_keep_alive_interval(config.keepalive)
        .keep_alive_timeout(config.patience)
        .keep_alive_while_idle(true))
}

/// The reason behind reasons: a transport error alone only says that it is one.
fn innermost(error: &dyn std::error::Error) -> String {
    let reasons = std::iter::successors(error.source(), |error| error.source());
    reasons.last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// One connection.
struct Session<'a> {
    stream: Streaming<Bytes>,
    decoder: Decoder,
    state: State,
    /// Since when there are changes that have not been handed over.
    waiting: Option<Instant>,
    /// Whether the last message completed a change.
    whole: bool,
    status: &'a watch::Sender<Status>,
}

impl Session<'_> {
    /// Takes in one message; or hands the state over, once no message is at hand or enough have
    /// been gathered.
    async fn step(&mut self, config: &Config, sink: &mut dyn Sink) -> Result<(), SessionError> {
        let since = self.waiting.filter(|_| self.is_whole());
        if since.is_some_and(|since| since.elapsed() >= config.gather) {
            self.publish(sink);
            return Ok(());
        }
        tokio::select! {
            biased;
            message = self.stream.message() => self.take(&message?.ok_or(SessionError::Ended)?),
            // What has arrived already gets its turn first.
            () = tokio::task::yield_now(), if since.is_some() => {
                self.publish(sink);
                Ok(())
            }
        }
    }

    /// Whether the state may be handed over.
    fn is_whole(&self) -> bool {
        self.whole && self.state.in_sync
    }

    fn take(&mut self, message: &[u8]) -> Result<(), SessionError> {
        let decoded = self.decoder.decode_bytes(message)?;
        let mut dangling = 0;
        self.whole = false; // until all of it is taken in
        for update in decoded.updates {
            dangling += u64::from(self.apply(update)?);
        }
        self.whole = !decoded.more;
        self.waiting.get_or_insert_with(Instant::now);
        self.status.send_if_modified(|status| {
            status.messages += 1;
            status.dangling += dangling;
            dangling > 0 // counting alone wakes nobody
        });
        Ok(())
    }

    /// Says whether something is referred to that is not there: verdicts take it as unknown, so it
    /// is no reason to do without everything else. A change of what is not there is one: we have
    /// missed something.
    fn apply(&mut self, update: Update) -> Result<bool, SessionError> {
        match self.state.apply(update) {
            Ok(()) => Ok(false),
            Err(dangling @ (Disorder::UnknownSet(..) | Disorder::UnknownPolicy(..))) => {
                tracing::warn!(error = %dangling, "the agent left something out");
                Ok(true)
            }
            Err(disorder) => Err(SessionError::Disorder(disorder)),
        }
    }

    fn publish(&mut self, sink: &mut dyn Sink) {
        self.waiting = None;
        sink.publish(&self.state);
        if !self.status.borrow().is_synced() {
            self.status.send_modify(Status::synced);
        }
    }
}
