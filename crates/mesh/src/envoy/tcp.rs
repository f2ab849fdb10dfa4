//! Filters of chains that end in a TCP proxy.

use std::path::Path;

use serde_json::{Value, json};

use super::bootstrap::{extension, seconds};
use super::sidecar::Authorizer;
use super::{cluster, log};

/// How much a client may send before the authorizer has answered.
const MAX_EARLY_DATA: u32 = 64 * 1024;

/// Forwards bytes to `cluster` as they come, dialling it at once.
pub(super) fn proxy(access_log: &Path, listener: &str, cluster: &str) -> Value {
    tcp_proxy(access_log, listener, cluster, json!({}))
}

/// Asks the authorizer, then forwards to `cluster`.
///
/// Envoy's network filter asks when the client's first bytes arrive, while a TCP proxy dials
/// upstream as soon as the client connects: a server that speaks first would answer a client that
/// is about to be refused. So the proxy waits for the client's bytes too, and filters before it
/// hold those back until the answer is there.
pub(super) fn authorized(
    access_log: &Path,
    listener: &str,
    cluster: &str,
    authorizer: &Authorizer,
) -> Vec<Value> {
    let late = json!({
        "upstream_connect_mode": "ON_DOWNSTREAM_DATA",
        "max_early_data_bytes": MAX_EARLY_DATA,
    });
    vec![check(listener, authorizer), tcp_proxy(access_log, listener, cluster, late)]
}

/// Closes the connection.
pub(super) fn blackhole(access_log: &Path, listener: &str) -> Value {
    proxy(access_log, listener, cluster::BLACKHOLE)
}

fn tcp_proxy(access_log: &Path, listener: &str, cluster: &str, more: Value) -> Value {
    let config = json!({
        "stat_prefix": format!("{listener}_tcp"),
        "cluster": cluster,
        "access_log": [log::tcp(access_log, listener)],
    });
    extension(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        super::bootstrap::with(config, more),
    )
}

fn check(listener: &str, authorizer: &Authorizer) -> Value {
    extension(
        "envoy.filters.network.ext_authz",
        "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        json!({
            "stat_prefix": format!("{listener}_tcp"),
            "transport_api_version": "V3",
            "grpc_service": grpc_service(authorizer),
            "failure_mode_allow": false,
        }),
    )
}

/// How either kind of check reaches the authorizer.
pub(super) fn grpc_service(authorizer: &Authorizer) -> Value {
    json!({
        "envoy_grpc": {"cluster_name": cluster::AUTHORIZER},
        "timeout": seconds(authorizer.timeout),
    })
}
