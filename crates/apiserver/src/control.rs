//! What goes on behind requests: contents of namespaces and of kinds that are to go.

use std::sync::Arc;

use serde_json::{Value, json};
use tortie_store::{Key, Object, Store, When};

use crate::api::{Api, DEFINITIONS, key, reading, writing};
use crate::auth::Change;
use crate::kinds::Kind;
use crate::object;
use crate::prepare;
use crate::status::Status;
use crate::write::TRIES;

/// What is left in a namespace that was emptied.
enum Left {
    Nothing,
    /// What waits for somebody else.
    Terminating,
    /// What others wrote into the store itself, past all servers.
    New,
}

impl Api {
    /// Makes a namespace's `default` service account if it has none.
    pub(crate) async fn ensure_account(&self, namespace: &str) -> Result<(), Status> {
        let kind = self.kind("", "v1", "serviceaccounts")?;
        let document = json!({"metadata": {"name": "default", "namespace": namespace}});
        match self.ensure(&kind, document).await {
            // The namespace is gone again, or about to.
            Err(status) if status.code() == 404 || status.code() == 403 => Ok(()),
            made => made,
        }
    }

    /// Makes an object if it is not there.
    pub(crate) async fn ensure(&self, kind: &Kind, mut document: Value) -> Result<(), Status> {
        let fields = object::map(&mut document);
        fields.insert("apiVersion".into(), kind.api_version().into());
        fields.insert("kind".into(), kind.kind.as_str().into());
        prepare::created(kind, &mut document, &self.environment)?;
        let namespace = Some(object::text(&document, "/metadata/namespace"));
        let key = key(kind, namespace.filter(|one| !one.is_empty()), object::name(&document))?;
        // Most are there: nothing is to be said of them.
        if self.store.get(&key).await.map_err(reading)?.is_some() {
            return Ok(());
        }
        let put = self.put_in_place(kind, &key, &document);
        let change = Change { kind, old: None, new: Some(&document), dry_run: false };
        match self.own_write("create", &change, put).await {
            Err(status) if status.code() != 409 => Err(status),
            _ => Ok(()),
        }
    }

    /// Goes on with the deletion of a namespace, if it is being deleted.
    pub(crate) fn purge_if_terminating(self: &Arc<Self>, namespace: &str) {
        let (api, namespace) = (self.clone(), namespace.to_owned());
        tokio::spawn(async move {
            if let Err(status) = api.purge(&namespace).await {
                let why = status.document();
                tracing::warn!(namespace, why = object::text(&why, "/message"), "not emptied");
            }
        });
    }

    /// Empties a namespace that is to go, and deletes it once nothing is left that has to be
    /// waited for.
    async fn purge(self: &Arc<Self>, namespace: &str) -> Result<(), Status> {
        let namespaces = self.kind("", "v1", "namespaces")?;
        let own = key(&namespaces, None, namespace)?;
        for _ in 0..TRIES {
            let Some(current) = self.store.get(&own).await.map_err(reading)? else { return Ok(()) };
            if !object::is_terminating(&object::decode(&namespaces, &current)) {
                return Ok(());
            }
            // Nothing comes into it any more, but what is there may be of a kind that was defined by
            // another server just now.
            self.redefine().await?;
            self.empty_namespace(namespace).await?;
            match self.left(namespace).await? {
                Left::Nothing => match self.end(&namespaces, &current).await {
                    Err(status) if status.code() == 409 => {}
                    ended => return ended,
                },
                Left::Terminating => return Ok(()), // whoever removes the last finalizer comes back
                Left::New => {}
            }
        }
        Err(Status::unavailable("others put more into it than can be deleted"))
    }

    async fn empty_namespace(self: &Arc<Self>, namespace: &str) -> Result<(), Status> {
        for kind in self.registry().stored().filter(|kind| kind.namespaced) {
            self.empty(kind, Some(namespace)).await?;
        }
        Ok(())
    }

    async fn left(&self, namespace: &str) -> Result<Left, Status> {
        let mut left = Left::Nothing;
        for kind in self.registry().stored().filter(|kind| kind.namespaced) {
            for object in self.all(kind, Some(namespace)).await?.objects {
                if !object::is_terminating(&object::decode(kind, &object)) {
                    return Ok(Left::New);
                }
                left = Left::Terminating;
            }
        }
        Ok(left)
    }

    /// Deletes a namespace or a definition that is empty, if it still is as it was then.
    async fn end(&self, kind: &Kind, empty: &Object) -> Result<(), Status> {
        let old = object::decode(kind, empty);
        self.own_delete(kind, &old, &empty.key, When::At(empty.modified)).await
    }

    /// Deletes an object of the server's own accord, if it is there.
    async fn own_delete(
        &self,
        kind: &Kind,
        old: &Value,
        key: &Key,
        when: When,
    ) -> Result<(), Status> {
        let change = Change { kind, old: Some(old), new: None, dry_run: false };
        let delete = async {
            let deleted = self.store.delete(key, when).await;
            deleted.map(drop).map_err(|error| writing(kind, key.name(), error))
        };
        match self.own_write("delete", &change, delete).await {
            Err(status) if status.code() == 404 => Ok(()),
            deleted => deleted,
        }
    }

    async fn empty(self: &Arc<Self>, kind: &Kind, namespace: Option<&str>) -> Result<(), Status> {
        for found in self.all(kind, namespace).await?.objects {
            let document = object::decode(kind, &found);
            if !object::is_terminating(&document) {
                self.remove(&found.key, object::uid(&document)).await;
            }
        }
        Ok(())
    }

    /// Goes on with the deletion of definitions that are to go.
    pub(crate) fn end_definitions(self: &Arc<Self>) {
        let api = self.clone();
        tokio::spawn(async move {
            if let Err(status) = api.purge_definitions().await {
                let why = status.document();
                tracing::warn!(why = object::text(&why, "/message"), "a definition stays");
            }
        });
    }

    /// Deletes the definitions that are to go and wait for nobody, after the objects of their kinds,
    /// which are served no more.
    async fn purge_definitions(&self) -> Result<(), Status> {
        let definitions = self.kind(DEFINITIONS.0, "v1", DEFINITIONS.1)?;
        for found in self.all(&definitions, None).await?.objects {
            let definition = object::decode(&definitions, &found);
            if !object::is_terminating(&definition) || object::has_finalizers(&definition) {
                continue;
            }
            let served = self.built_in.with_definitions([&definition]);
            for kind in served.stored().filter(|kind| !self.is_built_in(&kind.group, &kind.plural))
            {
                for found in self.all(kind, None).await?.objects {
                    let old = object::decode(kind, &found);
                    // Nobody could ask for it any more.
                    self.own_delete(kind, &old, &found.key, When::Always).await?;
                }
            }
            self.end(&definitions, &found).await?;
        }
        Ok(())
    }
}
