//! Namespaces and tiers: places that objects come into. Nothing comes into one that is not there or
//! is marked to go, and one goes only with nothing left in it, whichever server is asked.
//!
//! The write of a new object rests on its places as this server saw them last. If they are not so any
//! more, the store refuses it, and they are looked at again; so they are not read before each write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tortie_store::{Error, Key, Object, Revision, Store, When};

use crate::api::{Api, DEFINITIONS, key, reading, writing};
use crate::defaults::{self, CALICO, TIERED};
use crate::kinds::Kind;
use crate::object::{self, text};
use crate::prepare;
use crate::status::{Status, success};
use crate::write::TRIES;

/// Most places that are remembered: a hundred bytes each.
const MOST: usize = 10_000;

pub(crate) fn is_definition(kind: &Kind) -> bool {
    kind.is(DEFINITIONS.0, "CustomResourceDefinition")
}

/// Whether objects of other kinds come into those of a kind.
pub(crate) fn is_place(kind: &Kind) -> bool {
    kind.is("", "Namespace") || kind.is(CALICO, "Tier") || is_definition(kind)
}

/// Places that were there and not to go, by the revision at which they were so.
#[derive(Default)]
pub(crate) struct Places(Mutex<HashMap<Key, Revision>>);

impl Places {
    fn seen(&self) -> MutexGuard<'_, HashMap<Key, Revision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, place: Key, revision: Revision) {
        let mut seen = self.seen();
        if seen.len() >= MOST {
            seen.clear();
        }
        seen.insert(place, revision);
    }

    /// Has a place looked at again.
    pub(crate) fn forget(&self, place: &Key) {
        self.seen().remove(place);
    }
}

impl Api {
    /// Puts a new object into its places.
    ///
    /// # Errors
    /// When a place is not there or is to go, or the object cannot be written.
    pub(crate) async fn put_in_place(
        &self,
        kind: &Kind,
        key: &Key,
        document: &Value,
    ) -> Result<Arc<Object>, Status> {
        let value = object::encode(document);
        for _ in 0..TRIES {
            let when = When::Absent.with(self.places(kind, document).await?);
            match self.store.put(key, value.clone(), when).await {
                Err(Error::Changed(place)) => self.places.forget(&place),
                put => return put.map_err(|error| writing(kind, key.name(), error)),
            }
        }
        Err(Status::unavailable("its namespace or its tier is changed all the time"))
    }

    /// The places of a document, as they must stay for a write that brings it there.
    ///
    /// # Errors
    /// When one is not there or is to go.
    pub(crate) async fn places(
        &self,
        kind: &Kind,
        document: &Value,
    ) -> Result<Vec<(Key, Revision)>, Status> {
        let mut places = Vec::new();
        for (what, place) in self.places_of(kind, document)? {
            let seen = self.places.seen().get(&place).copied();
            let revision = match seen {
                Some(revision) => Some(revision),
                None => self.look_at(&what, &place, kind, document).await?,
            };
            places.extend(revision.map(|revision| (place, revision)));
        }
        Ok(places)
    }

    /// Whether a document's places are there and stay, as of now.
    ///
    /// # Errors
    /// When one is not, or does not.
    pub(crate) async fn look_at_places(&self, kind: &Kind, document: &Value) -> Result<(), Status> {
        for (what, place) in self.places_of(kind, document)? {
            self.look_at(&what, &place, kind, document).await?;
        }
        Ok(())
    }

    /// The kinds and keys of a document's places.
    fn places_of(&self, kind: &Kind, document: &Value) -> Result<Vec<(Arc<Kind>, Key)>, Status> {
        let mut places = Vec::new();
        if kind.namespaced {
            let namespaces = self.kind("", "v1", "namespaces")?;
            let namespace = key(&namespaces, None, text(document, "/metadata/namespace"))?;
            places.push((namespaces, namespace));
        }
        if defaults::is_tiered(kind) {
            let tiers = self.kind(CALICO, "v3", "tiers")?;
            let tier = key(&tiers, None, defaults::tier_of(document))?;
            places.push((tiers, tier));
        }
        Ok(places)
    }

    /// The revision at which a place is there and stays; none if it need not be there.
    async fn look_at(
        &self,
        what: &Kind,
        place: &Key,
        kind: &Kind,
        document: &Value,
    ) -> Result<Option<Revision>, Status> {
        let found = match self.find(what, place).await {
            Err(status)
                if status.code() == 404 && self.any_namespace && what.is("", "Namespace") =>
            {
                return Ok(None);
            }
            found => found?,
        };
        if object::is_terminating(&object::decode(what, &found)) {
            let (place, what) = (place.name(), what.kind.to_lowercase());
            let why = format!(
                "unable to create new content in {what} {place} because it is being terminated"
            );
            return Err(Status::forbidden(kind, object::name(document), &why));
        }
        self.places.note(place.clone(), found.modified);
        Ok(Some(found.modified))
    }

    /// Some policy of a tier.
    pub(crate) async fn policy_of_tier(&self, tier: &str) -> Result<Option<String>, Status> {
        for plural in TIERED {
            let kind = self.kind(CALICO, "v3", plural)?;
            let page = self.all(&kind, None).await?;
            let mut documents = page.objects.iter().map(|object| object::decode(&kind, object));
            let of_tier = |document: &Value| defaults::tier_of(document) == tier;
            if let Some(found) = documents.find(of_tier) {
                return Ok(Some(format!("{} `{}`", kind.kind, object::name(&found))));
            }
        }
        Ok(None)
    }

    /// Deletes a tier that has been marked to go, so that nothing comes into it any more; but takes the
    /// mark away if a policy had come before.
    ///
    /// # Errors
    /// When it stays for a policy, or cannot be deleted.
    pub(crate) async fn end_tier(
        &self,
        kind: &Kind,
        key: &Key,
        uid: &str,
    ) -> Result<Value, Status> {
        for _ in 0..TRIES {
            let current = self.store.get(key).await.map_err(reading)?;
            let current = current.map(|current| (object::decode(kind, &current), current.modified));
            let Some((mut tier, at)) = current.filter(|(tier, _)| object::uid(tier) == uid) else {
                return Ok(success(kind, key.name(), uid));
            };
            if !object::is_terminating(&tier) {
                return Err(Status::modified(kind, key.name()));
            }
            let policy = self.policy_of_tier(key.name()).await?;
            if policy.is_none() && object::has_finalizers(&tier) {
                return Ok(tier);
            }
            let when = When::At(at);
            let written = if policy.is_some() {
                prepare::staying(&mut tier);
                self.store.put(key, object::encode(&tier), when).await.map(drop)
            } else {
                self.store.delete(key, when).await.map(drop)
            };
            match (written, policy) {
                (Ok(()), None) => return Ok(success(kind, key.name(), uid)),
                (Ok(()), Some(policy)) => return Err(has_policy(kind, key.name(), &policy)),
                (Err(Error::Conflict { .. } | Error::NotFound(_)), _) => {}
                (Err(error), _) => return Err(writing(kind, key.name(), error)),
            }
        }
        Err(Status::modified(kind, key.name()))
    }
}

/// That a tier may not be deleted.
pub(crate) fn has_policy(kind: &Kind, tier: &str, policy: &str) -> Status {
    let why = format!("the tier has policies, {policy} among them: delete them first");
    Status::conflict(kind, tier, &why)
}
