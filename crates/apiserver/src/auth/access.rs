//! What callers may do, by the roles that the store holds: followed, so that a request is decided
//! without asking the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use smol_str::SmolStr;
use tokio::sync::watch;
use tortie_store::{Error, Event, Object, Revision, Store, Watch};

use super::caller::Caller;
use super::rbac::{Binding, Deed, Id, Role, Roles};
use crate::api::{Api, scope};
use crate::kinds::Kind;
use crate::object;
use crate::status::Status;

/// The group of roles and bindings.
pub(crate) const RBAC: &str = "rbac.authorization.k8s.io";

/// Plural names of what is followed.
const FOLLOWED: [&str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

/// Pause before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a writer waits for what it wrote to count.
const PATIENCE: Duration = Duration::from_secs(5);

/// Decides what callers may do.
pub(crate) struct Access {
    roles: ArcSwap<Roles>,
    /// Up to which revision each of [`FOLLOWED`] counts.
    reached: [watch::Sender<u64>; FOLLOWED.len()],
    /// Counts what may have changed somebody's rights.
    changes: watch::Sender<u64>,
}

impl Default for Access {
    fn default() -> Access {
        let reached = std::array::from_fn(|_| watch::Sender::new(0));
        Access { roles: ArcSwap::default(), reached, changes: watch::Sender::new(0) }
    }
}

/// Roles and bindings as documents were read.
#[derive(Default)]
struct Known {
    roles: HashMap<Id, Arc<Role>>,
    bindings: HashMap<Id, Binding>,
}

impl Known {
    fn put(&mut self, kind: &Kind, object: &Object) {
        let (id, document) = (id(object), object::decode(kind, object));
        if kind.plural.ends_with("bindings") {
            self.bindings.insert(id, Binding::read(&document));
        } else {
            self.roles.insert(id, Arc::new(Role::read(&document)));
        }
    }

    fn remove(&mut self, kind: &Kind, object: &Object) {
        let id = id(object);
        if kind.plural.ends_with("bindings") {
            self.bindings.remove(&id);
        } else {
            self.roles.remove(&id);
        }
    }

    /// Forgets all of a kind.
    fn clear(&mut self, kind: &Kind) {
        let stays = |id: &Id| id.0.is_some() != kind.namespaced;
        if kind.plural.ends_with("bindings") {
            self.bindings.retain(|id, _| stays(id));
        } else {
            self.roles.retain(|id, _| stays(id));
        }
    }
}

fn id(object: &Object) -> Id {
    (object.key.namespace().map(SmolStr::new), object.key.name().into())
}

impl Access {
    /// Roles that nobody follows.
    #[cfg(test)]
    pub(super) fn of(roles: Roles) -> Access {
        Access { roles: ArcSwap::from_pointee(roles), ..Access::default() }
    }

    /// The roles as they are now.
    pub(crate) fn roles(&self) -> Arc<Roles> {
        self.roles.load_full()
    }

    /// Tells of what may have changed somebody's rights, by a number that grows.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Has rights that last asked for again.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|number| *number = number.wrapping_add(1));
    }

    /// Whether somebody may do something.
    ///
    /// # Errors
    /// If not: which grant is missing.
    pub(crate) fn permit(&self, caller: &Caller, deed: &Deed<'_>) -> Result<(), Status> {
        if self.roles().allow(caller, deed) { Ok(()) } else { Err(refusal(caller, deed)) }
    }

    /// Whether somebody may ask for a path that is no resource.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn permit_path(
        &self,
        caller: &Caller,
        verb: &str,
        path: &str,
    ) -> Result<(), Status> {
        if self.roles().allow_path(caller, verb, path) {
            return Ok(());
        }
        let user = &caller.user;
        let missing = format!("missing grant: {verb} nonResourceURL {path:?}");
        Err(Status::denied(format!(
            "forbidden: User {user:?} cannot {verb} path {path:?}: {missing}"
        )))
    }

    /// Waits until a change of roles or bindings counts, so that whoever made it can rely on it.
    pub(crate) async fn settle(&self, kind: &Kind, revision: u64) {
        let place = FOLLOWED.iter().position(|plural| kind.group == RBAC && kind.plural == *plural);
        if let Some(reached) = place.and_then(|place| self.reached.get(place)) {
            let mut reached = reached.subscribe();
            // Without it the change counts a little later.
            let _ = tokio::time::timeout(PATIENCE, reached.wait_for(|at| *at >= revision)).await;
        }
    }
}

/// A refusal that says which grant is missing, in Kubernetes' words as far as they go.
pub(crate) fn refusal(caller: &Caller, deed: &Deed<'_>) -> Status {
    let Deed { verb, group, resource, namespace, name } = *deed;
    let place = match namespace {
        Some(namespace) => format!(" in the namespace {namespace:?}"),
        None => " at the cluster scope".to_owned(),
    };
    let qualified =
        if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
    let only = if name.is_empty() { String::new() } else { format!(" resourceName {name:?}") };
    Status::denied(format!(
        "{qualified}{named} is forbidden: User {:?} cannot {verb} resource {resource:?} in API group \
         {group:?}{place}: missing grant: verb {verb:?} apiGroup {group:?} resource \
         {resource:?}{only}{place}",
        caller.user
    ))
    .of(group, resource, name)
}

impl Api {
    /// Follows roles and bindings until the store is closed. When this returns, those that there are
    /// count.
    pub(crate) async fn follow_roles(self: &Arc<Self>) -> Result<(), Status> {
        let known = Arc::new(tokio::sync::Mutex::new(Known::default()));
        for (place, plural) in FOLLOWED.into_iter().enumerate() {
            let kind = self.kind(RBAC, "v1", plural)?;
            let revision = self.read_roles(&known, &kind, place).await?;
            let (api, known) = (self.clone(), known.clone());
            tokio::spawn(async move { api.keep_roles(&known, &kind, place, revision).await });
        }
        Ok(())
    }

    async fn read_roles(
        &self,
        known: &tokio::sync::Mutex<Known>,
        kind: &Kind,
        place: usize,
    ) -> Result<Revision, Status> {
        let page = self.all(kind, None).await?;
        let mut known = known.lock().await;
        known.clear(kind);
        page.objects.iter().for_each(|object| known.put(kind, object));
        self.publish_roles(&known, place, page.revision);
        Ok(page.revision)
    }

    fn publish_roles(&self, known: &Known, place: usize, revision: Revision) {
        let roles = Roles::new(&known.roles, known.bindings.values());
        self.access.roles.store(Arc::new(roles));
        // Before whoever changed them is answered: no watch tells of what is changed after that.
        self.access.touch();
        if let Some(reached) = self.access.reached.get(place) {
            reached.send_replace(revision.get());
        }
    }

    /// Applies changes; lists again when some were missed. While the store cannot be read, what was
    /// known last counts: nothing else can be read then either.
    async fn keep_roles(
        &self,
        known: &tokio::sync::Mutex<Known>,
        kind: &Kind,
        place: usize,
        mut revision: Revision,
    ) {
        loop {
            match self.watch_roles(known, kind, place, revision).await {
                Error::Closed => return,
                error => tracing::warn!(%error, kind = %kind.plural, "roles are read again"),
            }
            loop {
                tokio::time::sleep(PAUSE).await;
                match self.read_roles(known, kind, place).await {
                    Ok(read) => {
                        revision = read;
                        break;
                    }
                    Err(status) => {
                        let why = status.document();
                        let why = object::text(&why, "/message");
                        tracing::warn!(why, kind = %kind.plural, "roles cannot be read");
                    }
                }
            }
        }
    }

    async fn watch_roles(
        &self,
        known: &tokio::sync::Mutex<Known>,
        kind: &Kind,
        place: usize,
        after: Revision,
    ) -> Error {
        let Ok(scope) = scope(&kind.resource, None) else { return Error::Closed };
        let mut watch: Watch = match self.store.watch(&scope, after).await {
            Ok(watch) => watch,
            Err(error) => return error,
        };
        loop {
            let event = match watch.next().await {
                Ok(event) => event,
                Err(error) => return error,
            };
            let mut known = known.lock().await;
            match &*event {
                Event::Put { object, .. } => known.put(kind, object),
                Event::Delete { last, .. } => known.remove(kind, last),
            }
            self.publish_roles(&known, place, event.revision());
        }
    }
}

/// The namespace of a document, if it has one.
pub(super) fn namespace(document: &Value) -> Option<&str> {
    Some(object::text(document, "/metadata/namespace")).filter(|namespace| !namespace.is_empty())
}
