//! What goes on behind requests: contents of namespaces and of kinds that are to go.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tortie_store::{Key, Store, When};

use crate::api::{Api, key, reading, writing};
use crate::auth::Change;
use crate::kinds::{Kind, Registry};
use crate::object;
use crate::prepare;
use crate::status::Status;
use crate::write::TRIES;

/// What is left in a namespace that was emptied.
enum Left {
    Nothing,
    /// What waits for somebody else.
    Terminating,
    /// What came meanwhile, of those who had seen the namespace before it was to go.
    New,
}

impl Api {
    /// Makes a namespace's `default` service account if it has none.
    pub(crate) async fn ensure_account(&self, namespace: &str) -> Result<(), Status> {
        let kind = self.kind("", "v1", "serviceaccounts")?;
        let document = json!({"metadata": {"name": "default", "namespace": namespace}});
        self.ensure(&kind, document).await
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
        let put = self.store.put(&key, object::encode(&document), When::Absent);
        let change = Change { kind, old: None, new: Some(&document), dry_run: false };
        match self.own_write("create", &change, put).await? {
            Ok(_) | Err(tortie_store::Error::Exists(_)) => Ok(()),
            Err(error) => Err(writing(kind, key.name(), error)),
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
        let current = match self.find(&namespaces, &own).await {
            Err(status) if status.code() == 404 => return Ok(()),
            found => found?,
        };
        let document = object::decode(&namespaces, &current);
        if !object::is_terminating(&document) {
            return Ok(());
        }
        for _ in 0..TRIES {
            self.empty_namespace(namespace).await?;
            let _empty = self.going.write().await;
            match self.left(namespace).await? {
                Left::Nothing => return self.end(&namespaces, &own, &document).await,
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

    /// Deletes a namespace that is empty.
    async fn end(&self, namespaces: &Kind, own: &Key, document: &Value) -> Result<(), Status> {
        let change = Change { kind: namespaces, old: Some(document), new: None, dry_run: false };
        match self.own_write("delete", &change, self.store.delete(own, When::Always)).await? {
            Ok(_) | Err(tortie_store::Error::NotFound(_)) => Ok(()),
            Err(error) => Err(writing(namespaces, own.name(), error)),
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

    /// Deletes the objects of kinds that were defined before and are no more.
    pub(crate) fn purge_undefined(self: &Arc<Self>, before: &Registry) {
        let now: HashSet<_> = self.registry().stored().map(|kind| kind.resource.clone()).collect();
        let gone: Vec<_> =
            before.stored().filter(|kind| !now.contains(&kind.resource)).cloned().collect();
        let api = self.clone();
        tokio::spawn(async move {
            for kind in gone {
                let Ok(page) = api.all(&kind, None).await else { return };
                for found in page.objects {
                    let old = object::decode(&kind, &found);
                    let change = Change { kind: &kind, old: Some(&old), new: None, dry_run: false };
                    // Nobody could ask for it any more.
                    let delete = api.store.delete(&found.key, When::Always);
                    let _ = api.own_write("delete", &change, delete).await;
                }
            }
        });
    }
}
