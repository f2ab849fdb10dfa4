//! The asking side: one check, or one question about health, over the server's socket.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;
use prost_types::Struct;
use prost_types::value::Kind;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tortie_proto::dikastes::HealthCheckRequest;
use tortie_proto::dikastes::healthz_client::HealthzClient;
use tortie_proto::ext_authz::attribute_context::{HttpRequest, Peer, Request};
use tortie_proto::ext_authz::authorization_client::AuthorizationClient;
use tortie_proto::ext_authz::core::address::Address as Kinds;
use tortie_proto::ext_authz::core::{Address, SocketAddress};
use tortie_proto::ext_authz::rpc::Code;
use tortie_proto::ext_authz::{AttributeContext, CheckRequest, CheckResponse};

use crate::health::{DETAIL, FINGERPRINT};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server is not there.
    #[error("cannot connect to `{}`: {reason}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The innermost reason.
        reason: String,
    },
    /// The server is there, but the call failed.
    #[error("call to `{}` failed: {}: {}", path.display(), status.code(), status.message())]
    Call {
        /// The socket.
        path: PathBuf,
        /// What the server said.
        status: Box<tonic::Status>,
    },
    /// The answer could not be printed.
    #[error("cannot print the answer: {0}")]
    Print(#[from] io::Error),
}

/// What to ask for in one check.
#[derive(Debug, Clone)]
pub struct Question {
    /// The identity in the certificate, as Envoy would report it.
    pub principal: String,
    /// The address the request comes from.
    pub source: Option<IpAddr>,
    /// Method and path; none for a plain connection.
    pub http: Option<(String, String)>,
}

impl From<Question> for CheckRequest {
    fn from(question: Question) -> Self {
        let source = Peer {
            address: question.source.map(|ip| Address {
                address: Some(Kinds::SocketAddress(SocketAddress {
                    address: ip.to_string(),
                    ..Default::default()
                })),
            }),
            principal: question.principal,
        };
        let http =
            question.http.map(|(method, path)| HttpRequest { method, path, ..Default::default() });
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(source),
                request: http.map(|http| Request { http: Some(http) }),
                ..Default::default()
            }),
        }
    }
}

/// Asks one check.
pub async fn check(socket: &Path, question: Question) -> Result<CheckResponse, ClientError> {
    let mut client = AuthorizationClient::new(connect(socket).await?);
    let answer = client.check(CheckRequest::from(question)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| call_failed(socket, status))
}

/// What a server says of its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Yes or no.
    pub healthy: bool,
    /// What it waits for, or that its policy is stale.
    pub detail: Option<String>,
    /// Which policy is in force: equal to [`crate::source::Loaded::fingerprint`] of its files.
    pub fingerprint: Option<u64>,
}

/// Which question about health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheck {
    /// Is the process working at all?
    Liveness,
    /// Can requests be judged?
    Readiness,
}

/// Asks about health.
pub async fn health(socket: &Path, check: HealthCheck) -> Result<Report, ClientError> {
    let mut client = HealthzClient::new(connect(socket).await?);
    let answer = match check {
        HealthCheck::Liveness => client.check_liveness(HealthCheckRequest {}).await,
        HealthCheck::Readiness => client.check_readiness(HealthCheckRequest {}).await,
    };
    let answer = answer.map_err(|status| call_failed(socket, status))?;
    let detail = text(answer.metadata(), DETAIL);
    let fingerprint = text(answer.metadata(), FINGERPRINT).and_then(|text| text.parse().ok());
    Ok(Report { healthy: answer.into_inner().healthy, detail, fingerprint })
}

fn text(metadata: &MetadataMap, key: &'static str) -> Option<String> {
    Some(metadata.get(key)?.to_str().ok()?.to_owned())
}

/// Prints an answer: the code and its message, then what the dynamic metadata says, a line each.
pub fn print(response: &CheckResponse, out: &mut impl Write) -> Result<(), ClientError> {
    match &response.status {
        Some(status) => writeln!(out, "{} {}", code_name(status.code), status.message)?,
        None => writeln!(out, "OK (no status)")?,
    }
    // Unreadable metadata is not worth an error: the verdict is what was asked for.
    let metadata = Struct::decode(response.dynamic_metadata.clone()).unwrap_or_default();
    for (key, value) in &metadata.fields {
        match &value.kind {
            Some(Kind::StringValue(text)) => writeln!(out, "{key}: {text}")?,
            Some(Kind::NumberValue(number)) => writeln!(out, "{key}: {number}")?,
            other => writeln!(out, "{key}: {other:?}")?,
        }
    }
    Ok(())
}

fn code_name(code: i32) -> String {
    match Code::try_from(code) {
        Ok(code) => code.as_str_name().to_owned(),
        Err(_) => format!("code {code}"),
    }
}

async fn connect(socket: &Path) -> Result<Channel, ClientError> {
    let fail = |error: tonic::transport::Error| ClientError::Connect {
        path: socket.to_owned(),
        reason: innermost(&error),
    };
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).map_err(fail)?;
    endpoint.timeout(LIMIT).connect_timeout(LIMIT).connect().await.map_err(fail)
}

/// The transport wraps what the system said in layers that only say "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn call_failed(socket: &Path, status: tonic::Status) -> ClientError {
    ClientError::Call { path: socket.to_owned(), status: Box::new(status) }
}
