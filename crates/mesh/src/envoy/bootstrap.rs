//! The frame around listeners and clusters, and the command line that goes with it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Admin, ConfigError, Proxy, discovery, paths};

/// Far above what a lab needs, far below what would exhaust the machine.
const MAX_CONNECTIONS: u32 = 10_000;

/// The arguments Envoy is started with: one worker, no shared memory between restarts, short
/// drains, and logs that appear at once.
///
/// `log` is where Envoy's own log goes, and must lie outside the SDS directory like every other
/// file; without it the log goes to standard error.
#[must_use]
pub fn arguments(bootstrap: &Path, log: Option<&Path>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--config-path".into(), bootstrap.into()];
    for fixed in [
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--drain-time-s",
        "5",
        "--file-flush-interval-msec",
        "50",
        "--log-level",
        "warning",
    ] {
        arguments.push(fixed.into());
    }
    if let Some(log) = log {
        arguments.extend(["--log-path".into(), log.into()]);
    }
    arguments
}

/// A whole bootstrap. `discovered` are the kinds of resources that come from the discovery directory,
/// if the proxy has one: the name of their source, and their file.
pub(super) fn bootstrap(
    proxy: &Proxy,
    role: &str,
    listeners: &[Value],
    clusters: &[Value],
    discovered: &[(&str, &str)],
) -> Result<Value, ConfigError> {
    paths::check_proxy(proxy)?;
    let mut bootstrap = json!({
        "node": {"id": proxy.name, "cluster": role},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "overload_manager": {"resource_monitors": [extension(
            "envoy.resource_monitors.global_downstream_max_connections",
            "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            json!({"max_active_downstream_connections": MAX_CONNECTIONS}),
        )]},
    });
    if let (Some(admin), Some(object)) = (&proxy.admin, bootstrap.as_object_mut()) {
        object.insert("admin".to_owned(), json!({"address": admin_address(admin, proxy)}));
    }
    if let (Some(dir), Some(object)) = (&proxy.xds_dir, bootstrap.as_object_mut()) {
        let source =
            |(name, file): &(&str, &str)| ((*name).to_owned(), discovery::source(dir, file));
        let sources: serde_json::Map<String, Value> = discovered.iter().map(source).collect();
        object.insert("dynamic_resources".to_owned(), sources.into());
    }
    Ok(bootstrap)
}

fn admin_address(admin: &Admin, proxy: &Proxy) -> Value {
    match admin {
        Admin::Socket(path) => json!({"pipe": {"path": path, "mode": 0o600}}),
        Admin::Loopback(port) => {
            let v4 = proxy.addresses.iter().any(IpAddr::is_ipv4);
            socket_address(if v4 { "127.0.0.1" } else { "::1" }, *port)
        }
    }
}

/// The name, wildcard addresses and direction of a listener.
///
/// One listener binds each family of the pod separately: a v4-mapped socket would hide the family
/// from everything that compares addresses.
pub(super) fn listener(
    proxy: &Proxy,
    name: &str,
    port: u16,
    direction: &str,
) -> Result<Value, ConfigError> {
    let has = |family: fn(&IpAddr) -> bool| proxy.addresses.iter().any(family);
    let wildcards: Vec<Value> = [(has(IpAddr::is_ipv4), "0.0.0.0"), (has(IpAddr::is_ipv6), "::")]
        .iter()
        .filter(|(present, _)| *present)
        .map(|(_, wildcard)| socket_address(wildcard, port))
        .collect();
    let (first, others) = wildcards.split_first().ok_or(ConfigError::NoAddress)?;
    let others: Vec<Value> = others.iter().map(|address| json!({"address": address})).collect();
    Ok(json!({
        "name": name,
        "stat_prefix": name,
        "address": first,
        "additional_addresses": others,
        "traffic_direction": direction,
    }))
}

/// Adds the entries of one JSON object to another.
pub(super) fn with(mut base: Value, more: Value) -> Value {
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
    base
}

/// An extension: its name, the type of its configuration, and the configuration.
pub(super) fn extension(name: &str, kind: &str, config: Value) -> Value {
    json!({"name": name, "typed_config": typed(kind, config)})
}

/// A configuration with its type.
pub(super) fn typed(kind: &str, config: Value) -> Value {
    with(json!({"@type": format!("type.googleapis.com/{kind}")}), config)
}

/// A TCP address.
pub(super) fn socket_address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

/// A duration as protobuf's JSON has it.
pub(super) fn seconds(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        nanos => format!("{}.{nanos:09}s", duration.as_secs()),
    }
}
