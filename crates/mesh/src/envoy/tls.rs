//! Mutual TLS on both sides: identity from SDS, peers by root and trust domain.

use serde_json::{Value, json};

use super::Proxy;
use super::bootstrap::extension;
use crate::sds;

/// The protocols a sidecar's peer announces in its handshake.
///
/// A client's sidecar says what its application spoke, since after the handshake the server's can
/// no longer look before it chooses a filter chain.
pub(super) mod alpn {
    /// HTTP/1 from a sidecar.
    pub(in crate::envoy) const MESH_HTTP1: &[&str] = &["istio-http/1.1", "istio-http/1.0"];
    /// HTTP/2 from a sidecar.
    pub(in crate::envoy) const MESH_HTTP2: &[&str] = &["istio-h2"];
    /// Anything else from a sidecar.
    pub(in crate::envoy) const MESH_TCP: &[&str] = &["istio", "istio-peer-exchange"];
    /// What programs that are no sidecar announce for HTTP, in the order of our preference. A
    /// refusal over HTTP/2 that comes before the request's body resets the stream, which some
    /// programs report as a broken connection; over HTTP/1.1 they see the 403.
    pub(in crate::envoy) const PLAIN_HTTP: &[&str] = &["http/1.1", "http/1.0", "h2"];
}

/// The server's side: a client certificate is demanded and checked.
pub(super) fn downstream(proxy: &Proxy, alpn: &[&str]) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({
            "require_client_certificate": true,
            // A resumed session would not look at the client's certificate again.
            "disable_stateless_session_resumption": true,
            "disable_stateful_session_resumption": true,
            "common_tls_context": common(proxy, alpn),
        }),
    )
}

/// The client's side.
pub(super) fn upstream(proxy: &Proxy, alpn: &[&str]) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        json!({"max_session_keys": 0, "common_tls_context": common(proxy, alpn)}),
    )
}

fn common(proxy: &Proxy, alpn: &[&str]) -> Value {
    json!({
        "alpn_protocols": alpn,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs":
            [secret(proxy, sds::CERTIFICATE_SECRET, sds::CERTIFICATE_FILE)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [
                {"san_type": "URI", "matcher": {"prefix": proxy.trust_domain.prefix()}},
            ]},
            "validation_context_sds_secret_config":
                secret(proxy, sds::ROOT_SECRET, sds::ROOT_FILE),
        },
    })
}

fn secret(proxy: &Proxy, name: &str, file: &str) -> Value {
    json!({"name": name, "sds_config": {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": proxy.sds_dir.join(file),
            "watched_directory": {"path": proxy.sds_dir},
        },
    }})
}
