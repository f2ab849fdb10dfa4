//! A server that says what a test tells it to, bytes that are no messages included, and a client
//! that reads when a test tells it to.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tortie_proto::felix::ToDataplane;
use tortie_proto::felix::to_dataplane::Payload;

#[derive(Debug, Default, Clone, Copy)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// What is sent on each connection, which then ends; the last is used again and again, and its stream
/// stays open.
#[derive(Debug, Clone)]
pub struct Script(Arc<Mutex<Vec<Vec<Bytes>>>>);

/// A scripted server; it ends when this is dropped.
pub struct Scripted {
    pub script: Script,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn bytes(payload: Payload) -> Bytes {
    ToDataplane { payload: Some(payload), ..Default::default() }.encode_to_vec().into()
}

impl Scripted {
    pub fn serve(path: &Path, connections: Vec<Vec<Bytes>>) -> Scripted {
        let script = Script(Arc::new(Mutex::new(connections)));
        let incoming = UnixListenerStream::new(UnixListener::bind(path).unwrap());
        let served = Server::builder().serve_with_incoming(script.clone(), incoming);
        let task = tokio::spawn(async move { served.await.unwrap() });
        Scripted { script, task }
    }
}

impl Script {
    fn next(&self) -> (Vec<Bytes>, bool) {
        let mut connections = self.0.lock().unwrap();
        match connections.len() {
            1 => (connections[0].clone(), true),
            _ => (connections.remove(0), false),
        }
    }
}

impl NamedService for Script {
    const NAME: &'static str = "felix.PolicySync";
}

impl Service<http::Request<Body>> for Script {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let script = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).server_streaming(script, request).await) })
    }
}

impl ServerStreamingService<Bytes> for Script {
    type Response = Bytes;
    type ResponseStream =
        std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<Bytes, Status>> + Send + 'static>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        let (messages, stays) = self.next();
        Box::pin(async move {
            let said = tokio_stream::iter(messages.into_iter().map(Ok));
            let stream: Self::ResponseStream = match stays {
                true => Box::pin(said.chain(tokio_stream::pending())),
                false => Box::pin(said),
            };
            Ok(Response::new(stream))
        })
    }
}

/// Joins at a socket; nothing is read before it is asked for.
pub async fn join(path: &Path) -> Streaming<Bytes> {
    let endpoint = Endpoint::from_shared(format!("unix:{}", path.display())).unwrap();
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    let channel = loop {
        // A socket is there a little before anybody listens.
        match endpoint.connect().await {
            Ok(channel) => break channel,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    let mut grpc = client::Grpc::new(channel).max_decoding_message_size(1 << 30);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/felix.PolicySync/Sync");
    grpc.server_streaming(Request::new(Bytes::new()), path, Raw).await.unwrap().into_inner()
}
