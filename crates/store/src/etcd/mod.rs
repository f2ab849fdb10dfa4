//! The engine over etcd v3: Calico's kinds in Calico's own layout, other kinds beside them. Several
//! stores over one etcd are one store.

mod client;
mod follow;
mod layout;
mod login;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use self::client::{Client, number, revision};
use self::follow::Follower;
use self::layout::Root;
use self::wire::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest,
    RangeResponse, Request, RequestOp, Response, Target, TxnRequest, TxnResponse,
};
use crate::feed::Feed;
use crate::{
    At, Clock, Condition, Continue, Error, Event, Key, List, MAX_VALUE, Object, Options, Page,
    Retention, Revision, Scope, Store, Watch, When,
};

/// How many objects are read at a time.
const CHUNK: usize = 500;

/// Certificates for TLS, as PEM.
#[derive(Clone)]
pub struct Tls {
    /// The authority that signed the servers' certificates.
    pub ca: Vec<u8>,
    /// The certificate and the key to show to servers that ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

/// A user of an etcd that has users.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password, in clear.
    pub password: String,
}

/// Does not show the password.
impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which etcd, and how.
#[derive(Clone)]
pub struct EtcdOptions {
    /// Members of one cluster, such as `https://10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// For `https`.
    pub tls: Option<Tls>,
    /// Who we are, if etcd asks. Needs read and write permission on `/calico/` and `/tortie/`.
    pub user: Option<EtcdUser>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How much history is kept at hand for those who watch. Etcd's own is its own business.
    pub retention: Retention,
    /// What time it is.
    pub clock: Clock,
}

impl EtcdOptions {
    /// Settings for a cluster, without TLS.
    pub fn new(endpoints: Vec<String>) -> EtcdOptions {
        let Options { retention, clock } = Options::default();
        let timeout = Duration::from_secs(5);
        EtcdOptions { endpoints, tls: None, user: None, timeout, retention, clock }
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EtcdOptions { endpoints, tls, user, timeout, retention, .. } = self;
        f.debug_struct("EtcdOptions")
            .field("endpoints", endpoints)
            .field("tls", tls)
            .field("user", user)
            .field("timeout", timeout)
            .field("retention", retention)
            .finish_non_exhaustive()
    }
}

/// A store in etcd.
pub struct Etcd {
    client: Client,
    calico: Part,
    own: Part,
    /// Follow etcd as long as this lives.
    _followers: JoinSet<()>,
}

/// The history of one part of the keys.
struct Part {
    feed: Arc<Feed>,
    /// Of which of etcd's histories it is.
    generation: Arc<AtomicU64>,
}

impl Etcd {
    /// A store in a cluster, which must be there.
    ///
    /// # Errors
    /// [`Error::Settings`], or when etcd cannot be reached.
    pub async fn connect(options: EtcdOptions) -> Result<Etcd, Error> {
        let client = Client::new(&options)?;
        let now = client.now().await?;
        let floor = follow::beginning(&client, revision(now.revision)).await?;
        let mut followers = JoinSet::new();
        let mut part = |root| {
            let feed = Arc::new(Feed::new(floor));
            let generation = Arc::new(AtomicU64::new(client.generation()));
            followers.spawn(
                Follower {
                    client: client.clone(),
                    root,
                    feed: feed.clone(),
                    options: options.clone(),
                    cluster: now.cluster_id,
                    generation: generation.clone(),
                }
                .run(),
            );
            Part { feed, generation }
        };
        let (calico, own) = (part(Root::Calico), part(Root::Own));
        Ok(Etcd { client, calico, own, _followers: followers })
    }

    fn part(&self, scope: &Scope) -> &Part {
        match Root::of(scope.resource()) {
            Root::Calico => &self.calico,
            Root::Own => &self.own,
        }
    }

    async fn now(&self) -> Result<Revision, Error> {
        Ok(revision(self.client.now().await?.revision))
    }

    /// Says where the store is to who asked for what is yet to come.
    async fn dated(&self, error: Error) -> Error {
        match error {
            Error::Future { asked, .. } => match self.now().await {
                Ok(current) => Error::Future { asked, current },
                Err(error) => error,
            },
            error => error,
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<(RangeResponse, Revision), Error> {
        let answer = match self.client.range(request).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.dated(error).await),
        };
        let at = answer.header.as_ref().map_or(Revision::ZERO, |header| revision(header.revision));
        Ok((answer, at))
    }

    /// Writes if the condition holds, and says what was there if not.
    async fn write(
        &self,
        key: &Key,
        condition: Condition,
        write: Request,
    ) -> Result<TxnResponse, Error> {
        let Condition { when, others } = condition;
        let name = layout::key(key);
        let mut request = TxnRequest {
            compare: conditions(&name, when),
            success: vec![RequestOp { request: Some(write) }],
            failure: vec![read(name, false)],
        };
        for (other, revision) in &others {
            let other = layout::key(other);
            request.compare.extend(conditions(&other, When::At(*revision)));
            request.failure.push(read(other, true));
        }
        let answer = self.client.txn(request).await?;
        if answer.succeeded {
            return Ok(answer);
        }
        let mut found = answer.responses.into_iter().map(|op| match op.response {
            Some(Response::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let current = found.next().flatten();
        for ((other, expected), found) in others.into_iter().zip(found) {
            if found.is_none_or(|kv| revision(kv.mod_revision) != expected) {
                return Err(Error::Changed(other));
            }
        }
        match (when, current.and_then(|kv| Root::of(key.resource()).object(&kv))) {
            (When::At(expected), Some(current)) => Err(Error::Conflict { expected, current }),
            (_, Some(current)) => Err(Error::Exists(current)),
            (_, None) => Err(Error::NotFound(key.clone())),
        }
    }
}

/// What is read of a key when a write was not made.
fn read(key: Vec<u8>, keys_only: bool) -> RequestOp {
    let range = RangeRequest { key, keys_only, ..RangeRequest::default() };
    RequestOp { request: Some(Request::Range(range)) }
}

/// A condition in etcd's words.
fn conditions(key: &[u8], when: When) -> Vec<Compare> {
    let compare = |target: CompareTarget, result: CompareResult, with| Compare {
        result: result.into(),
        target: target.into(),
        key: key.to_vec(),
        with: Some(with),
    };
    let created = |result| compare(CompareTarget::Create, result, Target::Created(0));
    match when {
        When::Always => vec![],
        When::Absent => vec![created(CompareResult::Equal)],
        When::At(revision) => {
            let modified = Target::Modified(number(revision));
            let modified = compare(CompareTarget::Mod, CompareResult::Equal, modified);
            // What is not there is at revision zero.
            vec![created(CompareResult::Greater), modified]
        }
    }
}

fn written(answer: &TxnResponse) -> Revision {
    answer.header.as_ref().map_or(Revision::ZERO, |header| revision(header.revision))
}

impl Store for Etcd {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        let request = RangeRequest { key: layout::key(key), ..RangeRequest::default() };
        let (answer, _) = self.range(request).await?;
        Ok(answer.kvs.first().and_then(|kv| Root::of(key.resource()).object(kv)))
    }

    async fn list(&self, list: &List) -> Result<Page, Error> {
        let (mut key, range_end) = layout::scope(&list.scope);
        let base = key.len();
        let mut at = match &list.at {
            At::Latest => None,
            At::Revision(revision) => Some(*revision),
            At::Continue(place) => {
                key.extend(place.after.bytes().chain([0]));
                Some(place.revision)
            }
        };
        let wanted = list.limit.map_or(usize::MAX, usize::from);
        let mut objects = Vec::new();
        loop {
            let limit = CHUNK.min(wanted - objects.len());
            let request = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: i64::try_from(limit).unwrap_or(i64::MAX),
                // Zero would be the latest; etcd begins at one.
                revision: at.map_or(0, |at| number(at).max(1)),
                ..RangeRequest::default()
            };
            let (answer, now) = self.range(request).await?;
            // The first answer says which state the others have to show.
            let revision = *at.get_or_insert(now);
            let root = Root::of(list.scope.resource());
            objects.extend(answer.kvs.iter().filter_map(|kv| root.object(kv)));
            let last = answer.kvs.last().filter(|_| answer.more);
            let Some(last) = last else { return Ok(Page { objects, revision, more: None }) };
            if objects.len() >= wanted {
                let after = last.key.get(base..).unwrap_or_default();
                let after = String::from_utf8_lossy(after).into_owned().into();
                return Ok(Page { objects, revision, more: Some(Continue { revision, after }) });
            }
            key = last.key.iter().copied().chain([0]).collect();
        }
    }

    async fn put(
        &self,
        key: &Key,
        value: Bytes,
        when: impl Into<Condition> + Send,
    ) -> Result<Arc<Object>, Error> {
        if value.len() > MAX_VALUE {
            return Err(Error::TooLarge { key: key.clone(), bytes: value.len() });
        }
        let put = PutRequest { key: layout::key(key), value: value.clone(), prev_kv: true };
        let answer = self.write(key, when.into(), Request::Put(put)).await?;
        let modified = written(&answer);
        let created = answer.responses.into_iter().find_map(|op| match op.response {
            Some(Response::Put(put)) => put.prev_kv.map(|kv| revision(kv.create_revision)),
            _ => None,
        });
        let created = created.unwrap_or(modified);
        Ok(Arc::new(Object { key: key.clone(), value, created, modified }))
    }

    async fn delete(
        &self,
        key: &Key,
        when: impl Into<Condition> + Send,
    ) -> Result<Arc<Event>, Error> {
        let delete = DeleteRangeRequest { key: layout::key(key), prev_kv: true };
        let answer = self.write(key, when.into(), Request::Delete(delete)).await?;
        let revision = written(&answer);
        let last = answer.responses.into_iter().find_map(|op| match op.response {
            Some(Response::Delete(delete)) => delete.prev_kvs.into_iter().next(),
            _ => None,
        });
        let last = last.and_then(|kv| Root::of(key.resource()).object(&kv));
        let last = last.ok_or_else(|| Error::NotFound(key.clone()))?;
        Ok(Arc::new(Event::Delete { revision, last }))
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, Error> {
        let Part { feed, generation } = self.part(scope);
        // The history may be a moment behind what a list has shown.
        if after > feed.revision() {
            let current = self.now().await?;
            if after > current {
                return Err(Error::Future { asked: after, current });
            }
        }
        if generation.load(Ordering::SeqCst) != self.client.generation() {
            let reason = "etcd went back to an earlier state: its changes are not followed yet";
            return Err(Error::Unavailable(reason.into()));
        }
        Watch::new(feed, scope, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        if let Err(error) = self.client.compact(revision).await {
            return Err(self.dated(error).await);
        }
        self.calico.feed.compact(revision);
        self.own.feed.compact(revision);
        Ok(())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.calico.feed.close();
        self.own.feed.close();
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").finish_non_exhaustive()
    }
}
