//! One kind: list it, then watch it, for ever.

use std::time::Duration;

use futures_util::TryStreamExt;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tortie_daemon::backoff::Backoff;

use super::known::Known;
use super::{News, Pace, Wanted};
use crate::server::call::Page;
use crate::server::verbs::PAGE;
use crate::server::{ApiKind, Error, Server, Status, metadata};

/// How long a watch is to last, and how much is added by chance at most, so that the watches of a
/// server that was restarted do not all end together.
const WATCH: (Duration, Duration) = (Duration::from_secs(280), Duration::from_secs(140));

/// What happens to one kind.
#[derive(Debug)]
pub(super) enum Told {
    /// An object is new or different.
    Put(Value),
    /// An object is gone.
    Gone(Value),
    /// What was told is what the server has.
    Listed,
    /// The server has no such kind.
    Missing,
    /// What was told may be out of date.
    Failed(String),
}

/// Nobody listens any more.
struct Closed;

/// Up to where a kind is known.
#[derive(Debug, Clone)]
struct Mark {
    /// The revision.
    revision: String,
    /// Which cluster that was; unknown if we may not ask.
    cluster: Option<String>,
}

/// What to do next.
#[derive(Debug)]
enum State {
    /// Nothing is known, or what is known may be of another history: everything is listed, and
    /// differences are told.
    Listing,
    /// The kind is known up to here, and the server is about to tell what follows.
    Watching(Mark),
    /// The watch is over, as every watch is some time. Before the next one it is made sure that the
    /// server has not been replaced by one with another history.
    Resuming(Mark),
}

/// How a watch ended.
enum End {
    /// The server ended it, or the connection did.
    Over,
    /// It failed; what followed is lost.
    Failed(Error),
}

/// Follows one kind.
pub(super) struct One {
    server: Server,
    wanted: Wanted,
    /// Where it was found last: what is wanted, or what stands in for it.
    at: ApiKind,
    number: usize,
    out: mpsc::Sender<(usize, Told)>,
    known: Known,
    pace: Pace,
    backoff: Backoff,
    /// Wakes all kinds that wait for the server when one of them has found it again, and those that
    /// watch it when it hangs.
    news: News,
    /// It failed last time.
    failing: bool,
    /// The last watch ended before its time.
    short: bool,
    /// Since when the server denies that it has the kind.
    denied: Option<Instant>,
}

impl One {
    pub(super) fn new(
        server: Server,
        wanted: Wanted,
        number: usize,
        out: mpsc::Sender<(usize, Told)>,
        news: News,
        pace: Pace,
    ) -> One {
        // The seed of a hasher is the randomness that the standard library has.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), number);
        let backoff = Backoff::new(pace.first_pause, pace.longest_pause, seed);
        One {
            server,
            at: wanted.kind.clone(),
            wanted,
            number,
            out,
            known: Known::default(),
            pace,
            backoff,
            news,
            failing: false,
            short: false,
            denied: None,
        }
    }

    /// Goes on until nobody listens.
    pub(super) async fn run(mut self) {
        let mut state = State::Listing;
        while let Ok(next) = self.step(state).await {
            state = next;
        }
    }

    async fn step(&mut self, state: State) -> Result<State, Closed> {
        match state {
            State::Listing => self.listing().await,
            State::Watching(mark) => self.watching(mark).await,
            State::Resuming(mark) => self.resuming(mark).await,
        }
    }

    async fn listing(&mut self) -> Result<State, Closed> {
        match self.list().await? {
            Ok(mark) => {
                self.denied = None;
                if std::mem::take(&mut self.failing) {
                    self.news.found.notify_waiters();
                }
                self.tell(Told::Listed).await?;
                Ok(State::Watching(mark))
            }
            Err(error) if error.is_not_found() => self.denied().await,
            Err(error) => self.failed(&error).await,
        }
    }

    async fn watching(&mut self, mut mark: Mark) -> Result<State, Closed> {
        let start = Instant::now();
        let end = self.watch(&mut mark).await?;
        let steady = start.elapsed() >= self.pace.steady;
        if steady {
            self.backoff.reset();
        }
        let again = std::mem::replace(&mut self.short, !steady);
        match end {
            End::Over if steady => Ok(State::Resuming(mark)),
            // What happens may never get through: a list will.
            End::Over if again => {
                let reason = "watches end as soon as they have begun".to_owned();
                let url = self.server.url().to_owned();
                self.failed(&Error::Unreachable { url, reason }).await
            }
            End::Over => {
                sleep(self.backoff.pause()).await;
                Ok(State::Resuming(mark))
            }
            End::Failed(error) => self.failed(&error).await,
        }
    }

    async fn resuming(&mut self, mark: Mark) -> Result<State, Closed> {
        match self.returned().await {
            Ok(false) => {}
            Ok(true) => return Ok(State::Listing),
            Err(error) => return self.failed(&error).await,
        }
        match self.goes_on(&mark).await {
            Ok(true) => Ok(State::Watching(mark)),
            Ok(false) => {
                let reason = "the API server is another one, or has gone back in time";
                self.tell(Told::Failed(reason.to_owned())).await?;
                Ok(State::Listing)
            }
            Err(error) => self.failed(&error).await,
        }
    }

    /// Says so, and begins anew after a pause, or as soon as another kind has found the server: what
    /// has changed in several of them must not come long after each other.
    async fn failed(&mut self, error: &Error) -> Result<State, Closed> {
        tracing::debug!(kind = %self.wanted.kind.name(), %error, "a kind cannot be followed");
        self.failing = true;
        self.denied = None;
        self.tell(Told::Failed(error.to_string())).await?;
        tokio::select! {
            () = sleep(self.backoff.pause()) => {}
            () = self.news.found.notified() => {}
        }
        Ok(State::Listing)
    }

    /// The server says that there is no such kind. While objects of it are known, it has to say so
    /// for some time.
    async fn denied(&mut self) -> Result<State, Closed> {
        let since = *self.denied.get_or_insert_with(Instant::now);
        let known = self.known.len();
        if known > 0 && since.elapsed() < self.pace.disbelief {
            let reason = format!(
                "the API server does not have this kind any more, of which {known} objects are known"
            );
            self.tell(Told::Failed(reason)).await?;
            sleep(self.backoff.pause()).await;
            return Ok(State::Listing);
        }
        self.known.begin();
        self.gone().await?;
        self.tell(Told::Missing).await?;
        sleep(self.pace.missing).await;
        Ok(State::Listing)
    }

    /// Tells everything that is different, from where the server has the kind.
    async fn list(&mut self) -> Result<Result<Mark, Error>, Closed> {
        let listed = self.list_at(self.wanted.kind.clone()).await?;
        match listed {
            Err(error) if error.is_not_found() => {
                match self.patiently(self.server.stand_in(&self.wanted)).await {
                    Ok(Some(instead)) => self.list_at(instead.clone()).await,
                    Ok(None) => Ok(Err(error)),
                    Err(error) => Ok(Err(error)),
                }
            }
            listed => Ok(listed),
        }
    }

    /// Tells everything that is different. The cluster is asked for first: if it changes in between,
    /// that is noticed the next time.
    async fn list_at(&mut self, kind: ApiKind) -> Result<Result<Mark, Error>, Closed> {
        let cluster = match self.cluster().await {
            Ok(cluster) => cluster,
            Err(error) => return Ok(Err(error)),
        };
        self.known.begin();
        let (mut next, mut limit) = (String::new(), PAGE);
        loop {
            let page = match self.page(&kind, limit, &next).await {
                Ok(page) => page,
                // It took so long that the revision is gone: all at once, then.
                Err(error) if error.is_expired() && limit > 0 => {
                    self.known.begin();
                    (next, limit) = (String::new(), 0);
                    continue;
                }
                Err(error) => return Ok(Err(error)),
            };
            for object in page.list.items {
                if !is_object(&object) {
                    return Ok(Err(self.no_object()));
                }
                self.put(object).await?;
            }
            if page.next.is_empty() {
                self.gone().await?;
                if self.at != kind {
                    tracing::info!(wanted = %self.wanted.kind.name(), at = %kind.name(), "a kind has moved");
                    self.at = kind;
                }
                return Ok(Ok(Mark { revision: page.list.revision, cluster }));
            }
            next = page.next;
        }
    }

    /// Tells what follows the mark, and moves it.
    async fn watch(&mut self, mark: &mut Mark) -> Result<End, Closed> {
        let Wanted { namespace, select, .. } = &self.wanted;
        let lifetime = WATCH.0 + self.backoff.chance(WATCH.1);
        let namespace = namespace.as_deref();
        let call = self.server.watch(&self.at, namespace, select, &mark.revision, lifetime);
        let request = match call.request() {
            Ok(request) => request,
            Err(reason) => return Ok(End::Failed(self.server.not_understood(reason))),
        };
        let client = self.server.0.client.clone();
        let patience = self.pace.patience;
        let events = match timeout(patience, client.request_events::<Value>(request)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return Ok(End::Failed(Error::from_kube(self.server.url(), error))),
            Err(_) => return Ok(End::Failed(self.server.silent(patience))),
        };
        let limit = lifetime + patience;
        let deadline = Instant::now() + limit;
        let mut events = std::pin::pin!(events);
        loop {
            let event = tokio::select! {
                event = timeout_at(deadline, events.try_next()) => event,
                () = self.news.lost.notified() => {
                    return Ok(End::Failed(self.server.silent(patience)));
                }
            };
            let event = match event {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => return Ok(End::Over),
                Ok(Err(error)) => {
                    return Ok(End::Failed(Error::from_kube(self.server.url(), error)));
                }
                Err(_) => return Ok(End::Failed(self.server.silent(limit))),
            };
            match event {
                WatchEvent::Added(object)
                | WatchEvent::Modified(object)
                | WatchEvent::Deleted(object)
                    if !is_object(&object) =>
                {
                    return Ok(End::Failed(self.no_object()));
                }
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    mark.revision = revision(&object).unwrap_or(&mark.revision).to_owned();
                    self.put(object).await?;
                }
                WatchEvent::Deleted(object) => {
                    mark.revision = revision(&object).unwrap_or(&mark.revision).to_owned();
                    if self.known.remove(&object) {
                        self.tell(Told::Gone(object)).await?;
                    }
                }
                WatchEvent::Bookmark(bookmark) => {
                    mark.revision = bookmark.metadata.resource_version;
                }
                WatchEvent::Error(status) => {
                    return Ok(End::Failed(Error::Refused(Box::new(Status::from(*status)))));
                }
            }
        }
    }

    async fn put(&mut self, object: Value) -> Result<(), Closed> {
        if self.known.put(&object) {
            self.tell(Told::Put(object)).await?;
        }
        Ok(())
    }

    /// Tells what the list that is over did not have.
    async fn gone(&mut self) -> Result<(), Closed> {
        for object in self.known.end(&self.wanted.kind) {
            self.tell(Told::Gone(object)).await?;
        }
        Ok(())
    }

    /// Whether the server has what is wanted now, although something else stands in for it.
    async fn returned(&self) -> Result<bool, Error> {
        let Wanted { kind, .. } = &self.wanted;
        if self.at == *kind {
            return Ok(false);
        }
        self.patiently(self.server.serves(kind)).await
    }

    /// Whether the server has the history that the mark is of: it is of the same cluster, and has
    /// come as far at least. Where that cannot be said, it has not.
    async fn goes_on(&self, mark: &Mark) -> Result<bool, Error> {
        let cluster = self.cluster().await?;
        if cluster.is_none() || cluster != mark.cluster {
            return Ok(false);
        }
        let page = self.page(&self.at, 1, "").await?;
        let number = |text: &str| text.parse::<u64>().ok();
        let (before, now) = (number(&mark.revision), number(&page.list.revision));
        Ok(before.zip(now).is_some_and(|(before, now)| before <= now))
    }

    /// Which cluster it is: nothing else lives as long as this namespace.
    async fn cluster(&self) -> Result<Option<String>, Error> {
        let namespaces = ApiKind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            plural: "namespaces".to_owned(),
            namespaced: false,
        };
        match self.patiently(self.server.get(&namespaces, None, "kube-system")).await {
            Ok(object) => {
                let uid = metadata(&object, "uid");
                Ok((!uid.is_empty()).then(|| uid.to_owned()))
            }
            Err(error) if matches!(error.code(), Some(403 | 404)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn page(&self, kind: &ApiKind, limit: usize, from: &str) -> Result<Page, Error> {
        let Wanted { namespace, select, .. } = &self.wanted;
        self.patiently(self.server.page(kind, namespace.as_deref(), select, limit, from)).await
    }

    /// Waits for an answer, but not for ever.
    async fn patiently<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let patience = self.pace.patience;
        timeout(patience, answer).await.unwrap_or_else(|_| Err(self.server.silent(patience)))
    }

    fn no_object(&self) -> Error {
        self.server.not_understood(format!("something among {} that is none", self.at.plural))
    }

    async fn tell(&self, told: Told) -> Result<(), Closed> {
        self.out.send((self.number, told)).await.map_err(|_| Closed)
    }
}

/// What has a name; without one nobody could say that it is gone.
fn is_object(object: &Value) -> bool {
    !metadata(object, "name").is_empty()
}

fn revision(object: &Value) -> Option<&str> {
    Some(metadata(object, "resourceVersion")).filter(|revision| !revision.is_empty())
}
