//! The lab's API server, seen from the node.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};
use tortie_client::server::{
    ApiKind, Delete, Error as ApiError, Follow, Kinds, Patch, Place, Select, Server, Write,
};

use crate::Error;
use crate::controllers::Action;
use crate::files::tail;
use crate::state::LabDir;
use crate::world::{Key, Kind, World, key, text};

/// How long it may take to answer for the first time.
const START: Duration = Duration::from_secs(30);
/// Between two tries until then.
const INTERVAL: Duration = Duration::from_millis(10);

/// A connection to the API server.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    server: Server,
}

/// What became of a document that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Created,
    Configured,
    Unchanged,
}

impl Kind {
    fn api(self) -> ApiKind {
        let [group, version, kind, plural] = self.names().map(str::to_owned);
        ApiKind { group, version, kind, plural, namespaced: self.is_namespaced() }
    }
}

fn namespace(key: &Key) -> Option<&str> {
    Some(key.0.as_str()).filter(|namespace| !namespace.is_empty())
}

impl Api {
    /// Speaks to the server of a lab.
    pub(crate) async fn of(dir: &LabDir) -> Result<Self, Error> {
        let place = Place { server: Some(dir.api_url()), ..Place::default() };
        Ok(Self { server: Server::connect(&place).await? })
    }

    /// As [`Api::of`], for one that is being started: waits until it answers.
    pub(crate) async fn started(dir: &LabDir) -> Result<Self, Error> {
        let answers = async {
            loop {
                if let Ok(api) = Self::of(dir).await
                    && api.server.kinds().await.is_ok()
                {
                    return api;
                }
                sleep(INTERVAL).await;
            }
        };
        let failed = || Error::program("tortie apiserver", tail(&dir.api_log(), 3).join("; "));
        timeout(START, answers).await.map_err(|_| failed())
    }

    /// Everything there is of the kinds that the lab follows, and every change.
    pub(crate) fn follow(&self) -> Follow {
        self.server.follow(Kind::FOLLOWED.map(Kind::api))
    }

    /// The kinds there are now.
    pub(crate) async fn kinds(&self) -> Result<Kinds, Error> {
        Ok(self.server.kinds().await?)
    }

    /// The objects of a kind; none if the server has no such kind.
    pub(crate) async fn list(&self, kind: &ApiKind) -> Result<Vec<Value>, ApiError> {
        match self.server.list(kind, None, &Select::default()).await {
            Ok(list) => Ok(list.items),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes an object be as a document says; fields that it does not name stay.
    pub(crate) async fn apply(
        &self,
        kind: &ApiKind,
        document: &Value,
    ) -> Result<Applied, ApiError> {
        let (namespace, name) = place(kind, document);
        let write = Write::default();
        match self.server.create(kind, namespace.as_deref(), document, &write).await {
            Ok(_) => return Ok(Applied::Created),
            Err(error) if error.is_already_there() => {}
            Err(error) => return Err(error),
        }
        let before = self.server.get(kind, namespace.as_deref(), &name).await?;
        let patch = Patch::Merge(document.clone());
        let after = self.server.patch(kind, namespace.as_deref(), &name, &patch, &write).await?;
        Ok(if before == after { Applied::Unchanged } else { Applied::Configured })
    }

    /// As [`Api::apply`], for a kind that the lab knows.
    pub(crate) async fn put(&self, kind: Kind, document: &Value) -> Result<Applied, ApiError> {
        self.apply(&kind.api(), document).await
    }

    /// Whether a document would be accepted.
    pub(crate) async fn check(&self, kind: &ApiKind, document: &Value) -> Result<(), ApiError> {
        let (namespace, name) = place(kind, document);
        let write = Write { dry_run: true, ..Write::default() };
        match self.server.create(kind, namespace.as_deref(), document, &write).await {
            Err(error) if error.is_already_there() => {
                let patch = Patch::Merge(document.clone());
                self.server.patch(kind, namespace.as_deref(), &name, &patch, &write).await?;
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Deletes the object of a document; false if there is none.
    pub(crate) async fn delete(&self, kind: &ApiKind, document: &Value) -> Result<bool, ApiError> {
        let (namespace, name) = place(kind, document);
        match self.server.delete(kind, namespace.as_deref(), &name, &Delete::default()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Does what a controller wants, and takes the answer into the world. That somebody else was
    /// faster is no failure: it will be told, and looked at anew.
    pub(crate) async fn perform(&self, action: Action, world: &mut World) -> Result<(), ApiError> {
        match self.answer(&action).await {
            Ok(answer) => {
                match action {
                    Action::Create(kind, _)
                    | Action::Replace(kind, _)
                    | Action::Status(kind, _) => {
                        world.put(kind, answer);
                    }
                    Action::Delete(kind, key, uid) => world.remove(kind, &key, &uid),
                }
                Ok(())
            }
            Err(error) if matches!(error.code(), Some(403 | 404 | 409 | 422)) => {
                tracing::debug!(%error, "not written");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn answer(&self, action: &Action) -> Result<Value, ApiError> {
        let write = Write::default();
        match action {
            Action::Create(kind, document) => {
                let key = key(document);
                self.server.create(&kind.api(), namespace(&key), document, &write).await
            }
            Action::Replace(kind, document) => {
                let key = key(document);
                self.server.replace(&kind.api(), namespace(&key), &key.1, document, &write).await
            }
            Action::Status(kind, document) => {
                let key = key(document);
                let write = Write { part: Some("status".to_owned()), ..write };
                self.server.replace(&kind.api(), namespace(&key), &key.1, document, &write).await
            }
            Action::Delete(kind, key, uid) => {
                let delete = Delete {
                    uid: Some(uid.clone()).filter(|uid| !uid.is_empty()),
                    grace_seconds: Some(0),
                    ..Delete::default()
                };
                self.server.delete(&kind.api(), namespace(key), &key.1, &delete).await
            }
        }
    }
}

/// Where a document belongs; `default` is filled in for the namespace.
fn place(kind: &ApiKind, document: &Value) -> (Option<String>, String) {
    let (namespace, name) = key(document);
    let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
    (kind.namespaced.then_some(namespace), name)
}

/// Whether other objects come into it, so that it must be there before them.
pub(crate) fn is_place(document: &Value) -> bool {
    ["Namespace", "Tier"].contains(&text(document, "/kind"))
}

/// The words that name a document: kind, namespace if it has one, and name.
pub(crate) fn describe(document: &Value) -> String {
    let (namespace, name) = key(document);
    let namespace = if namespace.is_empty() { namespace } else { format!("{namespace}/") };
    format!("{} {namespace}{name}", text(document, "/kind"))
}
