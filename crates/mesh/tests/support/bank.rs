//! Pods with real sidecars on one node.

use std::net::IpAddr;
use std::path::Path;

use tempfile::TempDir;
use tortie_mesh::ca::Authority;
use tortie_mesh::envoy::MutualTls;
use tortie_mesh::redirect::Redirect;
use tortie_mesh::sds;

use super::authorizer::FakeAuthorizer;
use super::net::{self, Node, Pod};
use super::proxy::RunningEnvoy;

/// A pod with a sidecar.
pub struct Meshed {
    /// The pod.
    pub pod: Pod,
    /// Its Envoy.
    pub envoy: RunningEnvoy,
    /// The files of its Envoy.
    pub dir: TempDir,
}

/// Two meshed pods and one that is not.
pub struct Bank {
    /// Who signed the pods' certificates.
    pub authority: Authority,
    /// The server.
    pub database: Meshed,
    /// The client.
    pub customer: Meshed,
    /// The pod without a sidecar.
    pub attack: Pod,
    /// What routes between them.
    pub node: Node,
}

impl Bank {
    /// Pods that are ready; nothing where namespaces or Envoy are missing.
    pub fn new(mtls: MutualTls) -> Option<Self> {
        let envoy = super::envoy()?;
        if !net::possible() {
            return None;
        }
        let authority = super::authority();
        let mut node = Node::new();
        let (database, customer, attack) = (node.pod(), node.pod(), node.pod());
        let mesh: Vec<String> =
            [&database, &customer].iter().flat_map(|pod| pod.addresses()).map(host_net).collect();
        let meshed = |name, pod| Meshed::new(&envoy, &authority, name, pod, mtls, &mesh);
        let (database, customer) = (meshed("database", database), meshed("customer", customer));
        Some(Self { database, customer, authority, attack, node })
    }

    /// The database's authorizer; the customer's would never be asked anything.
    pub fn authorizer(&self) -> FakeAuthorizer {
        FakeAuthorizer::start(&self.database.dir.path().join("authz.sock"))
    }
}

impl Meshed {
    fn new(
        envoy: &Path,
        authority: &Authority,
        name: &str,
        pod: Pod,
        mtls: MutualTls,
        mesh: &[String],
    ) -> Self {
        let dir = TempDir::new().unwrap();
        sds::publish(&dir.path().join("sds"), &super::issue(authority, name)).unwrap();
        let mesh: Vec<&str> = mesh.iter().map(String::as_str).collect();
        let proxy = super::proxy(name, &pod.addresses(), dir.path());
        let sidecar = super::sidecar(proxy, dir.path(), mtls, &mesh);
        pod.namespace.load(&Redirect::default().ruleset());
        let bootstrap = sidecar.bootstrap().unwrap();
        let envoy = RunningEnvoy::start(envoy, &pod.namespace, &bootstrap, dir.path());
        Self { pod, envoy, dir }
    }
}

fn host_net(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}
