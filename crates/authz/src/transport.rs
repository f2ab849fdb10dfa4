//! gRPC over the Unix socket: accepting, dispatching to services, draining.

use std::convert::Infallible;
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
use tortie_proto::ext_authz::authorization_server::{Authorization, AuthorizationServer};
use tortie_proto::health::health_server::HealthServer;

use crate::health::Health;

/// Largest request read, in bytes; a larger one is refused. Envoy sends all headers (60 KiB unless
/// configured otherwise) and, if configured to, the body and a certificate. All of those are
/// skipped, but must arrive first, and every request in flight may take so much memory.
const MAX_REQUEST: usize = 512 << 10;
/// Requests in flight on one connection before the client must wait or open another.
const MAX_STREAMS: u32 = 1024;
/// Pause after a failed accept. What makes it fail (no file descriptors left) does not end soon,
/// and trying without a pause would take the processor from the requests already accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The services behind the socket, found by their path. Three prefixes need no general router.
#[derive(Debug)]
pub struct Routes<A> {
    authorization: AuthorizationServer<A>,
    healthz: HealthzServer<Health>,
    health: HealthServer<Health>,
}

impl<A: Authorization> Routes<A> {
    /// Authorization beside the two health services.
    pub fn new(authorization: A, health: Health) -> Self {
        let authorization = AuthorizationServer::new(authorization);
        Self {
            authorization: authorization.max_decoding_message_size(MAX_REQUEST),
            healthz: HealthzServer::new(health.clone()),
            health: HealthServer::new(health),
        }
    }
}

// Derived, it would ask for `A: Clone`, which is behind an `Arc`.
impl<A> Clone for Routes<A> {
    fn clone(&self) -> Self {
        Self {
            authorization: self.authorization.clone(),
            healthz: self.healthz.clone(),
            health: self.health.clone(),
        }
    }
}

impl<A: Authorization> Service<http::Request<Body>> for Routes<A> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if path.starts_with("/envoy.service.auth.v3.Authorization/") {
            self.authorization.call(request)
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
pub async fn serve<A: Authorization>(
    listener: UnixListener,
    routes: Routes<A>,
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
