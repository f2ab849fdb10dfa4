//! Upstreams.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::bootstrap::{seconds, socket_address, typed, with};
use super::{Proxy, tls};

/// The authorizer.
pub(super) const AUTHORIZER: &str = "authorizer";
/// The pod's own application, spoken to in HTTP/1.1 or plain TCP.
pub(super) const APPLICATION: &str = "application";
/// The pod's own application, spoken to in HTTP/2.
pub(super) const APPLICATION_HTTP2: &str = "application-http2";
/// A meshed peer, for HTTP/1.
pub(super) const MESH_HTTP1: &str = "mesh-http1";
/// A meshed peer, for HTTP/2.
pub(super) const MESH_HTTP2: &str = "mesh-http2";
/// A meshed peer, for anything else.
pub(super) const MESH_TCP: &str = "mesh-tcp";
/// Whoever the client dialled, as it dialled.
pub(super) const PASSTHROUGH: &str = "passthrough";
/// Nobody.
pub(super) const BLACKHOLE: &str = "blackhole";

/// The HTTP version an upstream is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Dials the address the client dialled, through a socket that carries `mark`.
pub(super) fn original_destination(
    proxy: &Proxy,
    name: &str,
    mark: u32,
    protocol: Protocol,
) -> Value {
    json!({
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": seconds(proxy.connect_timeout),
        "upstream_bind_config": marked(mark),
        "typed_extension_protocol_options": http_options(protocol),
    })
}

/// As [`original_destination`], under mutual TLS.
pub(super) fn mesh(proxy: &Proxy, name: &str, mark: u32, protocol: Protocol, alpn: &str) -> Value {
    with(
        original_destination(proxy, name, mark, protocol),
        json!({"transport_socket": tls::upstream(proxy, &[alpn])}),
    )
}

/// Dials one fixed address.
pub(super) fn fixed(proxy: &Proxy, name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": seconds(proxy.connect_timeout),
        "load_assignment":
            endpoint(name, &socket_address(&address.ip().to_string(), address.port())),
        "typed_extension_protocol_options": http_options(Protocol::Http1),
    })
}

/// The authorizer behind its Unix socket.
pub(super) fn authorizer(proxy: &Proxy, socket: &Path) -> Value {
    json!({
        "name": AUTHORIZER,
        "type": "STATIC",
        "connect_timeout": seconds(proxy.connect_timeout),
        "load_assignment": endpoint(AUTHORIZER, &json!({"pipe": {"path": socket}})),
        "typed_extension_protocol_options": http_options(Protocol::Http2),
    })
}

/// A cluster without endpoints: whatever is sent there is closed at once.
pub(super) fn blackhole() -> Value {
    json!({
        "name": BLACKHOLE,
        "type": "STATIC",
        "load_assignment": {"cluster_name": BLACKHOLE},
    })
}

fn endpoint(name: &str, address: &Value) -> Value {
    json!({
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    })
}

/// Sets SO_MARK before the socket connects, so that the redirect rules let it pass.
fn marked(mark: u32) -> Value {
    const SOL_SOCKET: u32 = 1;
    const SO_MARK: u32 = 36;
    json!({"socket_options": [
        {"level": SOL_SOCKET, "name": SO_MARK, "int_value": mark, "state": "STATE_PREBIND"},
    ]})
}

fn http_options(protocol: Protocol) -> Value {
    let explicit = match protocol {
        Protocol::Http1 => json!({"http_protocol_options": {}}),
        Protocol::Http2 => json!({"http2_protocol_options": {}}),
    };
    let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({kind: typed(kind, json!({"explicit_http_config": explicit}))})
}
