//! A pod's sidecar: everything that enters or leaves the pod over TCP passes one of two listeners.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::bootstrap::{bootstrap, extension, listener, seconds, with};
use super::cluster::{self, Protocol};
use super::http::{Manager, everything_to};
use super::tls::{self, alpn};
use super::{ConfigError, DiscoveryFile, Proxy, discovery, paths, tcp};
use crate::{INBOUND_PORT, OUTBOUND_PORT};

/// How long a client of a strict sidecar has for its first TLS bytes. Nothing else can follow, so
/// this is no detection, only a limit on idle sockets.
const STRICT_HELLO_TIMEOUT: Duration = Duration::from_secs(15);

const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";

/// A sidecar's configuration.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// What it shares with every Envoy.
    pub proxy: Proxy,
    /// Whether plaintext clients are served.
    pub mtls: MutualTls,
    /// Who decides about what enters the pod.
    pub authorizer: Authorizer,
    /// Destinations that are reached under mutual TLS: the addresses of meshed pods, and the
    /// cluster addresses of Services all of whose pods are meshed.
    pub mesh: Vec<IpNet>,
    /// The socket mark of the sidecar's own connections; the same as in
    /// [`crate::redirect::Redirect`].
    pub mark: u32,
    /// How long a plaintext connection may stay silent before it counts as one that is not HTTP.
    pub detect_timeout: Duration,
}

/// Whether a sidecar serves clients without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MutualTls {
    /// No: whatever is not TLS with a certificate of the trust domain is reset.
    Strict,
    /// Yes, as Istio does: what announces itself as a sidecar's TLS must prove its identity; other
    /// TLS is the application's own and passes as bytes, plaintext passes as HTTP or bytes. The
    /// authorizer is asked in each case.
    Permissive,
}

/// The authorizer beside the sidecar. There is no sidecar without one: while it does not answer,
/// requests get 403 and connections are closed.
#[derive(Debug, Clone)]
pub struct Authorizer {
    /// Its Unix socket.
    pub socket: PathBuf,
    /// How long it may take to answer, [`super::DEFAULT_AUTHORIZER_TIMEOUT`] in a lab.
    pub timeout: Duration,
}

impl Sidecar {
    /// Envoy's bootstrap.
    ///
    /// # Errors
    /// If a path is relative, lies in the SDS directory or is too long for a socket, or the pod
    /// has no address.
    pub fn bootstrap(&self) -> Result<Value, ConfigError> {
        paths::check_socket("authorizer socket", &self.authorizer.socket, &self.proxy.sds_dir)?;
        let mut listeners = vec![self.inbound()?];
        if self.proxy.xds_dir.is_none() {
            listeners.push(self.outbound()?);
        }
        let discovered = [("lds_config", discovery::LISTENERS)];
        bootstrap(&self.proxy, "sidecar", &listeners, &self.clusters(), &discovered)
    }

    /// What depends on [`Sidecar::mesh`], for the discovery directory.
    ///
    /// # Errors
    /// If the pod has no address.
    pub fn discovery(&self) -> Result<Vec<DiscoveryFile>, ConfigError> {
        Ok(vec![discovery::listeners(vec![self.outbound()?])])
    }

    fn inbound(&self) -> Result<Value, ConfigError> {
        let base = listener(&self.proxy, INBOUND, INBOUND_PORT, "INBOUND")?;
        let (chains, inspection) = match self.mtls {
            MutualTls::Strict => (self.strict_chains(), tls_inspection(STRICT_HELLO_TIMEOUT)),
            MutualTls::Permissive => (self.permissive_chains(), inspection(self.detect_timeout)),
        };
        let chains = [self.blackhole_chains(INBOUND), chains].concat();
        Ok(with(with(base, inspection), json!({"filter_chains": chains})))
    }

    fn outbound(&self) -> Result<Value, ConfigError> {
        let base = listener(&self.proxy, OUTBOUND, OUTBOUND_PORT, "OUTBOUND")?;
        let chains = [self.blackhole_chains(OUTBOUND), self.mesh_chains()].concat();
        // Whatever is no mesh destination passes as it is, without a look at its contents.
        let rest = json!({
            "name": "passthrough",
            "filters": [tcp::proxy(&self.proxy.access_log, OUTBOUND, cluster::PASSTHROUGH)],
        });
        let own = json!({"filter_chains": chains, "default_filter_chain": rest});
        Ok(with(with(base, inspection(self.detect_timeout)), own))
    }

    /// Dialling a sidecar's own port would make it dial itself without end.
    fn blackhole_chains(&self, listener: &str) -> Vec<Value> {
        [OUTBOUND_PORT, INBOUND_PORT]
            .iter()
            .map(|port| {
                json!({
                    "name": format!("blackhole-{port}"),
                    "filter_chain_match": {"destination_port": port},
                    "filters": [tcp::blackhole(&self.proxy.access_log, listener)],
                })
            })
            .collect()
    }

    /// Every TLS client is asked for its certificate, whatever protocol it announces: a stolen key
    /// in a plain program must meet the policy too.
    fn strict_chains(&self) -> Vec<Value> {
        let http1 = [alpn::MESH_HTTP1, alpn::PLAIN_HTTP].concat();
        vec![
            self.tls_chain("mtls-http1", &http1, &http1, self.http("AUTO", cluster::APPLICATION)),
            self.tls_chain(
                "mtls-http2",
                alpn::MESH_HTTP2,
                alpn::MESH_HTTP2,
                self.http("HTTP2", cluster::APPLICATION_HTTP2),
            ),
            self.tls_chain("mtls-tcp", &[], alpn::MESH_TCP, self.tcp()),
        ]
    }

    /// Envoy picks among siblings by transport first and never goes back, so each transport has a
    /// chain for whatever its more particular siblings do not take.
    fn permissive_chains(&self) -> Vec<Value> {
        let tls = |name, alpn: &[&str], filters| self.tls_chain(name, alpn, alpn, filters);
        let http1 = || self.http("AUTO", cluster::APPLICATION);
        let http2 = || self.http("HTTP2", cluster::APPLICATION_HTTP2);
        vec![
            tls("mtls-http1", alpn::MESH_HTTP1, http1()),
            tls("mtls-http2", alpn::MESH_HTTP2, http2()),
            tls("mtls-tcp", alpn::MESH_TCP, self.tcp()),
            self.inbound_chain("app-tls", "tls", &[], self.tcp()),
            self.inbound_chain("plain-http1", "raw_buffer", &["http/1.0", "http/1.1"], http1()),
            self.inbound_chain("plain-http2", "raw_buffer", &["h2c"], http2()),
            self.inbound_chain("plain-tcp", "raw_buffer", &[], self.tcp()),
        ]
    }

    fn tls_chain(&self, name: &str, offered: &[&str], alpn: &[&str], filters: Vec<Value>) -> Value {
        with(
            self.inbound_chain(name, "tls", offered, filters),
            json!({"transport_socket": tls::downstream(&self.proxy, alpn)}),
        )
    }

    /// A chain for connections to the pod's own addresses: a packet for anybody else that strays
    /// in here must not be carried on in the pod's name.
    fn inbound_chain(
        &self,
        name: &str,
        transport: &str,
        alpn: &[&str],
        filters: Vec<Value>,
    ) -> Value {
        let own: Vec<IpNet> = self.proxy.addresses.iter().copied().map(IpNet::from).collect();
        chain(name, &own, Some(transport), alpn, filters)
    }

    fn mesh_chains(&self) -> Vec<Value> {
        if self.mesh.is_empty() {
            return Vec::new();
        }
        let tcp = || vec![tcp::proxy(&self.proxy.access_log, OUTBOUND, cluster::MESH_TCP)];
        let http = |codec, cluster| {
            vec![self.manager(OUTBOUND, codec, &[everything_to(cluster)]).outbound()]
        };
        let mesh = |name, transport, alpn: &[&str], filters| {
            chain(name, &self.mesh, transport, alpn, filters)
        };
        let raw = Some("raw_buffer");
        vec![
            mesh("mesh-http1", raw, &["http/1.0", "http/1.1"], http("AUTO", cluster::MESH_HTTP1)),
            mesh("mesh-http2", raw, &["h2c"], http("HTTP2", cluster::MESH_HTTP2)),
            mesh("mesh-tcp", raw, &[], tcp()),
            // The application's own TLS travels inside the mesh's.
            mesh("mesh-app-tls", None, &[], tcp()),
        ]
    }

    fn http(&self, codec: &str, cluster: &str) -> Vec<Value> {
        vec![self.manager(INBOUND, codec, &[everything_to(cluster)]).inbound(&self.authorizer)]
    }

    fn tcp(&self) -> Vec<Value> {
        let log = &self.proxy.access_log;
        tcp::authorized(log, INBOUND, cluster::APPLICATION, &self.authorizer)
    }

    fn manager<'a>(
        &'a self,
        listener: &'a str,
        codec: &'a str,
        virtual_hosts: &'a [Value],
    ) -> Manager<'a> {
        Manager { listener, access_log: &self.proxy.access_log, codec, virtual_hosts }
    }

    fn clusters(&self) -> Vec<Value> {
        let plain =
            |name, protocol| cluster::original_destination(&self.proxy, name, self.mark, protocol);
        let mesh =
            |name, protocol, alpn| cluster::mesh(&self.proxy, name, self.mark, protocol, alpn);
        let mut clusters = vec![
            cluster::blackhole(),
            cluster::authorizer(&self.proxy, &self.authorizer.socket),
            plain(cluster::APPLICATION, Protocol::Http1),
            plain(cluster::APPLICATION_HTTP2, Protocol::Http2),
            plain(cluster::PASSTHROUGH, Protocol::Http1),
        ];
        if !self.mesh.is_empty() || self.proxy.xds_dir.is_some() {
            clusters.extend([
                mesh(cluster::MESH_HTTP1, Protocol::Http1, "istio-http/1.1"),
                mesh(cluster::MESH_HTTP2, Protocol::Http2, "istio-h2"),
                mesh(cluster::MESH_TCP, Protocol::Http1, "istio"),
            ]);
        }
        clusters
    }
}

fn chain(
    name: &str,
    destinations: &[IpNet],
    transport: Option<&str>,
    alpn: &[&str],
    filters: Vec<Value>,
) -> Value {
    let ranges: Vec<Value> = destinations.iter().map(range).collect();
    let mut criteria = json!({"prefix_ranges": ranges, "application_protocols": alpn});
    if let Some(transport) = transport {
        criteria = with(criteria, json!({"transport_protocol": transport}));
    }
    json!({"name": name, "filter_chain_match": criteria, "filters": filters})
}

fn range(net: &IpNet) -> Value {
    let address: IpAddr = net.network();
    json!({"address_prefix": address, "prefix_len": net.prefix_len()})
}

/// Restores the destination the client dialled, then tells TLS from plaintext and HTTP from the
/// rest; a client that says nothing in time counts as the rest.
fn inspection(timeout: Duration) -> Value {
    json!({
        "listener_filters": [original_dst(), tls_inspector(), http_inspector()],
        "listener_filters_timeout": seconds(timeout),
        "continue_on_listener_filters_timeout": true,
    })
}

/// As [`inspection`] where only TLS is served: a client that says nothing in time is closed.
fn tls_inspection(timeout: Duration) -> Value {
    json!({
        "listener_filters": [original_dst(), tls_inspector()],
        "listener_filters_timeout": seconds(timeout),
    })
}

fn original_dst() -> Value {
    listener_filter("original_dst", "original_dst.v3.OriginalDst")
}

fn tls_inspector() -> Value {
    listener_filter("tls_inspector", "tls_inspector.v3.TlsInspector")
}

fn http_inspector() -> Value {
    listener_filter("http_inspector", "http_inspector.v3.HttpInspector")
}

fn listener_filter(name: &str, kind: &str) -> Value {
    extension(
        &format!("envoy.filters.listener.{name}"),
        &format!("envoy.extensions.filters.listener.{kind}"),
        json!({}),
    )
}
