//! Envoy's configuration: a pod's [`Sidecar`] and the ingress [`Gateway`].
//!
//! Both are complete bootstraps. Certificates change in a running Envoy through [`crate::sds`]; where
//! the proxy has a discovery directory, so does what depends on other pods, through the files that
//! `discovery` of either gives. The fields are those of Envoy's v3 API; what each does is in
//! `docs/design/mesh.md`, with the traps it avoids.

mod bootstrap;
mod cluster;
mod discovery;
mod gateway;
mod http;
mod log;
mod paths;
mod sidecar;
mod tcp;
mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub use bootstrap::arguments;
pub use discovery::DiscoveryFile;
pub use gateway::{Destination, Gateway, GatewayListener, PathMatch, Route, VirtualHost};
pub use sidecar::{Authorizer, MutualTls, Sidecar};

use crate::identity::TrustDomain;

/// The authorizer's deadline: generous for a machine shared by a whole lab, where Envoy's own
/// default of 200 ms was seen to turn a busy moment into a 403.
pub const DEFAULT_AUTHORIZER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long Envoy may take to reach an upstream before the client gets 503 or a closed connection.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a plaintext connection may stay silent before it counts as one that is not HTTP.
pub const DEFAULT_DETECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What every Envoy of the mesh has, whatever its role.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Envoy's node id, for its logs: `POD.NAMESPACE`.
    pub name: String,
    /// The trust domain peers must be of.
    pub trust_domain: TrustDomain,
    /// The pod's own addresses: which families to listen on, and, for a sidecar, the only
    /// destinations its inbound side serves.
    pub addresses: Vec<IpAddr>,
    /// The directory that [`crate::sds::publish`] fills, as the Envoy process sees it.
    pub sds_dir: PathBuf,
    /// The directory with the [`DiscoveryFile`]s, as the Envoy process sees it; without one, what
    /// depends on other pods is fixed when it starts.
    pub xds_dir: Option<PathBuf>,
    /// Where the admin interface listens; nowhere if absent.
    pub admin: Option<Admin>,
    /// Where access logs go, one JSON object a line; `/dev/stdout` works.
    pub access_log: PathBuf,
    /// How long a connection to an upstream may take.
    pub connect_timeout: Duration,
}

/// Where Envoy's admin interface listens. Whoever reaches it can stop the proxy and read its
/// configuration, so it is never on an address other pods can dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// A Unix socket of mode 0600.
    Socket(PathBuf),
    /// A port of the pod's loopback address.
    Loopback(u16),
}

/// Why a configuration was refused before Envoy saw it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Envoy would resolve the path against its working directory, or through `..`.
    #[error("{what} `{}`: must be an absolute path without `..`", path.display())]
    NotAbsolute {
        /// Which input.
        what: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// Something other than a secret would live in the directory Envoy watches, and an Envoy that
    /// logs there wakes itself up with each line.
    #[error(
        "{what} `{}`: lies in the watched directory `{}`, which must hold nothing but secrets",
        path.display(), watched.display()
    )]
    Watched {
        /// Which input.
        what: &'static str,
        /// Its value.
        path: PathBuf,
        /// The SDS directory.
        watched: PathBuf,
    },
    /// The kernel's limit for Unix sockets.
    #[error("{what} `{}`: is longer than the 107 bytes a Unix socket's path may have", path.display())]
    SocketTooLong {
        /// Which input.
        what: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// A proxy without an address can listen on no family.
    #[error("addresses: a proxy needs at least one address of its pod")]
    NoAddress,
    /// Two gateway listeners on one port.
    #[error("listeners: port {0} is given twice; give its hosts to one listener")]
    DuplicatePort(u16),
    /// A virtual host that can never match.
    #[error("host `{0}`: must be `*`, `*.SUFFIX` or a name without a port")]
    Host(String),
    /// A path that can match no request.
    #[error("path `{0}`: must start with `/`")]
    Path(String),
}
