//! The body for fuzzing: bytes as they come from the socket. Tests run it on random input, and a target
//! in `fuzz/` under libFuzzer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prost::Message;
use tortie_proto::ext_authz::core::address::Address as Kinds;
use tortie_proto::ext_authz::core::socket_address::PortSpecifier;
use tortie_proto::ext_authz::{CheckRequest, CheckResponse};

use crate::call::{Http, Place};
use crate::grpc::Version;
use crate::guarded::Mode;
use crate::service::{Authorizer, Check, Setup};
use crate::snapshot::{Snapshot, View};
use crate::wire;

/// Whatever the bytes, every version answers, and without policy it refuses. What is read agrees with
/// the generated decoder.
pub fn check_request(bytes: &[u8]) {
    reads_as_prost(bytes);
    let mode = Mode::Node { node: None, trusted: Some("workload".to_owned()) };
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::nothing(&View::new(mode))));
    let authorizer = Authorizer::new(snapshot, Setup::default());
    for version in Version::ALL {
        let answer = CheckResponse::decode(authorizer.check(version, bytes));
        let status = answer.ok().and_then(|answer| answer.status);
        assert!(status.is_some_and(|status| status.code != 0), "{version:?}");
    }
}

/// What we read without decoding is what prost decodes; and what prost refuses is refused, unless it
/// is in a part that we skip.
fn reads_as_prost(bytes: &[u8]) {
    let (Ok(read), Ok(check)) = (wire::read(bytes), CheckRequest::decode(bytes)) else { return };
    let attributes = check.attributes.unwrap_or_default();
    for (end, peer) in
        [(read.source, &attributes.source), (read.destination, &attributes.destination)]
    {
        assert_eq!(end.principal, peer.as_ref().map_or("", |peer| &peer.principal));
        let address =
            peer.as_ref().and_then(|p| p.address.as_ref()).and_then(|a| a.address.as_ref());
        assert_eq!(end.place, place(address));
    }
    let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
    let wanted = http.map(|http| Http::new(&http.id, &http.method, &http.path));
    let words = |http: Http<'_>| (http.id.to_owned(), http.method.to_owned(), http.path.to_owned());
    assert_eq!(read.http.map(words), wanted.map(words));
    for (key, value) in &attributes.context_extensions {
        assert_eq!(read.extension(key), Some(value.as_str()));
    }
}

fn place(address: Option<&Kinds>) -> Place<'_> {
    let socket = match address {
        None => return Place::Absent,
        Some(Kinds::Pipe(_)) => return Place::Pipe,
        Some(Kinds::SocketAddress(socket)) => socket,
    };
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port @ 1..=65535)) => u16::try_from(port).ok(),
        _ => None,
    };
    match socket.address.parse::<std::net::IpAddr>() {
        Ok(ip) => Place::Ip(ip.to_canonical(), port),
        Err(_) => Place::Unreadable(&socket.address),
    }
}
