//! The Envoy of a pod: its configuration, and what it sees of the machine.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tortie_mesh::DEFAULT_MARK;
use tortie_mesh::envoy::{
    Admin, Authorizer, DEFAULT_AUTHORIZER_TIMEOUT, DEFAULT_DETECT_TIMEOUT, Gateway,
    GatewayListener, MutualTls, Proxy, Sidecar,
};
use tortie_mesh::identity::TrustDomain;

use super::service::ServicePlan;
use super::{PodId, PodPlan, TRUST_DOMAIN};

/// How long Envoy waits for a connection, each time it tries. On one machine whoever does not answer at
/// once was forbidden to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Paths as the processes of a sidecar see them.
pub(crate) mod view {
    /// Envoy's bootstrap.
    pub(crate) const BOOTSTRAP: &str = "/etc/envoy/bootstrap.json";
    /// Certificates; watched by Envoy, so nothing else is here.
    pub(crate) const SDS: &str = "/etc/envoy/sds";
    /// Listeners and clusters; watched by Envoy too.
    pub(crate) const XDS: &str = "/etc/envoy/xds";
    /// Sockets.
    pub(crate) const RUN: &str = "/run/tortie";
    /// The authorizer's socket.
    pub(crate) const AUTHORIZER_SOCKET: &str = "/run/tortie/authz.sock";
    /// Envoy's admin socket.
    pub(crate) const ADMIN_SOCKET: &str = "/run/tortie/admin.sock";
    /// The folder of the socket over which the authorizer is told its policy, where Calico's driver
    /// mounts it.
    pub(crate) const POLICY_SYNC: &str = "/var/run/felix/nodeagent";
    /// That socket.
    pub(crate) const POLICY_SYNC_SOCKET: &str = "/var/run/felix/nodeagent/socket";
    /// The folder of the hosts file, which changes while containers run.
    pub(crate) const NAMES: &str = "/etc/names";
    /// The Envoy binary.
    pub(crate) const ENVOY: &str = "/opt/tortie/envoy";
    /// Tortie's own binary.
    pub(crate) const TORTIE: &str = "/opt/tortie/tortie";
}

/// What the containers of Envoy and authorizer have for images.
pub(crate) mod images {
    /// A sidecar's Envoy.
    pub(crate) const SIDECAR: &str = "tortie.dev/istio-proxy";
    /// The authorizer beside it.
    pub(crate) const AUTHORIZER: &str = "tortie.dev/tortie-authz";
    /// The ingress gateway.
    pub(crate) const GATEWAY: &str = "tortie.dev/ingress-gateway";
}

/// The Envoy of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ProxyPlan {
    /// Everything that enters or leaves the pod passes it.
    Sidecar {
        /// The rules that see to that.
        redirect: String,
    },
    /// It is what the pod is for: the ingress gateway.
    Gateway,
}

/// What Envoys have in common.
fn proxy(pod: &PodId, addresses: &[IpAddr]) -> Result<Proxy, String> {
    let trust_domain: TrustDomain =
        TRUST_DOMAIN.parse().map_err(|error| format!("trust domain: {error}"))?;
    Ok(Proxy {
        name: format!("{}.{}", pod.name, pod.namespace),
        trust_domain,
        addresses: addresses.to_vec(),
        sds_dir: view::SDS.into(),
        xds_dir: Some(view::XDS.into()),
        admin: Some(Admin::Socket(view::ADMIN_SOCKET.into())),
        access_log: "/dev/stdout".into(),
        connect_timeout: CONNECT_TIMEOUT,
    })
}

/// The configuration of a pod's sidecar among these pods and Services.
pub(crate) fn sidecar(
    pod: &PodPlan,
    mtls: MutualTls,
    pods: &[&PodPlan],
    services: &[ServicePlan],
) -> Result<Sidecar, String> {
    let meshed_pods = pods.iter().filter(|pod| pod.has_sidecar()).flat_map(|p| &p.link.addresses);
    let meshed_services = services.iter().filter(|s| s.meshed()).flat_map(|s| &s.addresses);
    Ok(Sidecar {
        proxy: proxy(&pod.id, &pod.link.addresses)?,
        mtls,
        authorizer: Authorizer {
            socket: view::AUTHORIZER_SOCKET.into(),
            timeout: DEFAULT_AUTHORIZER_TIMEOUT,
        },
        mesh: meshed_pods.chain(meshed_services).copied().map(Into::into).collect(),
        mark: DEFAULT_MARK,
        detect_timeout: DEFAULT_DETECT_TIMEOUT,
    })
}

/// The configuration of the ingress gateway.
pub(crate) fn gateway(pod: &PodPlan, listeners: Vec<GatewayListener>) -> Result<Gateway, String> {
    Ok(Gateway { proxy: proxy(&pod.id, &pod.link.addresses)?, listeners })
}
