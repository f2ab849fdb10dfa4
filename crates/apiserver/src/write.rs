//! Creating, changing and deleting.

use std::sync::Arc;

use serde_json::{Value, json};
use tortie_store::{Error, Key, Object, Revision, Store, When};

use crate::api::{Api, key, scope, target_key, writing};
use crate::auth::{Author, Change};
use crate::defaults::{self, CALICO};
use crate::kinds::Kind;
use crate::object;
use crate::path::Target;
use crate::places::{has_policy, is_definition, is_place};
use crate::prepare::{self, Part};
use crate::query::Query;
use crate::standards;
use crate::status::{Status, success};

/// How often a change is made anew because somebody else was faster.
pub(crate) const TRIES: usize = 64;

/// How often a name is made up.
const NAMES: usize = 8;

/// Under which conditions, and how, something is deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletion {
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) dry_run: bool,
    /// Whether those that it owns stay.
    pub(crate) orphan: bool,
    /// On whose behalf.
    pub(crate) author: Author,
}

impl Deletion {
    /// From the query, and from the body if there is one.
    pub(crate) fn read(query: &Query, body: &Value) -> Result<Deletion, Status> {
        let text = |pointer: &str| {
            Some(object::text(body, pointer)).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let mut dry_run = query.dry_run;
        for value in body.get("dryRun").and_then(Value::as_array).into_iter().flatten() {
            dry_run |= crate::query::dry_run(value.as_str().unwrap_or("?"))?;
        }
        let policy = text("/propagationPolicy").or_else(|| query.propagation.clone());
        let orphan = match policy.as_deref() {
            None => body.get("orphanDependents") == Some(&Value::Bool(true)),
            Some("Orphan") => true,
            Some("Background" | "Foreground") => false,
            Some(other) => {
                let known = "`Background`, `Foreground` or `Orphan`";
                let message = format!("propagationPolicy: `{other}` is not {known}");
                return Err(Status::bad_request(message));
            }
        };
        let (uid, revision) = (text("/preconditions/uid"), text("/preconditions/resourceVersion"));
        Ok(Deletion { uid, revision, dry_run, orphan, author: query.author.clone() })
    }

    fn check(&self, kind: &Kind, old: &Value) -> Result<(), Status> {
        let differs = |wanted: &Option<String>, pointer: &str| {
            wanted.as_deref().is_some_and(|wanted| wanted != object::text(old, pointer))
        };
        if differs(&self.uid, "/metadata/uid") {
            let why = "the UID in the precondition is not that of the object";
            return Err(Status::conflict(kind, object::name(old), why));
        }
        if differs(&self.revision, "/metadata/resourceVersion") {
            return Err(Status::modified(kind, object::name(old)));
        }
        Ok(())
    }
}

impl Api {
    /// Creates an object.
    pub(crate) async fn create(
        self: &Arc<Self>,
        target: &Target,
        query: &Query,
        mut document: Value,
    ) -> Result<Value, Status> {
        let kind = &target.kind;
        prepare::incoming(kind, target.namespace.as_deref(), &mut document)?;
        let mut made_up = prepare::generate_name(&mut document, &self.environment);
        if object::name(&document).is_empty() {
            let why = "is required, or `generateName`";
            return Err(Status::invalid_field(kind, "", "metadata.name", why));
        }
        prepare::created(kind, &mut document, &self.environment)?;
        self.admit(kind, &document).await?;
        let mut tries = 0;
        loop {
            let change = Change { kind, old: None, new: Some(&document), dry_run: query.dry_run };
            query.author.before(&change).await?;
            match self.put_new(target, query.dry_run, &document).await {
                Err(status) if made_up && tries < NAMES && status.code() == 409 => {
                    tries += 1;
                    object::fields(&mut document, "metadata").remove("name");
                    made_up = prepare::generate_name(&mut document, &self.environment);
                }
                result => return result,
            }
        }
    }

    async fn put_new(
        self: &Arc<Self>,
        target: &Target,
        dry_run: bool,
        document: &Value,
    ) -> Result<Value, Status> {
        let (kind, name) = (&target.kind, object::name(document));
        let key = key(kind, target.namespace.as_deref(), name)?;
        if dry_run {
            self.look_at_places(kind, document).await?;
            return match self.find(kind, &key).await {
                Ok(_) => Err(Status::exists(kind, name)),
                Err(status) if status.code() == 404 => Ok(document.clone()),
                Err(status) => Err(status),
            };
        }
        let object = self.put_in_place(kind, &key, document).await?;
        self.access.settle(kind, object.modified.get()).await;
        self.standing.admitted(kind, &object, document);
        self.created(kind, name).await?;
        Ok(object::decode(kind, &object))
    }

    /// What has to be there once an object is.
    async fn created(self: &Arc<Self>, kind: &Kind, name: &str) -> Result<(), Status> {
        if kind.is("", "Namespace") {
            self.ensure_account(name).await?;
        }
        if is_definition(kind) {
            self.redefine().await?;
        }
        Ok(())
    }

    /// Changes an object by what `change` makes of it, once more if somebody else was faster and
    /// the change did not say which state it is for.
    pub(crate) async fn change(
        self: &Arc<Self>,
        target: &Target,
        query: &Query,
        change: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
    ) -> Result<Value, Status> {
        let kind = &target.kind;
        let key = target_key(target)?;
        let part = part(target)?;
        for _ in 0..TRIES {
            let current = self.find(kind, &key).await?;
            let old = object::decode(kind, &current);
            let mut wanted = change(&old)?;
            prepare::incoming(kind, target.namespace.as_deref(), &mut wanted)?;
            let new = prepare::updated(kind, &old, wanted, part)?;
            if new == old {
                return Ok(old);
            }
            Self::check_change(kind, &old, &new)?;
            self.admit(kind, &new).await?;
            let dry_run = query.dry_run;
            let change = Change { kind, old: Some(&old), new: Some(&new), dry_run };
            query.author.before(&change).await?;
            if dry_run {
                return Ok(new);
            }
            let moves =
                defaults::is_tiered(kind) && defaults::tier_of(&old) != defaults::tier_of(&new);
            let places = if moves { self.places(kind, &new).await? } else { Vec::new() };
            match self.replace(kind, &current, &new, places).await {
                Err(Error::Conflict { .. }) => {}
                Err(Error::Changed(place)) => self.places.forget(&place),
                Err(error) => return Err(writing(kind, key.name(), error)),
                Ok(object) => {
                    self.access.settle(kind, object.modified.get()).await;
                    self.standing.admitted(kind, &object, &new);
                    self.changed(kind, &key, &new).await?;
                    return Ok(object::decode(kind, &object));
                }
            }
        }
        Err(Status::modified(kind, key.name()))
    }

    /// Puts the new state of an object, if the places that it comes into stay; or deletes it if that
    /// was all it waited for.
    async fn replace(
        &self,
        kind: &Kind,
        current: &Object,
        new: &Value,
        places: Vec<(Key, Revision)>,
    ) -> Result<Arc<Object>, Error> {
        let when = When::At(current.modified).with(places);
        if object::is_terminating(new) && !object::has_finalizers(new) && !is_place(kind) {
            return Ok(self.store.delete(&current.key, when).await?.object().clone());
        }
        self.store.put(&current.key, object::encode(new), when).await
    }

    async fn changed(self: &Arc<Self>, kind: &Kind, key: &Key, new: &Value) -> Result<(), Status> {
        if is_definition(kind) {
            self.redefine().await?;
            self.end_definitions();
        }
        let namespace = object::text(new, "/metadata/namespace");
        if object::is_terminating(new) && !namespace.is_empty() {
            self.purge_if_terminating(namespace);
        }
        if object::is_terminating(new) && kind.is(CALICO, "Tier") {
            // Whether it goes is no matter of this change.
            let _ = self.end_tier(kind, key, object::uid(new)).await;
        }
        Ok(())
    }

    fn check_change(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
        let errors = standards::changed(kind, old, new);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Status::invalid(kind, object::name(old), &errors))
        }
    }

    /// Deletes an object, or begins to.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        target: &Target,
        deletion: &Deletion,
    ) -> Result<Value, Status> {
        let kind = &target.kind;
        let key = target_key(target)?;
        for _ in 0..TRIES {
            let current = self.find(kind, &key).await?;
            let old = object::decode(kind, &current);
            deletion.check(kind, &old)?;
            self.check_deletion(kind, &old).await?;
            let dry_run = deletion.dry_run;
            let change = Change { kind, old: Some(&old), new: None, dry_run };
            deletion.author.before(&change).await?;
            if dry_run {
                return Ok(success(kind, key.name(), object::uid(&old)));
            }
            let uid = object::uid(&old).to_owned();
            if deletion.orphan {
                self.orphan(&uid).await?;
            }
            match self.begin_deletion(kind, &current, old).await {
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(writing(kind, key.name(), error)),
                Ok(mut answer) => {
                    if kind.is(CALICO, "Tier") {
                        answer = self.end_tier(kind, &key, &uid).await?;
                    }
                    self.deleted(kind, &key).await?;
                    return Ok(answer);
                }
            }
        }
        Err(Status::modified(kind, key.name()))
    }

    async fn begin_deletion(
        &self,
        kind: &Kind,
        current: &Object,
        mut old: Value,
    ) -> Result<Value, Error> {
        let when = When::At(current.modified);
        if !is_place(kind) && !object::has_finalizers(&old) {
            let event = self.store.delete(&current.key, when).await?;
            self.access.settle(kind, event.revision().get()).await;
            return Ok(success(kind, current.key.name(), object::uid(&old)));
        }
        if object::is_terminating(&old) {
            return Ok(old);
        }
        prepare::terminating(&mut old, &self.environment);
        if kind.is("", "Namespace") {
            object::fields(&mut old, "status").insert("phase".into(), json!("Terminating"));
        }
        let object = self.store.put(&current.key, object::encode(&old), when).await?;
        Ok(object::decode(kind, &object))
    }

    /// What follows a deletion.
    async fn deleted(self: &Arc<Self>, kind: &Kind, key: &Key) -> Result<(), Status> {
        if kind.is("", "Namespace") {
            self.purge_if_terminating(key.name());
        }
        if is_definition(kind) {
            self.redefine().await?;
            self.end_definitions();
        }
        Ok(())
    }

    /// What is protected.
    async fn check_deletion(&self, kind: &Kind, old: &Value) -> Result<(), Status> {
        let name = object::name(old);
        if kind.is("", "Namespace") && ["default", "kube-system"].contains(&name) {
            return Err(Status::forbidden(kind, name, "this namespace may not be deleted"));
        }
        if !kind.is(CALICO, "Tier") {
            return Ok(());
        }
        if crate::boot::TIERS.iter().any(|(tier, ..)| *tier == name) {
            return Err(Status::forbidden(kind, name, "the tier is built in"));
        }
        // Of one that is to go already, `end_tier` decides.
        if !object::is_terminating(old)
            && let Some(policy) = self.policy_of_tier(name).await?
        {
            return Err(has_policy(kind, name, &policy));
        }
        Ok(())
    }

    /// Deletes the objects that a query selects.
    pub(crate) async fn delete_all(
        self: &Arc<Self>,
        target: &Target,
        query: &Query,
        deletion: &Deletion,
    ) -> Result<Value, Status> {
        scope(&target.kind.resource, target.namespace.as_deref())?;
        let found = self.list(target, query).await?;
        for object in &found.objects {
            let one = Target {
                namespace: object.key.namespace().map(str::to_owned),
                name: Some(object.key.name().to_owned()),
                ..target.clone()
            };
            match self.delete(&one, deletion).await {
                Err(status) if status.code() == 404 => {}
                result => drop(result?),
            }
        }
        Ok(success(&target.kind, "", ""))
    }
}

/// Which part of the object the path is about.
fn part(target: &Target) -> Result<Part, Status> {
    match target.subresource.as_deref() {
        None => Ok(Part::Main),
        Some("status") if target.kind.status => Ok(Part::Status),
        Some("finalize") if target.kind.is("", "Namespace") => Ok(Part::Main),
        Some(_) => Err(Status::no_such_path()),
    }
}
