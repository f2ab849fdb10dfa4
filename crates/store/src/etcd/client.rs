//! Asking etcd, and what its refusals mean.

use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, ConnectError, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::layout::Root;
use super::login::{Login, is_stale};
use super::wire::{
    AuthenticateRequest, AuthenticateResponse, CompactionRequest, CompactionResponse, RangeRequest,
    RangeResponse, ResponseHeader, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use super::{EtcdOptions, Tls};
use crate::{Error, Revision};

/// How often a silent connection is asked whether it lives. Etcd allows no less than five seconds.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Between two attempts to read.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to etcd, which is made anew whenever it is lost.
#[derive(Clone, Debug)]
pub(super) struct Client {
    channel: Channel,
    login: Option<Login>,
    timeout: Duration,
    seen: Arc<Mutex<Seen>>,
}

/// How far etcd has been seen to be, and how many times it then went back: it has lost its state, or
/// another one has its address.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    revision: Revision,
    generation: u64,
}

/// Why etcd gave no answer.
enum Fault {
    /// The request did not leave: there was no connection.
    Unreached(String),
    /// It was refused.
    Refused(Error),
    /// It was refused because of its token.
    Stale(String),
    /// Its answer was lost.
    Lost(String),
    /// History or size: what to say depends on the request.
    Gone,
    Future,
}

impl Fault {
    fn of(status: &Status) -> Fault {
        let text = status.message();
        let named = |words: &str| text.contains(words);
        match status.code() {
            Code::OutOfRange if named("compacted") => Fault::Gone,
            Code::OutOfRange if named("future") => Fault::Future,
            Code::ResourceExhausted if named("space exceeded") => {
                Fault::Refused(Error::Full(format!("etcd: {text}")))
            }
            _ if is_stale(status) => Fault::Stale(format!("etcd: {text}")),
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented => Fault::Refused(Error::Unavailable(format!("etcd: {text}"))),
            _ if never_left(status) => {
                Fault::Unreached(format!("cannot reach etcd: {}", causes(status)))
            }
            _ => Fault::Lost(format!("etcd: {}", causes(status))),
        }
    }

    fn of_read(self, asked: Revision) -> Error {
        match self {
            Fault::Refused(error) => error,
            Fault::Unreached(reason) | Fault::Lost(reason) | Fault::Stale(reason) => {
                Error::Unavailable(reason)
            }
            Fault::Gone => Error::Compacted(asked),
            Fault::Future => Error::Future { asked, current: Revision::ZERO },
        }
    }

    fn of_write(self) -> Error {
        match self {
            Fault::Lost(reason) => Error::Uncertain(reason),
            other => other.of_read(Revision::ZERO),
        }
    }
}

fn never_left(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A status with its causes, which is where the reason is when there is no connection.
fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn tls_of(tls: &Tls) -> ClientTlsConfig {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
    match &tls.identity {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
        None => config,
    }
}

fn endpoint(address: &str, options: &EtcdOptions) -> Result<Endpoint, Error> {
    let refuse = |reason: &str| Error::Settings(format!("etcd endpoint `{address}` {reason}"));
    let secure = address.starts_with("https://");
    if !secure && !address.starts_with("http://") {
        return Err(refuse("does not begin with `http://` or `https://`"));
    }
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| refuse(&format!("is not an address: {error}")))?
        .connect_timeout(options.timeout)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    match (&options.tls, secure) {
        (None, false) => Ok(endpoint),
        (Some(tls), true) => endpoint
            .tls_config(tls_of(tls))
            .map_err(|error| refuse(&format!("cannot use the certificates: {error}"))),
        (None, true) => Err(refuse("needs certificates")),
        (Some(_), false) => Err(refuse("would not use the certificates: write `https://`")),
    }
}

impl Client {
    /// A client of the members of one cluster. It connects when it is asked something.
    pub(super) fn new(options: &EtcdOptions) -> Result<Client, Error> {
        let endpoints = options.endpoints.iter().map(|address| endpoint(address, options));
        let endpoints: Vec<_> = endpoints.collect::<Result<_, _>>()?;
        let channel = match endpoints.as_slice() {
            [] => return Err(Error::Settings("no etcd endpoints".into())),
            [one] => one.connect_lazy(),
            _ => Channel::balance_list(endpoints.into_iter()),
        };
        let login = options.user.clone().map(Login::new);
        Ok(Client { channel, login, timeout: options.timeout, seen: Arc::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many times etcd has gone back.
    pub(super) fn generation(&self) -> u64 {
        self.seen().generation
    }

    /// Notes where etcd is, and where it was before it was asked: its members agree on every answer
    /// to a read or a write, so in one history it is never behind what had been answered before.
    fn note(&self, before: Seen, header: Option<&ResponseHeader>) {
        let Some(now) = header.map(|header| revision(header.revision)) else { return };
        let mut seen = self.seen();
        if now >= before.revision {
            seen.revision = seen.revision.max(now);
        } else if seen.generation == before.generation {
            *seen = Seen { revision: now, generation: before.generation + 1 };
        }
    }

    fn grpc(&self) -> Grpc<Channel> {
        // As large as the server makes them: the sizes that matter are bounded where it is asked.
        Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Asks once, but looks for a connection until the time is over.
    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Fault>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let deadline = Instant::now() + self.timeout;
        let mut last = String::new();
        let mut renewed = false;
        loop {
            let call = self.attempt(path, request.clone());
            match tokio::time::timeout_at(deadline, call).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => match Fault::of(&status) {
                    Fault::Unreached(reason) if Instant::now() + PAUSE < deadline => {
                        last = format!(": {reason}");
                        tokio::time::sleep(PAUSE).await;
                    }
                    Fault::Stale(_) if !renewed && self.login.is_some() => {
                        renewed = true;
                        self.login.iter().for_each(Login::forget);
                    }
                    fault => return Err(fault),
                },
                Err(_) => {
                    let reason = format!("etcd gave no answer in {:?}{last}", self.timeout);
                    return Err(Fault::Lost(reason));
                }
            }
        }
    }

    /// Asks once, as the user we are.
    async fn attempt<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.log_in().await?;
        self.unary(path, self.signed(request)).await
    }

    async fn unary<Q, A>(&self, path: &'static str, request: Request<Q>) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let path = PathAndQuery::from_static(path);
        Ok(grpc.unary(request, path, ProstCodec::default()).await?.into_inner())
    }

    /// Takes a name and password for a token, if that is needed and has not been done.
    async fn log_in(&self) -> Result<(), Status> {
        let due = self.login.as_ref().and_then(|login| Some((login, login.due()?)));
        let Some((login, request)) = due else { return Ok(()) };
        let request: Request<AuthenticateRequest> = Request::new(request);
        let answer = self.unary("/etcdserverpb.Auth/Authenticate", request).await;
        login.take(answer.map(|answer: AuthenticateResponse| answer.token))
    }

    fn signed<Q>(&self, request: Q) -> Request<Q> {
        let mut request = Request::new(request);
        self.login.iter().for_each(|login| login.show(request.metadata_mut()));
        request
    }

    /// Keys in a range, as they are (if the revision is zero) or were. Tries again for a while
    /// when etcd cannot be reached: reading twice harms nobody.
    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let deadline = Instant::now() + self.timeout;
        let asked = revision(request.revision);
        loop {
            let before = *self.seen();
            match self.call("/etcdserverpb.KV/Range", request.clone()).await {
                Ok(answer) => {
                    let answer: RangeResponse = answer;
                    self.note(before, answer.header.as_ref());
                    return Ok(answer);
                }
                Err(Fault::Unreached(_) | Fault::Lost(_) | Fault::Stale(_))
                    if Instant::now() + PAUSE < deadline =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(fault) => return Err(fault.of_read(asked)),
            }
        }
    }

    /// Compares and writes, at once.
    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        let before = *self.seen();
        let answer = self.call("/etcdserverpb.KV/Txn", request).await;
        let answer: TxnResponse = answer.map_err(Fault::of_write)?;
        self.note(before, answer.header.as_ref());
        Ok(answer)
    }

    /// Forgets history before a revision.
    pub(super) async fn compact(&self, at: Revision) -> Result<(), Error> {
        let request = CompactionRequest { revision: number(at) };
        let answer = self.call("/etcdserverpb.KV/Compact", request).await;
        let CompactionResponse {} = answer.map_err(|fault| fault.of_read(at))?;
        Ok(())
    }

    /// The cluster's state, agreed on by its members.
    pub(super) async fn now(&self) -> Result<ResponseHeader, Error> {
        // The key is of no importance, but one that we may read.
        let (key, _) = Root::Calico.range();
        let answer = self.range(RangeRequest { key, ..RangeRequest::default() }).await?;
        answer.header.ok_or_else(|| Error::Unavailable("etcd: an answer without a header".into()))
    }

    /// Begins a watch.
    pub(super) async fn watch(
        &self,
        request: WatchCreateRequest,
    ) -> Result<Streaming<WatchResponse>, Error> {
        let mut grpc = self.grpc();
        // The stream of requests stays open: etcd would end the watch with it.
        let create = WatchRequest { create: Some(request) };
        let requests =
            tokio_stream::StreamExt::chain(tokio_stream::once(create), tokio_stream::pending());
        let mut request = self.signed(requests);
        // A member without a leader ends the watch instead of leaving it silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let call = async {
            grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            grpc.streaming(request, path, ProstCodec::default()).await
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Fault::of(&status).of_read(Revision::ZERO)),
            Err(_) => Err(Error::Unavailable("etcd gave no answer".into())),
        }
    }
}

/// Etcd's number of a revision.
pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.get()).unwrap_or(i64::MAX)
}

/// The revision of etcd's number.
pub(super) fn revision(number: i64) -> Revision {
    Revision::new(u64::try_from(number).unwrap_or(0))
}
