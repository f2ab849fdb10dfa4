//! The HTTP connection manager, with every setting on which the meaning of a path or the trust in
//! a header depends.

use std::path::Path;

use serde_json::{Value, json};

use super::bootstrap::{extension, with};
use super::sidecar::Authorizer;
use super::{log, tcp};

/// Headers with these prefixes steer Tortie or Envoy, and are nobody's to send from outside.
const STRIPPED_PREFIXES: [&str; 2] = ["x-tortie-", "x-envoy-"];

/// A connection manager without its hardening, its filters' order decided here.
pub(super) struct Manager<'a> {
    /// The listener it serves, for statistics and logs.
    pub(super) listener: &'a str,
    /// Where its access log goes.
    pub(super) access_log: &'a Path,
    /// `AUTO` or `HTTP2`.
    pub(super) codec: &'a str,
    /// Its virtual hosts.
    pub(super) virtual_hosts: &'a [Value],
}

impl Manager<'_> {
    /// For requests that leave the pod: nothing is changed, nothing is judged.
    pub(super) fn outbound(&self) -> Value {
        self.build(&[], json!({}))
    }

    /// For requests that enter the pod: paths made plain, foreign headers dropped, and every
    /// request shown to the authorizer.
    pub(super) fn inbound(&self, authorizer: &Authorizer) -> Value {
        self.build(&[strip_headers(), check(authorizer)], plain_paths())
    }

    /// For requests that enter the mesh: as inbound, but the authorizer is the destination's, and
    /// the client's address is taken from its connection rather than from its headers.
    pub(super) fn gateway(&self) -> Value {
        let edge = json!({"use_remote_address": true, "internal_address_config": {}});
        self.build(&[strip_headers()], with(plain_paths(), edge))
    }

    fn build(&self, filters: &[Value], more: Value) -> Value {
        let router = extension(
            "envoy.filters.http.router",
            "envoy.extensions.filters.http.router.v3.Router",
            json!({"suppress_envoy_headers": true}),
        );
        let filters = [filters, &[router]].concat();
        let config = json!({
            "stat_prefix": format!("{}_http", self.listener),
            "codec_type": self.codec,
            "route_config": {
                "name": self.listener,
                "virtual_hosts": self.virtual_hosts,
                "ignore_port_in_host_matching": true,
                // Listeners and clusters are told apart: which file is read first is nobody's to say.
                "validate_clusters": false,
            },
            "http_filters": filters,
            "access_log": [log::http(self.access_log, self.listener)],
            // An identity is what the handshake proved, never what a header says.
            "forward_client_cert_details": "SANITIZE",
            "server_header_transformation": "PASS_THROUGH",
            "http_protocol_options": {"accept_http_10": true},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            // Long polls and watches are judged when they start and may then last.
            "stream_idle_timeout": "0s",
        });
        extension(
            "envoy.filters.network.http_connection_manager",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            with(config, more),
        )
    }
}

/// Where a request goes once it matched; no deadline, since streams have none.
pub(super) fn route_to(cluster: &str) -> Value {
    json!({
        "cluster": cluster,
        "timeout": "0s",
        // Only what was never sent is sent again.
        "retry_policy": {"retry_on": "reset-before-request", "num_retries": 2},
    })
}

/// One virtual host that sends everything to one cluster.
pub(super) fn everything_to(cluster: &str) -> Value {
    json!({
        "name": cluster,
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": route_to(cluster)}],
    })
}

/// The authorizer and the application must see the same path. An escaped slash is data to one
/// program and a separator to the next, so a request with one is refused (400) instead of guessed.
fn plain_paths() -> Value {
    json!({
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    })
}

fn strip_headers() -> Value {
    let mutations: Vec<Value> = STRIPPED_PREFIXES
        .iter()
        .map(|prefix| json!({"remove_on_match": {"key_matcher": {"prefix": prefix}}}))
        .collect();
    extension(
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        json!({"mutations": {"request_mutations": mutations}}),
    )
}

fn check(authorizer: &Authorizer) -> Value {
    extension(
        "envoy.filters.http.ext_authz",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        json!({
            "transport_api_version": "V3",
            "grpc_service": tcp::grpc_service(authorizer),
            "failure_mode_allow": false,
            // A client cannot tell an authorizer that is down from one that said no.
            "status_on_error": {"code": "Forbidden"},
            "enable_dynamic_metadata_ingestion": true,
            // Policies judge method and path, which travel apart; cookies and tokens stay here.
            "allowed_headers": {"patterns": [{"exact": "x-request-id"}]},
        }),
    )
}
