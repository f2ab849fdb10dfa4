//! The store as objects of kinds.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tortie_store::{At, Engine, Error, Key, List, Object, Page, Resource, Scope, Store};

use crate::audit::{Audit, Refused};
use crate::auth::{Access, Credentials, Signer};
use crate::environment::Environment;
use crate::gc::Owners;
use crate::kinds::{Kind, Registry};
use crate::object;
use crate::path::Target;
use crate::places::Places;
use crate::standing::Standing;
use crate::status::Status;

/// Where the definitions of kinds are.
pub(crate) const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// How long the store may take to answer before this server is not ready.
const REACHED: Duration = Duration::from_secs(2);

/// All that requests share.
pub(crate) struct Api {
    pub(crate) store: Engine,
    pub(crate) environment: Environment,
    /// Who may do what.
    pub(crate) access: Arc<Access>,
    /// Who is who.
    pub(crate) credentials: Credentials,
    /// What knows tokens of service accounts.
    pub(crate) signer: Signer,
    /// Where changes are written down.
    pub(crate) audit: Option<Arc<Audit>>,
    /// Requests of callers who are not known.
    pub(crate) refused: Refused,
    /// Whether objects may be in namespaces that are not there.
    pub(crate) any_namespace: bool,
    /// Whether nothing is to be made of its own accord.
    pub(crate) only_reads: bool,
    /// The kinds that need no definition.
    pub(crate) built_in: Registry,
    registry: ArcSwap<Registry>,
    /// Held while the registry is made anew.
    defining: Mutex<()>,
    /// Whether policies are enforced.
    pub(crate) standing: Standing,
    /// Who would go with whom.
    pub(crate) owners: Owners,
    /// Where objects may come.
    pub(crate) places: Places,
}

impl Api {
    pub(crate) fn new(store: Engine, environment: Environment, audit: Option<Arc<Audit>>) -> Api {
        let built_in = Registry::built_in();
        let registry = ArcSwap::from_pointee(built_in.clone());
        Api {
            store,
            signer: Signer::passing(&environment),
            environment,
            access: Arc::default(),
            credentials: Credentials::default(),
            audit,
            refused: Refused::default(),
            any_namespace: false,
            only_reads: false,
            built_in,
            registry,
            defining: Mutex::new(()),
            standing: Standing::default(),
            owners: Owners::default(),
            places: Places::default(),
        }
    }

    /// The kinds as they are now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// A kind that is always there.
    pub(crate) fn kind(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Result<Arc<Kind>, Status> {
        let found = self.built_in.find(group, version, plural).cloned();
        found.ok_or_else(|| Status::internal(format!("there is no kind `{plural}`")))
    }

    /// Whether a resource needs no definition, whatever its version.
    pub(crate) fn is_built_in(&self, group: &str, plural: &str) -> bool {
        self.built_in.stored().any(|kind| kind.group == group && kind.plural == plural)
    }

    /// Reads the definitions again.
    pub(crate) async fn redefine(&self) -> Result<(), Status> {
        let _alone = self.defining.lock().await;
        let kind = self.kind(DEFINITIONS.0, "v1", DEFINITIONS.1)?;
        let page = self.all(&kind, None).await?;
        let definitions: Vec<Value> =
            page.objects.iter().map(|object| object::decode(&kind, object)).collect();
        let served = definitions.iter().filter(|definition| !object::is_terminating(definition));
        self.registry.store(Arc::new(self.built_in.with_definitions(served)));
        Ok(())
    }

    /// All objects of a kind, now.
    pub(crate) async fn all(&self, kind: &Kind, namespace: Option<&str>) -> Result<Page, Status> {
        let scope = scope(&kind.resource, namespace)?;
        self.store.list(&List { scope, at: At::Latest, limit: None }).await.map_err(reading)
    }

    /// Whether the store can be read.
    ///
    /// # Errors
    /// When it cannot, or does not answer soon. Anybody may ask, so why is only logged.
    pub(crate) async fn reach_store(&self) -> Result<(), Status> {
        let namespaces = self.kind("", "v1", "namespaces")?;
        let any = key(&namespaces, None, "default")?;
        match timeout(REACHED, self.store.get(&any)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => tracing::warn!(%error, "not ready: the store cannot be read"),
            Err(_) => tracing::warn!("not ready: the store does not answer"),
        }
        Err(Status::unavailable("the store cannot be read"))
    }

    /// An object as it is stored.
    pub(crate) async fn find(&self, kind: &Kind, key: &Key) -> Result<Arc<Object>, Status> {
        let found = self.store.get(key).await.map_err(reading)?;
        found.ok_or_else(|| Status::not_found(kind, key.name()))
    }
}

/// The key of an object.
pub(crate) fn key(kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Key, Status> {
    Key::new(kind.resource.clone(), namespace, name)
        .map_err(|error| Status::invalid_field(kind, name, "metadata.name", &error.to_string()))
}

/// The key that a request is about.
pub(crate) fn target_key(target: &Target) -> Result<Key, Status> {
    let name = target.name.as_deref().ok_or_else(Status::method_not_allowed)?;
    key(&target.kind, target.namespace.as_deref(), name)
}

pub(crate) fn scope(resource: &Resource, namespace: Option<&str>) -> Result<Scope, Status> {
    match namespace {
        None => Ok(Scope::all(resource.clone())),
        Some(namespace) => Scope::namespaced(resource.clone(), namespace)
            .map_err(|error| Status::bad_request(error.to_string())),
    }
}

/// Why something could not be read.
pub(crate) fn reading(error: Error) -> Status {
    match error {
        Error::Compacted(revision) => Status::expired(format!(
            "the resource version {revision} is too old: list again, and go on from there"
        )),
        Error::Future { asked, current } => Status::future(asked.get(), current.get()),
        error => Status::unavailable(error.to_string()),
    }
}

/// Why something could not be written.
pub(crate) fn writing(kind: &Kind, name: &str, error: Error) -> Status {
    match error {
        Error::Exists(_) => Status::exists(kind, name),
        Error::NotFound(_) => Status::not_found(kind, name),
        Error::Conflict { .. } => Status::modified(kind, name),
        error @ Error::TooLarge { .. } => Status::too_large(error.to_string()),
        error @ Error::Uncertain(_) => Status::internal(error.to_string()),
        error => reading(error),
    }
}
