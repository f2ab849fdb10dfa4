//! The ingress gateway: where requests from outside enter the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::bootstrap::{bootstrap, listener, with};
use super::http::{Manager, route_to};
use super::{ConfigError, DiscoveryFile, Proxy, cluster, discovery, tls};

const INGRESS: &str = "ingress";

/// A gateway's configuration. Its pod has no redirect rules: whoever reaches the ports is meant to,
/// and what the gateway dials needs no exemption.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// What it shares with every Envoy; its certificate is the gateway's own identity.
    pub proxy: Proxy,
    /// The ports it listens on, in every family of its pod.
    pub listeners: Vec<GatewayListener>,
}

/// One port of the gateway, plain HTTP.
#[derive(Debug, Clone)]
pub struct GatewayListener {
    /// The port inside the gateway's pod.
    pub port: u16,
    /// What is served there. Hosts may repeat: their routes are then tried in the given order.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// The routes of some hosts, as in a VirtualService.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// Host names without ports: exact, `*.suffix`, or `*`.
    pub hosts: Vec<String>,
    /// Tried in order; a request that none takes gets 404.
    pub routes: Vec<Route>,
}

/// Where requests with certain paths go.
#[derive(Debug, Clone)]
pub struct Route {
    /// Any of these; every path if empty.
    pub paths: Vec<PathMatch>,
    /// Where they go.
    pub destination: Destination,
}

/// A condition on a request's path, without its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Its beginning, character by character: `/foo` takes `/foobar`, as in a VirtualService.
    Prefix(String),
    /// A regular expression (RE2) over the whole path.
    Regex(String),
}

/// A Service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The Service's cluster address and port.
    pub address: SocketAddr,
    /// Whether its pods have sidecars: if so, it is reached under mutual TLS.
    pub meshed: bool,
}

impl Gateway {
    /// Envoy's bootstrap.
    ///
    /// # Errors
    /// If a path of the file system is relative or lies in the SDS directory, the pod has no
    /// address, a port is given twice, or a host or route can match nothing.
    pub fn bootstrap(&self) -> Result<Value, ConfigError> {
        let (listeners, clusters) = match self.proxy.xds_dir {
            Some(_) => (Vec::new(), Vec::new()),
            None => (self.all_listeners()?, self.clusters()),
        };
        let discovered =
            [("cds_config", discovery::CLUSTERS), ("lds_config", discovery::LISTENERS)];
        bootstrap(&self.proxy, "gateway", &listeners, &clusters, &discovered)
    }

    /// Everything it serves, for the discovery directory; clusters come before those who use them.
    ///
    /// # Errors
    /// As for [`Gateway::bootstrap`], but for paths of the file system.
    pub fn discovery(&self) -> Result<Vec<DiscoveryFile>, ConfigError> {
        let listeners = self.all_listeners()?;
        Ok(vec![discovery::clusters(self.clusters()), discovery::listeners(listeners)])
    }

    fn all_listeners(&self) -> Result<Vec<Value>, ConfigError> {
        let mut ports = BTreeSet::new();
        let listeners = self.listeners.iter().map(|listener| match ports.insert(listener.port) {
            true => self.listener(listener),
            false => Err(ConfigError::DuplicatePort(listener.port)),
        });
        listeners.collect()
    }

    fn listener(&self, given: &GatewayListener) -> Result<Value, ConfigError> {
        let name = format!("{INGRESS}-{}", given.port);
        let manager = Manager {
            listener: &name,
            access_log: &self.proxy.access_log,
            codec: "AUTO",
            virtual_hosts: &virtual_hosts(&given.virtual_hosts)?,
        };
        Ok(with(
            listener(&self.proxy, &name, given.port, "INBOUND")?,
            json!({"filter_chains": [{"filters": [manager.gateway()]}]}),
        ))
    }

    fn clusters(&self) -> Vec<Value> {
        let hosts = self.listeners.iter().flat_map(|listener| &listener.virtual_hosts);
        let routes = hosts.flat_map(|host| &host.routes);
        let unique: BTreeSet<&Destination> = routes.map(|route| &route.destination).collect();
        unique.into_iter().map(|destination| self.cluster(destination)).collect()
    }

    fn cluster(&self, destination: &Destination) -> Value {
        let plain = cluster::fixed(&self.proxy, &cluster_name(destination), destination.address);
        if destination.meshed {
            let tls = tls::upstream(&self.proxy, &["istio-http/1.1"]);
            with(plain, json!({"transport_socket": tls}))
        } else {
            plain
        }
    }
}

fn cluster_name(destination: &Destination) -> String {
    let kind = if destination.meshed { "mesh" } else { "plain" };
    format!("{kind}-{}", destination.address)
}

/// Envoy wants each host once, a VirtualService may repeat them: routes are gathered by host.
fn virtual_hosts(given: &[VirtualHost]) -> Result<Vec<Value>, ConfigError> {
    let mut by_host: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for virtual_host in given {
        let routes: Vec<Value> =
            virtual_host.routes.iter().map(routes).collect::<Result<Vec<_>, _>>()?.concat();
        for host in &virtual_host.hosts {
            check_host(host)?;
            by_host.entry(host).or_default().extend(routes.iter().cloned());
        }
    }
    let hosts = by_host.into_iter();
    Ok(hosts
        .map(|(host, routes)| json!({"name": host, "domains": [host], "routes": routes}))
        .collect())
}

fn check_host(host: &str) -> Result<(), ConfigError> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host == "*" || (!name.is_empty() && name.bytes().all(plain)) {
        Ok(())
    } else {
        Err(ConfigError::Host(host.to_owned()))
    }
}

fn routes(route: &Route) -> Result<Vec<Value>, ConfigError> {
    let action = route_to(&cluster_name(&route.destination));
    if route.paths.is_empty() {
        return Ok(vec![json!({"match": {"prefix": "/"}, "route": action})]);
    }
    let one = |path: &PathMatch| Ok(json!({"match": path_match(path)?, "route": action}));
    route.paths.iter().map(one).collect()
}

fn path_match(path: &PathMatch) -> Result<Value, ConfigError> {
    match path {
        PathMatch::Exact(path) => Ok(json!({"path": rooted(path)?})),
        PathMatch::Prefix(path) => Ok(json!({"prefix": rooted(path)?})),
        PathMatch::Regex(regex) => Ok(json!({"safe_regex": {"regex": regex}})),
    }
}

fn rooted(path: &str) -> Result<&str, ConfigError> {
    if path.starts_with('/') { Ok(path) } else { Err(ConfigError::Path(path.to_owned())) }
}
