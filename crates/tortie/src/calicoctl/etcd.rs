//! etcd itself as the datastore: an API server of this process alone, over the etcd, so that what is
//! admitted and how it is stored are the same as everywhere.

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tortie_apiserver::{Door, Options};
use tortie_client::server::{Place, Server};
use tortie_daemon::shutdown::{self, Trigger};
use tortie_store::{Engine, EtcdOptions, Tls};

use super::config::Etcd;
use crate::output::Failure;
use crate::remote;

/// The server, which ends with this.
pub(super) struct Local {
    folder: TempDir,
    _trigger: Trigger,
    serving: JoinHandle<()>,
}

impl Local {
    /// Connects to etcd and serves it on a socket that only we can open. Who does not write finds
    /// etcd as it was afterwards.
    pub(super) async fn start(etcd: &Etcd, writes: bool) -> Result<Local, Failure> {
        let fail = |error: &dyn std::fmt::Display| Failure::unreachable(format!("etcd: {error}"));
        let store = tortie_store::Etcd::connect(options(etcd)?).await;
        let store = store.map_err(|error| match error.to_string() {
            why if why.contains("user name is empty") => {
                fail(&why).hint("it has users: set ETCD_USERNAME and ETCD_PASSWORD")
            }
            why => fail(&why),
        })?;
        let folder = tempfile::tempdir()?;
        let door = Door::Unix(folder.path().join("api.sock"));
        // Namespaces are Kubernetes' own and need not be here.
        let options = Options { any_namespace: true, only_reads: !writes, ..Options::default() };
        let server = tortie_apiserver::Server::start([door], Engine::Etcd(store), options).await;
        let server = server.map_err(|error| fail(&error))?;
        let (trigger, drain) = shutdown::drain();
        let serving = tokio::spawn(server.serve(drain));
        Ok(Local { folder, _trigger: trigger, serving })
    }

    /// The way to it.
    pub(super) async fn server(&self) -> Result<Server, Failure> {
        let socket = self.folder.path().join("api.sock");
        let server = Some(format!("unix://{}", socket.display()));
        let connected = Server::connect(&Place { server, ..Place::default() }).await;
        connected.map_err(|error| remote::failure("etcd", &error))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn options(etcd: &Etcd) -> Result<EtcdOptions, Failure> {
    let tls = match &etcd.authority {
        None if etcd.identity.is_some() => {
            let failure = Failure::invalid("etcd: a certificate is given, but no authority");
            return Err(failure.hint("set ETCD_CA_CERT_FILE, or `etcdCACertFile`"));
        }
        None => None,
        Some(authority) => {
            let identity = match &etcd.identity {
                Some((certificate, key)) => Some((certificate.read()?, key.read()?)),
                None => None,
            };
            Some(Tls { ca: authority.read()?, identity })
        }
    };
    let user = etcd.user.clone();
    Ok(EtcdOptions { tls, user, ..EtcdOptions::new(etcd.endpoints.clone()) })
}
