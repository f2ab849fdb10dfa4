//! The socket of one workload.

use std::convert::Infallible;
use std::os::unix::fs::chown;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tortie_daemon::socket::{BindError, SocketFile, bind};
use tortie_policy::CompatPoint;

use super::Shared;
use super::layout::Credentials;
use super::peer::Peer;
use super::service::PolicySync;

/// Connections to one socket at a time: one sidecar, those that are about to replace it, and some
/// that look.
const MAX_CONNECTIONS: usize = 16;
/// Streams on one connection at a time.
const MAX_STREAMS: u32 = 16;
/// Pause after a failed accept: what makes it fail does not end soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that is served. When this is dropped, it is no more, and its connections end.
#[derive(Debug)]
pub(super) struct Listener {
    accepting: JoinHandle<()>,
    _open: watch::Sender<()>,
    _file: SocketFile,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends when a listener is dropped.
#[derive(Debug, Clone)]
pub(super) struct Closing(watch::Receiver<()>);

impl Closing {
    pub(super) async fn closed(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// Serves a workload's policy at a path.
///
/// # Errors
/// If the socket cannot be made.
pub(super) fn listen(
    shared: &Arc<Shared>,
    path: &Path,
    credentials: Credentials,
) -> Result<Listener, BindError> {
    let fail = |source| BindError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let (listener, file) = bind(path, shared.config.socket_mode)?;
    if let Some(group) = shared.config.socket_group {
        chown(path, None, Some(group)).map_err(fail)?;
    }
    let open = watch::Sender::new(());
    let closing = Closing(open.subscribe());
    let endpoint = credentials.endpoint();
    let service = PolicySync { shared: Arc::clone(shared), endpoint, closing };
    let (sender, incoming) = mpsc::channel(1);
    let door = Door { shared: Arc::clone(shared), credentials, refused: false };
    let accepting = tokio::spawn(accept(listener, door, sender));
    tokio::spawn(serve(service, incoming));
    Ok(Listener { accepting, _open: open, _file: file })
}

async fn serve(service: PolicySync, incoming: mpsc::Receiver<Result<Counted, Infallible>>) {
    let config = &service.shared.config;
    let mut closing = service.closing.clone();
    let served = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(config.keepalive))
        .http2_keepalive_timeout(Some(config.patience))
        .serve_with_incoming_shutdown(service.clone(), ReceiverStream::new(incoming), async move {
            closing.closed().await;
        });
    if let Err(error) = served.await {
        tracing::error!(%error, "a policy socket is no longer served");
    }
}

/// Decides who may come in.
struct Door {
    shared: Arc<Shared>,
    credentials: Credentials,
    /// Whether the last one was refused, so that the log is not filled.
    refused: bool,
}

impl Door {
    fn lets_in(&mut self, stream: &UnixStream) -> bool {
        if self.shared.compat().has(CompatPoint::SocketPeer) {
            return true;
        }
        let checked = stream.peer_cred().map_err(|error| error.to_string()).and_then(|peer| {
            let peer = Peer { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() };
            self.shared.peers.check(&self.credentials, &peer)
        });
        let Err(reason) = checked else {
            self.refused = false;
            return true;
        };
        self.shared.metrics.refused.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.refused, true) {
            let workload = self.credentials.endpoint();
            tracing::warn!(%workload, reason, "refused a stranger at the workload's policy socket");
        }
        false
    }
}

/// Hands connections over until nobody takes them.
async fn accept(
    listener: UnixListener,
    mut door: Door,
    connections: mpsc::Sender<Result<Counted, Infallible>>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while !connections.is_closed() {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Who comes when all places are taken is sent away.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                if door.lets_in(&stream) {
                    // Fails only if nobody takes connections any more.
                    let _ = connections.send(Ok(Counted { stream, _place: place })).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept connections to a policy socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that keeps its place until it is closed.
#[derive(Debug)]
struct Counted {
    stream: UnixStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Counted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
