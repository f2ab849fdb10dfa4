//! The gRPC service of one socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tortie_policy::EndpointId;
use tortie_proto::felix::{DataplaneStats, ReportResult};

use super::Shared;
use super::listener::Closing;
use super::session::{Next, Session};
use crate::codec::{BytesCodec, REPORT, SYNC};

/// Serves the policy of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct PolicySync {
    pub(super) shared: Arc<Shared>,
    pub(super) endpoint: EndpointId,
    pub(super) closing: Closing,
}

impl NamedService for PolicySync {
    const NAME: &'static str = "felix.PolicySync";
}

impl Service<http::Request<Body>> for PolicySync {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec);
            Ok(match request.uri().path() {
                SYNC => grpc.server_streaming(Sync(service), request).await,
                REPORT => grpc.unary(Report(service), request).await,
                _ => Status::unimplemented("this socket serves Policy Sync").into_http(),
            })
        })
    }
}

/// The method that streams policy.
struct Sync(PolicySync);

impl ServerStreamingService<Bytes> for Sync {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            // One message waits while another is written.
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(stream(service, sender));
            Ok(Response::new(ReceiverStream::new(receiver)))
        })
    }
}

/// The method that takes statistics, of which nothing is made yet.
struct Report(PolicySync);

impl UnaryService<Bytes> for Report {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let shared = Arc::clone(&self.0.shared);
        Box::pin(async move {
            DataplaneStats::decode(request.into_inner())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            shared.metrics.reports.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Response::new(ReportResult { successful: true }.encode_to_vec().into()))
        })
    }
}

/// Tells one sidecar everything, until it leaves, another takes its place, or the workload or its
/// socket goes.
async fn stream(service: PolicySync, sender: mpsc::Sender<Result<Bytes, Status>>) {
    let PolicySync { shared, endpoint, mut closing } = service;
    let mut seat = shared.joins.join(&endpoint);
    let feed = feed(&shared, endpoint, &sender);
    tokio::select! {
        () = feed => {}
        () = sender.closed() => {}
        () = seat.taken() => {}
        () = closing.closed() => {}
    }
}

async fn feed(shared: &Shared, endpoint: EndpointId, sender: &mpsc::Sender<Result<Bytes, Status>>) {
    let mut changes = shared.version.subscribe();
    let mut session = Session::new(endpoint, &shared.read());
    loop {
        // The place first, then the message: a sidecar that does not read has none made for it.
        let Ok(place) = sender.reserve().await else { return };
        let next = loop {
            changes.borrow_and_update();
            match session.next(&shared.store) {
                Ok(Next::Wait) => {
                    if changes.changed().await.is_err() {
                        return;
                    }
                }
                Ok(Next::Make(work)) => {
                    let made = tokio::task::spawn_blocking(move || work.messages()).await;
                    let Ok(made) = made else { return }; // everything is ending
                    session.put(made);
                }
                other => break other,
            }
        };
        match next {
            Ok(Next::Send(message)) => {
                place.send(Ok(message));
                if session.has_more() {
                    // Whoever has much to be told takes turns with the others.
                    tokio::task::yield_now().await;
                }
            }
            Ok(_) => return,
            Err(_) => {
                place.send(Err(Status::aborted("too slow: removals were missed; start over")));
                return;
            }
        }
    }
}
