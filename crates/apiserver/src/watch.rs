//! Watching: changes as lines of JSON, each told as the watcher's selectors see it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tortie_store::{Error, Event, Object, Revision, Store, Watch};

use crate::api::{Api, reading, scope};
use crate::auth::Lasting;
use crate::kinds::Kind;
use crate::object;
use crate::path::Target;
use crate::query::Query;
use crate::status::Status;
use crate::view::{View, json_response};

/// How long a watch lasts if it is not said.
const LIFETIME: Duration = Duration::from_secs(40 * 60);

/// How many lines may wait for a client; the store's history has the rest.
const QUEUE: usize = 8;

/// What is to be watched, and how it is to be shown.
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) view: View,
}

/// One watch.
struct Watcher {
    api: Arc<Api>,
    target: Target,
    kind: Arc<Kind>,
    query: Query,
    view: View,
    /// How often it is told how far it is.
    bookmarks: Duration,
    lines: mpsc::Sender<Result<Bytes, Infallible>>,
    /// Held as long as it lasts.
    _permit: OwnedSemaphorePermit,
}

/// The client is gone, or has been told that this is the end.
struct Ended;

impl Api {
    /// Answers a watch: what there is if that was asked for, then every change.
    pub(crate) fn watch(
        self: &Arc<Self>,
        asked: Asked,
        bookmarks: Duration,
        permit: OwnedSemaphorePermit,
        mut lasting: Lasting,
    ) -> Result<Response<Body>, Status> {
        let Asked { target, query, view } = asked;
        query.fields.check(&target.kind.selectable)?;
        let scope = scope(&target.kind.resource, target.namespace.as_deref())?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let watcher = Watcher {
            api: self.clone(),
            kind: target.kind.clone(),
            target,
            query,
            view,
            bookmarks,
            lines: sender,
            _permit: permit,
        };
        tokio::spawn(async move {
            let asked = watcher.query.timeout_seconds.filter(|seconds| *seconds > 0);
            let lifetime = asked.map_or(LIFETIME, Duration::from_secs);
            // Dropped with the sender, which ends the answer.
            let running = watcher.run(&scope, &mut lasting);
            let _ = tokio::time::timeout(lifetime, running).await;
        });
        let body = Body::from_stream(ReceiverStream::new(receiver));
        Ok(json_response(StatusCode::OK, body))
    }
}

impl Watcher {
    async fn run(self, scope: &tortie_store::Scope, lasting: &mut Lasting) -> Result<(), Ended> {
        let after = match self.start().await? {
            Ok(revision) => revision,
            Err(status) => return self.refuse(&status).await,
        };
        match self.api.store.watch(scope, after).await {
            Ok(watch) => self.follow(watch, lasting).await,
            Err(error) => self.refuse(&gone(error)).await,
        }
    }

    /// Tells what there is, if that was asked for, and gives the revision to go on from.
    async fn start(&self) -> Result<Result<Revision, Status>, Ended> {
        let from_then = self.query.resource_version.filter(|revision| *revision > 0);
        if let (Some(revision), false) = (from_then, self.query.send_initial_events) {
            return Ok(Ok(Revision::new(revision)));
        }
        let everything = Query {
            limit: 0,
            continue_token: None,
            matching: None,
            resource_version: from_then,
            ..self.query.clone()
        };
        let found = match self.api.list(&self.target, &everything).await {
            Ok(found) => found,
            Err(status) => return Ok(Err(status)),
        };
        for object in &found.objects {
            self.tell("ADDED", object, object.modified).await?;
        }
        let revision = Revision::new(found.revision);
        if self.query.send_initial_events && self.query.bookmarks {
            self.bookmark(revision, true).await?;
        }
        Ok(Ok(revision))
    }

    /// Tells of changes, until the one who watches may not any more, or is gone.
    async fn follow(&self, mut watch: Watch, lasting: &mut Lasting) -> Result<(), Ended> {
        let every = self.bookmarks.max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased; // rights before what they are rights to
                () = lasting.due() => {
                    match self.api.may_still_watch(lasting, &self.target, &self.query).await {
                        Ok(()) => continue,
                        Err(status) => return self.refuse(&status).await,
                    }
                }
                () = self.lines.closed() => return Err(Ended),
                _ = ticks.tick(), if self.query.bookmarks => {
                    self.bookmark(watch.position(), false).await?;
                    continue;
                }
                event = watch.next() => event,
            };
            match event {
                Ok(event) => self.change(&event).await?,
                Err(error) => return self.refuse(&gone(error)).await,
            }
        }
    }

    /// A change, as somebody sees it who only sees what is selected.
    async fn change(&self, event: &Event) -> Result<(), Ended> {
        let seen = |object: &Arc<Object>| {
            self.query.selects_all() || self.query.selects(&object::decode(&self.kind, object))
        };
        let before = event.previous().is_some_and(seen);
        let (object, after) = match event {
            Event::Put { object, .. } => (object, seen(object)),
            Event::Delete { last, .. } => (last, false),
        };
        let word = match (before, after) {
            (false, false) => return Ok(()),
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        self.tell(word, object, event.revision()).await
    }

    async fn tell(&self, word: &str, object: &Object, revision: Revision) -> Result<(), Ended> {
        let mut line = Vec::with_capacity(object.value.len() + 128);
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(word.as_bytes());
        line.extend_from_slice(b"\",\"object\":");
        if self.view == View::Whole {
            self.api.standing.render(&self.kind, object, revision, &mut line);
        } else {
            let mut document = self.api.standing.document(&self.kind, object);
            object::stamp(&mut document, revision);
            line.extend_from_slice(self.shown(document).to_string().as_bytes());
        }
        line.extend_from_slice(b"}\n");
        self.send(line).await
    }

    fn shown(&self, document: Value) -> Value {
        let (include, now) = (self.query.include_object.as_deref(), self.api.environment.now());
        self.view.of(&self.kind, document, include, now)
    }

    /// How far the watch is.
    async fn bookmark(&self, revision: Revision, initial: bool) -> Result<(), Ended> {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            object::map(&mut metadata).insert("annotations".into(), annotations);
        }
        let document = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
        });
        self.line("BOOKMARK", &self.shown(document)).await
    }

    async fn refuse(&self, status: &Status) -> Result<(), Ended> {
        self.line("ERROR", &status.document()).await
    }

    async fn line(&self, word: &str, object: &Value) -> Result<(), Ended> {
        self.send(format!("{}\n", json!({"type": word, "object": object})).into_bytes()).await
    }

    async fn send(&self, line: Vec<u8>) -> Result<(), Ended> {
        self.lines.send(Ok(line.into())).await.map_err(|_| Ended)
    }
}

/// Why a watch ends.
fn gone(error: Error) -> Status {
    match error {
        Error::Future { .. } => Status::expired("the resource version is not known: list again"),
        error => reading(error),
    }
}
