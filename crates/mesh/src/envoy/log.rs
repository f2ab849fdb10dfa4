//! Access logs: one JSON object a line, with the verdict's reason and without secrets.
//!
//! Header values and query strings may carry tokens, so none is logged.

use std::path::Path;

use serde_json::{Value, json};

use super::bootstrap::{extension, with};

/// The log of an HTTP connection manager.
pub(super) fn http(path: &Path, listener: &str) -> Value {
    file(
        path,
        listener,
        json!({
            "protocol": "%PROTOCOL%",
            "method": "%REQ(:METHOD)%",
            "path": "%PATH(NQ:PATH)%",
            "code": "%RESPONSE_CODE%",
            "verdict": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%",
        }),
    )
}

/// The log of a TCP proxy.
pub(super) fn tcp(path: &Path, listener: &str) -> Value {
    file(path, listener, json!({"verdict": "%DYNAMIC_METADATA(envoy.filters.network.ext_authz)%"}))
}

fn file(path: &Path, listener: &str, fields: Value) -> Value {
    let common = json!({
        "time": "%START_TIME%",
        "listener": listener,
        "source": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
        "destination": "%DOWNSTREAM_LOCAL_ADDRESS%",
        "peer": "%DOWNSTREAM_PEER_URI_SAN%",
        "upstream": "%UPSTREAM_HOST%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
    });
    extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        json!({"path": path, "log_format": {"json_format": with(common, fields)}}),
    )
}
