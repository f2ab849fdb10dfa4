//! A small HTTP server for operators: short requests, short answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
pub use hyper::StatusCode;
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::shutdown::Watch;
use crate::socket::{self, BindError, SocketFile};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// Largest request body, in bytes.
const MAX_BODY: usize = 4096;
/// How long a client may take to send a request's headers.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept: what makes it fail does not end soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// A request, read whole.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Path, without the query.
    pub path: String,
    /// Body.
    pub body: Bytes,
}

/// An answer of plain text; a line break is added.
#[must_use]
pub fn answer(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
    *answer.status_mut() = status;
    answer
}

/// Where to listen: `ADDRESS:PORT`, or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket, for its owner and group.
    Unix(PathBuf),
}

/// A text that is no [`Place`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither `ADDRESS:PORT` nor `unix:PATH`")]
pub struct InvalidPlace(String);

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err(InvalidPlace(text.to_owned())),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidPlace(text.to_owned())),
        }
    }
}

impl Place {
    /// Whether only programs of this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// A bound place.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket, and its file.
    Unix(UnixListener, SocketFile),
}

/// Why a place could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A Unix socket.
    #[error(transparent)]
    Unix(#[from] BindError),
    /// A TCP port.
    #[error("cannot listen on `{address}`: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl Listener {
    /// Listens on a place. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the place cannot be had.
    pub async fn bind(place: &Place) -> Result<Self, ListenError> {
        match place {
            Place::Unix(path) => {
                let (listener, file) = socket::bind(path, 0o660)?;
                Ok(Self::Unix(listener, file))
            }
            Place::Tcp(address) => {
                let fail = |source| ListenError::Tcp { address: *address, source };
                TcpListener::bind(address).await.map(Self::Tcp).map_err(fail)
            }
        }
    }

    /// The port, of a TCP listener.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Answers requests by `handler` until the drain begins.
pub async fn serve<H, F>(listener: Listener, handler: H, drain: Watch)
where
    H: Fn(Call) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let handler = Arc::new(handler);
    let whole = move |request| {
        let handler = Arc::clone(&handler);
        async move {
            match read(request).await {
                Ok(call) => handler(call).await,
                Err(refusal) => refusal,
            }
        }
    };
    serve_streams(listener, whole, drain).await;
}

/// The same with requests that have not been read, and answers that may go on for long: they end
/// with the program, not with the drain.
pub async fn serve_streams<H, F, B>(listener: Listener, handler: H, mut drain: Watch)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let handler = Arc::new(handler);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        let Ok(stream) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            let respond = service_fn(|request| {
                let answer = handler(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            // A client that goes away is no news.
            let _ = server.serve_connection(TokioIo::new(stream), respond).await;
            drop(permit);
        });
    }
}

async fn read(request: Request<Incoming>) -> Result<Call, Answer> {
    let (head, body) = request.into_parts();
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
    let Ok(Ok(body)) = collected else {
        return Err(answer(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or too slow"));
    };
    let path = head.uri.path().to_owned();
    Ok(Call { method: head.method, path, body: body.to_bytes() })
}
