//! An authorizer that answers what the test says and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tortie_proto::ext_authz::attribute_context::Peer;
use tortie_proto::ext_authz::authorization_server::{Authorization, AuthorizationServer};
use tortie_proto::ext_authz::core::address::Address;
use tortie_proto::ext_authz::core::socket_address::PortSpecifier;
use tortie_proto::ext_authz::{CheckRequest, CheckResponse, rpc};

/// One question of Envoy, as far as tests care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Address of the client.
    pub source: IpAddr,
    /// Address and port the client dialled.
    pub destination: SocketAddr,
    /// Identity of the client, empty without a certificate.
    pub principal: String,
    /// Identity of the server's own certificate, empty without TLS.
    pub own_principal: String,
    /// Method and path; nothing for a connection.
    pub http: Option<(String, String)>,
}

/// The authorizer; it ends with this value.
pub struct FakeAuthorizer {
    state: Arc<State>,
    // Dropping the runtime ends the server.
    _runtime: Runtime,
}

struct State {
    allow: Mutex<bool>,
    asked: Mutex<Vec<Asked>>,
}

impl FakeAuthorizer {
    /// Listens on a Unix socket, allowing everything until told otherwise.
    pub fn start(socket: &Path) -> Self {
        let state = Arc::new(State { allow: Mutex::new(true), asked: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(async { UnixListener::bind(socket) }).unwrap();
        let service = AuthorizationServer::new(Service(state.clone()));
        let server = Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        Self { state, _runtime: runtime }
    }

    /// What it says from now on.
    pub fn allow(&self, allow: bool) {
        *self.state.allow.lock().unwrap() = allow;
    }

    /// What it was asked since the last call.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.asked.lock().unwrap())
    }
}

struct Service(Arc<State>);

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let asked = asked(request.into_inner()).ok_or_else(|| Status::internal("odd request"))?;
        self.0.asked.lock().unwrap().push(asked);
        let code =
            if *self.0.allow.lock().unwrap() { rpc::Code::Ok } else { rpc::Code::PermissionDenied };
        let status = rpc::Status { code: code as i32, ..rpc::Status::default() };
        let dynamic_metadata = reason(code).encode_to_vec().into();
        let status = Some(status);
        Ok(Response::new(CheckResponse { status, dynamic_metadata, ..CheckResponse::default() }))
    }
}

/// What a verdict says for itself: `{"reason": "said Ok"}`.
fn reason(code: rpc::Code) -> Struct {
    let value = Value { kind: Some(Kind::StringValue(format!("said {code:?}"))) };
    Struct { fields: BTreeMap::from([("reason".to_owned(), value)]) }
}

fn asked(request: CheckRequest) -> Option<Asked> {
    let attributes = request.attributes?;
    let (source, destination) = (attributes.source?, attributes.destination?);
    let http = attributes.request.and_then(|request| request.http);
    Some(Asked {
        source: address(&source)?.ip(),
        destination: address(&destination)?,
        principal: source.principal,
        own_principal: destination.principal,
        http: http.map(|http| (http.method, http.path)),
    })
}

fn address(peer: &Peer) -> Option<SocketAddr> {
    let Address::SocketAddress(socket) = peer.address.as_ref()?.address.as_ref()? else {
        return None;
    };
    let PortSpecifier::PortValue(port) = socket.port_specifier.as_ref()? else {
        return None;
    };
    Some(SocketAddr::new(socket.address.parse().ok()?, u16::try_from(*port).ok()?))
}
