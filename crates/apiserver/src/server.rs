//! Listening, and serving connections.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tortie_daemon::shutdown;
use tortie_daemon::socket::{self, BindError, SocketFile};
use tortie_store::Engine;

use crate::api::Api;
use crate::audit::Audit;
use crate::auth::{Credentials, Peer, Register, Signer};
use crate::environment::Environment;
use crate::handle::{Handler, Limits};
use crate::tls::Acceptor;

/// How long a client may take to set up TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Pause after a failed accept: what makes it fail does not end soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often it is seen whether the list of users has changed.
const LOOK: Duration = Duration::from_secs(1);

/// Largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 << 10;

/// How a server behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Time and chance.
    pub environment: Environment,
    /// How much is done at a time.
    pub limits: Limits,
    /// Objects may be in namespaces that are not there: for a store that has but a part of a cluster.
    pub any_namespace: bool,
    /// Nothing is made that is not there, and nothing taken up that was left half done: for who
    /// only looks into a store that belongs to others.
    pub only_reads: bool,
    /// Users that were added, and what they are known by.
    pub users: Option<Register>,
    /// What signs tokens of service accounts; without it, they count as long as the server runs.
    pub signer: Option<Signer>,
    /// Where changes are written down before they are made.
    pub audit: Option<Arc<Audit>>,
}

/// A way in.
#[derive(Debug, Clone)]
pub enum Door {
    /// TLS: callers are known by certificate or token.
    Tls(SocketAddr, Acceptor),
    /// A Unix socket for its owner alone: whoever can connect, as the server's own user or as root,
    /// is `system:tortie` of `system:masters`.
    Unix(PathBuf),
    /// HTTP: whoever connects without a token may do everything, so it must be a loopback address.
    Open(SocketAddr),
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// HTTP without TLS would be reached from elsewhere.
    #[error("cannot listen on `{0}` without TLS: it can be reached from elsewhere")]
    Exposed(SocketAddr),
    /// The socket cannot be had.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// What is there from the beginning cannot be made.
    #[error("cannot prepare the store: {0}")]
    Prepare(String),
}

/// A door that is open.
enum Listener {
    Tls(TcpListener, Acceptor),
    /// With its file, which goes with it.
    Unix(UnixListener, #[expect(dead_code, reason = "held for its drop")] SocketFile),
    Open(TcpListener),
}

impl Listener {
    async fn bind(door: Door) -> Result<Listener, StartError> {
        let tcp = async |address| {
            let fail = |source| StartError::Listen { address, source };
            TcpListener::bind(address).await.map_err(fail)
        };
        match door {
            Door::Tls(address, acceptor) => Ok(Listener::Tls(tcp(address).await?, acceptor)),
            Door::Open(address) if !address.ip().is_loopback() => Err(StartError::Exposed(address)),
            Door::Open(address) => Ok(Listener::Open(tcp(address).await?)),
            Door::Unix(path) => {
                let (listener, file) = socket::bind(&path, 0o600)?;
                Ok(Listener::Unix(listener, file))
            }
        }
    }

    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Listener::Tls(listener, acceptor) => {
                Ok(Accepted::Tls(listener.accept().await?.0, acceptor.clone()))
            }
            Listener::Open(listener) => Ok(Accepted::Open(listener.accept().await?.0)),
            Listener::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }

    fn address(&self) -> Option<std::io::Result<SocketAddr>> {
        match self {
            Listener::Tls(listener, _) | Listener::Open(listener) => Some(listener.local_addr()),
            Listener::Unix(..) => None,
        }
    }
}

/// Somebody at the door.
enum Accepted {
    Tls(TcpStream, Acceptor),
    Unix(UnixStream),
    Open(TcpStream),
}

/// A server that has its doors and its first objects.
pub struct Server {
    listeners: Vec<Listener>,
    handler: Arc<Handler>,
    limits: Limits,
}

impl Server {
    /// Opens the doors, and makes what is there from the beginning. Must be called within a tokio
    /// runtime. Nobody is answered before [`Server::serve`].
    ///
    /// # Errors
    /// If either fails.
    pub async fn start(
        doors: impl IntoIterator<Item = Door>,
        store: Engine,
        options: Options,
    ) -> Result<Server, StartError> {
        let mut listeners = Vec::new();
        for door in doors {
            listeners.push(Listener::bind(door).await?);
        }
        let mut api = Api::new(store, options.environment, options.audit);
        api.any_namespace = options.any_namespace;
        api.credentials = Credentials::new(options.users);
        if let Some(signer) = options.signer {
            api.signer = signer;
        }
        api.only_reads = options.only_reads;
        let api = Arc::new(api);
        if let Err(status) = api.boot().await {
            let said = status.document();
            let why = crate::object::text(&said, "/message").to_owned();
            return Err(StartError::Prepare(why));
        }
        let limits = options.limits;
        Ok(Server { listeners, handler: Arc::new(Handler::new(api, limits)), limits })
    }

    /// The first address that was taken.
    ///
    /// # Errors
    /// What the system says, or that there is none.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        let none = || std::io::ErrorKind::AddrNotAvailable.into();
        self.listeners.iter().find_map(Listener::address).unwrap_or_else(|| Err(none()))
    }

    /// Serves until the drain begins.
    pub async fn serve(self, drain: shutdown::Watch) {
        let connections = Arc::new(Semaphore::new(self.limits.connections));
        let mut doors = JoinSet::new();
        for listener in self.listeners {
            let (handler, connections) = (self.handler.clone(), connections.clone());
            doors.spawn(attend(listener, handler, connections, drain.clone()));
        }
        drop(drain);
        let ended = async { while doors.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = tend(&self.handler.api) => {}
        }
        self.handler.api.sum_unknown(true);
    }
}

/// What is done as long as the server is there. Goes on for ever.
async fn tend(api: &Api) {
    let mut users = api.credentials.stamp();
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        api.sum_unknown(false);
        let found = api.credentials.stamp();
        if found != users {
            users = found;
            api.access.touch();
        }
    }
}

/// Serves whoever comes to one door.
async fn attend(
    listener: Listener,
    handler: Arc<Handler>,
    connections: Arc<Semaphore>,
    mut drain: shutdown::Watch,
) {
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        match accepted {
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Ok(accepted) => {
                let handler = handler.clone();
                tokio::spawn(async move {
                    greet(accepted, handler).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Finds out who it is, and serves them.
async fn greet(accepted: Accepted, handler: Arc<Handler>) {
    match accepted {
        Accepted::Open(stream) => {
            let _ = stream.set_nodelay(true);
            let address = address_of(&stream);
            connection(stream, Peer::Open, address, handler).await;
        }
        Accepted::Unix(stream) => {
            if is_ours(&stream) {
                connection(stream, Peer::Local, None, handler).await;
            }
        }
        Accepted::Tls(stream, acceptor) => {
            // Answers are often one small line of a watch.
            let _ = stream.set_nodelay(true);
            let address = address_of(&stream);
            let connected = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
            let Ok(Ok(connected)) = connected else {
                tracing::debug!("a connection did not become TLS");
                return;
            };
            let peer = match connected.client {
                None => Peer::Unknown,
                Some(Ok(subject)) => Peer::Certificate(subject),
                Some(Err(why)) => Peer::Untrusted(why),
            };
            connection(connected.stream, peer, address, handler).await;
        }
    }
}

/// Whether the other end has the server's own user, or is root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let ours = peer.as_ref().is_ok_and(|uid| *uid == own || *uid == 0);
    if !ours {
        tracing::warn!(uid = ?peer.ok(), "another user is turned away from the socket");
    }
    ours
}

fn address_of(stream: &TcpStream) -> Option<IpAddr> {
    stream.peer_addr().ok().map(|address| address.ip())
}

async fn connection<S>(stream: S, peer: Peer, address: Option<IpAddr>, handler: Arc<Handler>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = handler.patience;
    let respond = service_fn(|request| {
        let (handler, peer) = (handler.clone(), peer.clone());
        async move { Ok::<_, Infallible>(handler.handle(request, &peer, address).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(LARGEST_HEAD);
    // A client that goes away is no news.
    let _ = server.serve_connection(TokioIo::new(stream), respond).with_upgrades().await;
}
