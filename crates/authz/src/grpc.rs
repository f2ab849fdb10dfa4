//! Checks over gRPC, with messages left as bytes: a check is read where it lies, and answers are
//! encoded once for all that a rule allows.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use prost::bytes::{Buf, BufMut, Bytes};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, http};
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};

use crate::service::Check;

/// Largest request read, in bytes; a larger one is refused. Envoy sends all headers (60 KiB unless
/// configured otherwise) and, if configured to, the body and a certificate. All of those are
/// skipped, but must arrive first, and every request in flight may take so much memory.
const MAX_REQUEST: usize = 512 << 10;
/// What is reserved for a message at first, in bytes; one that is larger grows it.
const BUFFER: usize = 512;

/// A version of Envoy's service. The messages of all of them are the same on the wire, as far as
/// anything here is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// `envoy.service.auth.v3`.
    V3,
    /// `envoy.service.auth.v2`, of Envoy before 1.19.
    V2,
    /// `envoy.service.auth.v2alpha`, of Envoy before 1.11.
    V2Alpha,
}

impl Version {
    /// All versions.
    pub const ALL: [Version; 3] = [Version::V3, Version::V2, Version::V2Alpha];

    /// The full name of the service.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Version::V3 => "envoy.service.auth.v3.Authorization",
            Version::V2 => "envoy.service.auth.v2.Authorization",
            Version::V2Alpha => "envoy.service.auth.v2alpha.Authorization",
        }
    }

    /// The version in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V3 => "v3",
            Version::V2 => "v2",
            Version::V2Alpha => "v2alpha",
        }
    }

    /// The version whose method `Check` has this path.
    pub(crate) fn of_path(path: &str) -> Option<Version> {
        let service = path.strip_prefix('/')?.strip_suffix("/Check")?;
        Version::ALL.into_iter().find(|version| version.service() == service)
    }
}

/// Answers a check while it lies in the buffer it arrived in: what comes out of the decoder is the
/// answer.
struct Answering<C> {
    check: Arc<C>,
    version: Version,
}

impl<C: Check> Codec for Answering<C> {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Encoded;
    type Decoder = Answering<C>;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Answering<C> {
        Answering { check: Arc::clone(&self.check), version: self.version }
    }
}

impl<C: Check> Decoder for Answering<C> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        // The buffer is of one piece; were it not, the check would be put together first.
        if buffer.chunk().len() < length {
            let message = buffer.copy_to_bytes(length);
            return Ok(Some(self.check.check(self.version, &message)));
        }
        let answer = self.check.check(self.version, buffer.chunk());
        buffer.advance(length);
        Ok(Some(answer))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, 4 * BUFFER)
    }
}

/// Messages that are encoded already.
struct Encoded;

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, 4 * BUFFER)
    }
}

/// Passes on what the decoder answered.
struct Answered;

impl UnaryService<Bytes> for Answered {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

/// Answers one HTTP/2 request for `Check`.
pub(crate) fn answer<C: Check>(
    check: Arc<C>,
    version: Version,
    request: http::Request<Body>,
) -> BoxFuture<http::Response<Body>, Infallible> {
    Box::pin(async move {
        let codec = Answering { check, version };
        let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MAX_REQUEST), None);
        Ok(grpc.unary(Answered, request).await)
    })
}
