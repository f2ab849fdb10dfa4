//! Objects that go with their owners.
//!
//! One follower for each resource keeps a small index: only objects that say they have an owner
//! are in it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tortie_store::{Error, Event, Key, List, Object, Resource, Scope, Store, Watch, When};

use crate::api::{Api, key, reading, writing};
use crate::auth::Change;
use crate::defaults::CALICO;
use crate::kinds::Kind;
use crate::object::{self, text};
use crate::path::Target;
use crate::places::is_definition;
use crate::status::Status;
use crate::write::{Deletion, TRIES};

/// Pause before a store that could not be read is read again.
const PAUSE: Duration = Duration::from_secs(1);

/// Who would go with whom, by the owner's uid.
#[derive(Default)]
pub(crate) struct Owners {
    dependents: Mutex<HashMap<String, BTreeSet<Key>>>,
    /// Resources that are followed.
    followed: Mutex<HashSet<Resource>>,
}

/// Whether the text of an object may say that it has an owner: most do not, and need not be read.
fn may_have_owners(object: &Object) -> bool {
    const FIELD: &[u8] = b"ownerReferences";
    object.value.windows(FIELD.len()).any(|window| window == FIELD)
}

fn references(document: &Value) -> &[Value] {
    let references = document.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.map_or(&[], Vec::as_slice)
}

fn owners_of(object: &Object) -> Vec<String> {
    if !may_have_owners(object) {
        return Vec::new();
    }
    let document: Value = serde_json::from_slice(&object.value).unwrap_or_default();
    references(&document).iter().map(|one| text(one, "/uid").to_owned()).collect()
}

impl Owners {
    fn add(&self, object: &Object) -> bool {
        let owners = owners_of(object);
        let mut dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in &owners {
            dependents.entry(owner.clone()).or_default().insert(object.key.clone());
        }
        !owners.is_empty()
    }

    fn remove(&self, object: &Object) {
        let mut dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in owners_of(object) {
            if let Some(keys) = dependents.get_mut(&owner) {
                keys.remove(&object.key);
                if keys.is_empty() {
                    dependents.remove(&owner);
                }
            }
        }
    }

    fn of(&self, uid: &str) -> Vec<Key> {
        let dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
        dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    fn begin(&self, resource: &Resource) -> bool {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.clone())
    }
}

impl Api {
    /// Follows every resource that is stored and not followed yet.
    pub(crate) fn follow_owners(self: &Arc<Self>) {
        for kind in self.registry().stored() {
            if self.owners.begin(&kind.resource) {
                let (api, kind) = (self.clone(), kind.clone());
                tokio::spawn(async move { api.follow(&kind).await });
            }
        }
    }

    /// Follows one resource until the store is closed; begins anew when changes were missed, or the
    /// store could not be read.
    async fn follow(self: &Arc<Self>, kind: &Kind) {
        loop {
            match self.follow_once(kind).await {
                Error::Closed => return,
                Error::Compacted(_) => {}
                error => {
                    tracing::debug!(%error, kind = %kind.plural, "to be followed again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Looks at all there is, then at every change; gives what ended it.
    async fn follow_once(self: &Arc<Self>, kind: &Kind) -> Error {
        let scope = Scope::all(kind.resource.clone());
        let page = match self.store.list(&List::latest(scope.clone())).await {
            Ok(page) => page,
            Err(error) => return error,
        };
        for object in &page.objects {
            if self.owners.add(object) {
                self.collect(&object.key).await;
            }
        }
        self.note_choice(kind).await;
        self.note_rights(kind);
        match self.store.watch(&scope, page.revision).await {
            Ok(watch) => self.note(kind, watch).await,
            Err(error) => error,
        }
    }

    /// Applies changes until there are no more.
    async fn note(self: &Arc<Self>, kind: &Kind, mut watch: Watch) -> Error {
        loop {
            match watch.next().await {
                Err(error) => return error,
                Ok(event) => {
                    self.note_one(&event).await;
                    self.note_choice(kind).await;
                    if matches!(&*event, Event::Delete { .. }) || kind.is(CALICO, "Tier") {
                        self.note_rights(kind);
                    }
                }
            }
        }
    }

    /// Another server may have taken a change that this one has to know of.
    async fn note_choice(self: &Arc<Self>, kind: &Kind) {
        // What cannot be read now is read with the next change.
        if is_definition(kind) {
            let _ = self.redefine().await;
            self.follow_owners();
        }
        if kind.is("tortie.dev", "TortieConfiguration") {
            let _ = self.compat().await;
        }
    }

    /// Beside roles, rights rest on service accounts, and on tiers, by which policies are seen.
    fn note_rights(&self, kind: &Kind) {
        if kind.is("", "ServiceAccount") || kind.is(CALICO, "Tier") {
            self.access.touch();
        }
    }

    async fn note_one(self: &Arc<Self>, event: &Event) {
        match event {
            Event::Put { object, previous } => {
                if let Some(previous) = previous {
                    self.owners.remove(previous);
                }
                // Its owner may have gone before it came.
                if self.owners.add(object) && previous.is_none() {
                    self.collect(&object.key).await;
                }
            }
            Event::Delete { last, .. } => {
                self.owners.remove(last);
                let gone: Value = serde_json::from_slice(&last.value).unwrap_or_default();
                for dependent in self.owners.of(object::uid(&gone)) {
                    self.collect(&dependent).await;
                }
            }
        }
    }

    /// Deletes an object if all its owners are gone.
    async fn collect(self: &Arc<Self>, dependent: &Key) {
        let Ok(Some(found)) = self.store.get(dependent).await else { return };
        let document: Value = serde_json::from_slice(&found.value).unwrap_or_default();
        let references = references(&document);
        if references.is_empty() {
            return;
        }
        for reference in references {
            if self.is_there(reference, dependent.namespace()).await {
                return;
            }
        }
        self.remove(dependent, object::uid(&document)).await;
    }

    /// Deletes the object that has a uid, and leaves another one of its name.
    pub(crate) async fn remove(self: &Arc<Self>, key: &Key, uid: &str) {
        let registry = self.registry();
        let Some(kind) = registry.stored().find(|kind| kind.resource == *key.resource()) else {
            return;
        };
        let target = Target {
            kind: kind.clone(),
            namespace: key.namespace().map(str::to_owned),
            name: Some(key.name().to_owned()),
            subresource: None,
        };
        let act = self.own_act("delete");
        let author = act.clone().into();
        let deletion = Deletion { uid: Some(uid.to_owned()), author, ..Deletion::default() };
        let deleted = self.delete(&target, &deletion).await;
        let code = deleted.as_ref().map_or_else(Status::code, |_| StatusCode::OK);
        act.ended(&target, code.as_u16(), deleted.as_ref().err());
        if let Err(status) = deleted
            && status.code() != 404
        {
            let why = status.document();
            tracing::warn!(object = %key, why = text(&why, "/message"), "not deleted with its owner");
        }
    }

    /// Whether an owner is there. One of a kind that is not served may be.
    async fn is_there(&self, reference: &Value, namespace: Option<&str>) -> bool {
        let registry = self.registry();
        let (version, kind) = (text(reference, "/apiVersion"), text(reference, "/kind"));
        let Some(kind) = registry.of_object(version, kind) else { return true };
        let namespace = namespace.filter(|_| kind.namespaced);
        let Ok(key) = key(kind, namespace, text(reference, "/name")) else { return false };
        match self.store.get(&key).await {
            Ok(Some(owner)) => {
                object::uid(&object::decode(kind, &owner)) == text(reference, "/uid")
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Lets those that an object owns stay without it. All objects are looked at: the index may not
    /// have the latest yet.
    pub(crate) async fn orphan(&self, uid: &str) -> Result<(), Status> {
        for kind in self.registry().stored() {
            let page = self.all(kind, None).await?;
            for found in page.objects.iter().filter(|one| owners_of(one).iter().any(|o| o == uid)) {
                self.disown(kind, &found.key, uid).await?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Takes an owner from an object, whoever else changes it meanwhile.
    async fn disown(&self, kind: &Kind, key: &Key, uid: &str) -> Result<(), Status> {
        for _ in 0..TRIES {
            let found = self.store.get(key).await.map_err(reading)?;
            let owned = found.filter(|found| owners_of(found).iter().any(|owner| owner == uid));
            let Some(found) = owned else { return Ok(()) };
            let old: Value = serde_json::from_slice(&found.value).unwrap_or_default();
            let mut document = old.clone();
            let metadata = object::fields(&mut document, "metadata");
            if let Some(Value::Array(all)) = metadata.get_mut("ownerReferences") {
                all.retain(|one| text(one, "/uid") != uid);
            }
            let change = Change { kind, old: Some(&old), new: Some(&document), dry_run: false };
            let put = async {
                let when = When::At(found.modified);
                let put = self.store.put(key, object::encode(&document), when).await;
                put.map_err(|error| writing(kind, key.name(), error))
            };
            match self.own_write("patch", &change, put).await {
                Err(status) if status.code() == 409 || status.code() == 404 => {}
                written => return written.map(drop),
            }
        }
        Err(Status::modified(kind, key.name()))
    }
}
