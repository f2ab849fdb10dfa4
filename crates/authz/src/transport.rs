//! gRPC over the Unix socket: accepting, dispatching to services, draining.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::Server;
use tortie_daemon::shutdown::Watch;
use tortie_proto::dikastes::healthz_server::HealthzServer;
use tortie_proto::health::health_server::HealthServer;

use crate::grpc::{self, Version};
use crate::health::Health;
use crate::service::Check;

/// Requests in flight on one connection before the client must wait or open another.
const MAX_STREAMS: u32 = 1024;
/// Pause after a failed accept. What makes it fail (no file descriptors left) does not end soon,
/// and trying without a pause would take the processor from the requests already accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The services behind the socket, found by their path. A handful of them needs no general router.
#[derive(Debug)]
pub struct Routes<C> {
    check: Arc<C>,
    healthz: HealthzServer<Health>,
    health: HealthServer<Health>,
}

impl<C: Check> Routes<C> {
    /// Authorization beside the two health services.
    pub fn new(check: C, health: Health) -> Self {
        Self {
            check: Arc::new(check),
            healthz: HealthzServer::new(health.clone()),
            health: HealthServer::new(health),
        }
    }
}

// Derived, it would ask for `C: Clone`, which is behind an `Arc`.
impl<C> Clone for Routes<C> {
    fn clone(&self) -> Self {
        Self {
            check: Arc::clone(&self.check),
            healthz: self.healthz.clone(),
            health: self.health.clone(),
        }
    }
}

impl<C: Check> Service<http::Request<Body>> for Routes<C> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if let Some(version) = Version::of_path(path) {
            grpc::answer(Arc::clone(&self.check), version, request)
        } else if path.starts_with("/dikastes.Healthz/") {
            self.healthz.call(request)
        } else {
            // Answers UNIMPLEMENTED to what it does not know.
            self.health.call(request)
        }
    }
}

/// Serves until the drain begins, then closes the socket, lets requests in flight finish and waits
/// for clients to leave.
pub async fn serve<C: Check>(
    listener: UnixListener,
    routes: Routes<C>,
    mut drain: Watch,
) -> Result<(), tonic::transport::Error> {
    let (sender, incoming) = mpsc::channel(1);
    tokio::spawn(accept(listener, sender));
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .serve_with_incoming_shutdown(routes, ReceiverStream::new(incoming), drain.started())
        .await
}

/// Hands connections over until nobody takes them, and then closes the socket.
async fn accept(listener: UnixListener, connections: mpsc::Sender<Result<UnixStream, Infallible>>) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                // Fails only if nobody takes connections any more.
                let _ = connections.send(Ok(stream)).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "cannot accept connections; trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
