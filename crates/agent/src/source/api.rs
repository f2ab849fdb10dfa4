//! Resources from a Kubernetes API, as changes.
//!
//! Nothing is told before everything there is has been listed. While the server is away the last
//! policy stays in force; when it is back, what has changed meanwhile is told together, because half
//! of it may be less than the old or the new policy.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tortie_calc::{Key, Kind};
use tortie_client::server::{ApiKind, Event, Follow, Followed, Pace, Server, followed, metadata};
use tortie_daemon::readiness::Guard;
use tortie_model::decode;

use super::{Census, Change, Now};
use crate::engine::{Batch, Engine};
use crate::metrics::Metrics;

/// How long changes of some kinds wait for those of others when the server comes back: as long as
/// one of them cannot be had, the others must not wait for it.
const TOGETHER: Duration = Duration::from_secs(5);
/// How many events are taken before what they come to is told.
const MOST: usize = 4096;
/// Takes the server's resources to the engine, for ever.
pub(crate) struct Follower {
    engine: Engine,
    metrics: Arc<Metrics>,
    kinds: Vec<Followed>,
    /// What has not been told yet, and since when.
    changes: Vec<Change>,
    since: Option<Instant>,
    /// Everything there was at the start is known.
    in_sync: bool,
    away: bool,
    /// What counts for the revision in force.
    census: Census,
    /// All of what is followed counts, not only what people write.
    everything: bool,
}

impl Follower {
    pub(crate) fn new(engine: Engine, metrics: Arc<Metrics>, everything: bool) -> Follower {
        Follower {
            engine,
            metrics,
            kinds: followed(),
            changes: Vec::new(),
            since: None,
            in_sync: false,
            away: false,
            census: Census::default(),
            everything,
        }
    }

    /// Follows the server; ready once what was there first has been told. What is known of a server
    /// that is away later stays in force, so the agent stays ready.
    pub(crate) async fn run(
        mut self,
        server: Server,
        pace: Pace,
        mut guard: Guard,
        mut first: watch::Receiver<bool>,
    ) {
        guard.wait(format!("everything that `{}` has", server.url()));
        let mut follow = server.follow_at(self.kinds.iter().map(Followed::wanted), pace);
        let mut waits = true;
        loop {
            // A server that is away when the last kind has been read has to be heard of further.
            tokio::select! {
                told = async { first.wait_for(|told| *told).await.is_ok() }, if waits => {
                    waits = false;
                    // It can only fail with the engine, and then nobody is ready.
                    if told {
                        guard.ready();
                    }
                }
                () = self.round(&mut follow, &mut guard) => {}
            }
        }
    }

    /// Takes what has happened, and tells it if it may be told. Nothing is lost if this is given up
    /// while it waits.
    async fn round(&mut self, follow: &mut Follow, guard: &mut Guard) {
        let limit = self.since.map(|since| since + TOGETHER);
        let event = match limit {
            Some(limit) => timeout_at(limit, follow.next()).await.ok(),
            None => Some(follow.next().await),
        };
        let mut next = event;
        let mut taken = 0;
        while let Some(event) = next {
            self.take(event, guard);
            taken += 1;
            next = if taken < MOST { follow.next().now_or_never() } else { None };
        }
        let late = self.since.is_some_and(|since| since.elapsed() >= TOGETHER);
        if self.in_sync && (!self.away || late) {
            self.tell();
        }
    }

    fn take(&mut self, event: Event, guard: &mut Guard) {
        match event {
            Event::Put { kind, object } => self.put(&kind, object),
            Event::Gone { kind, object } => {
                self.census.remove(&kind, &object);
                self.note(&kind, Name::of(&object), Now::Gone);
            }
            Event::InSync => {
                self.in_sync = true;
                self.since.get_or_insert_with(Instant::now);
                self.metrics.back();
                tracing::info!(resources = self.changes.len(), "everything there is has been read");
            }
            Event::Away { reason } => {
                self.away = true;
                self.metrics.away();
                if !self.in_sync {
                    guard.wait(reason.clone());
                }
                tracing::warn!(%reason, "the API server is away: the last policy stays in force");
            }
            Event::Back => {
                self.away = false;
                self.metrics.back();
                tracing::info!("the API server is back");
            }
            Event::Missing { kind } => {
                self.metrics.missing(1);
                tracing::warn!(kind = %kind.name(), "the API server does not have this kind");
            }
            Event::Found { kind } => {
                self.metrics.missing(-1);
                tracing::info!(kind = %kind.name(), "the API server has this kind now");
            }
            // Nothing else concerns the calculation.
            _ => {}
        }
    }

    fn put(&mut self, kind: &ApiKind, object: Value) {
        let counts = |followed: &Followed| self.everything || followed.written;
        if self.kinds.iter().any(|followed| followed.api == *kind && counts(followed)) {
            self.census.put(kind, &object);
        }
        let name = Name::of(&object);
        let now = match decode(object) {
            // A document of a kind that we follow is one resource.
            Ok(resources) => resources.into_iter().next().map(|r| Now::Is(Arc::new(r))),
            Err(errors) => errors.into_iter().next().map(|e| Now::Broken(Arc::new(e))),
        };
        if let Some(now) = now {
            self.note(kind, name, now);
        }
    }

    fn note(&mut self, kind: &ApiKind, name: Name, now: Now) {
        let namespace = kind.namespaced.then_some(name.namespace);
        let key = Key { kind: Kind::named(&kind.group, &kind.kind), namespace, name: name.name };
        self.changes.push(Change { key, now });
        if self.in_sync {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    fn tell(&mut self) {
        if self.since.take().is_none() {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        self.engine.apply(Batch { changes, revision: self.census.number() });
    }
}

/// What an object is called.
struct Name {
    namespace: SmolStr,
    name: SmolStr,
}

impl Name {
    fn of(object: &Value) -> Name {
        Name {
            namespace: metadata(object, "namespace").into(),
            name: metadata(object, "name").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use serde_json::json;
    use tortie_calc::{Calculation, Update};
    use tortie_daemon::metrics::Registry;
    use tortie_daemon::readiness::Readiness;

    use super::*;

    const V3: &str = "projectcalico.org/v3";

    fn kind(plural: &str) -> Arc<ApiKind> {
        let kind = followed().into_iter().find(|followed| followed.api.plural == plural);
        Arc::new(kind.unwrap().api)
    }

    fn put(plural: &str, object: Value) -> Event {
        Event::Put { kind: kind(plural), object }
    }

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": "p", "resourceVersion": "9"},
            "spec": {"nodeName": "here", "containers": []},
            "status": {"phase": "Running", "podIP": "10.65.0.2", "podIPs": [{"ip": "10.65.0.2"}]},
        })
    }

    fn policy(api_version: &str) -> Value {
        json!({
            "apiVersion": api_version, "kind": "NetworkPolicy",
            "metadata": {"namespace": "default", "name": "broken", "resourceVersion": "7"},
            "spec": {"ingres": []},
        })
    }

    /// What is told of a pod and a policy.
    fn told(everything: bool, policy: Value) -> Vec<Update> {
        let metrics = Arc::new(Metrics::new(&mut Registry::default()));
        let (sender, told) = channel();
        let calculation = Calculation::new(Some("here".into()));
        let tell = move |updates| drop(sender.send(updates));
        let engine = Engine::start(calculation, Arc::clone(&metrics), tell).unwrap();
        let (_readiness, mut guard) = Readiness::new("source", "test");
        let mut follower = Follower::new(engine, metrics, everything);
        follower.take(put("pods", pod()), &mut guard);
        follower.take(put("networkpolicies", policy), &mut guard);
        follower.tell();
        assert!(told.try_recv().is_err(), "nothing before everything is known");
        follower.take(Event::InSync, &mut guard);
        follower.tell();
        told.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// House rule 7: what cannot be read is enforced as the strictest that it could mean, wherever it
    /// is stored.
    #[test]
    fn a_policy_that_cannot_be_read_denies() {
        for api_version in [V3, "crd.projectcalico.org/v1"] {
            let updates = told(false, policy(api_version));
            let policy = updates.iter().find_map(|update| match update {
                Update::Policy(active) => Some(active.policy.id.name.as_str()),
                _ => None,
            });
            assert_eq!(policy, Some("broken"), "{api_version}: {updates:?}");
        }
    }

    #[test]
    fn what_counts_for_the_revision() {
        for (everything, counted) in [
            (false, vec![("networkpolicies", policy(V3))]),
            (true, vec![("networkpolicies", policy(V3)), ("pods", pod())]),
        ] {
            let mut census = Census::default();
            for (plural, object) in counted {
                census.put(&kind(plural), &object);
            }
            let updates = told(everything, policy(V3));
            let revision = |update: &Update| match update {
                Update::Settings(settings) => Some(settings.revision),
                _ => None,
            };
            assert_eq!(updates.iter().find_map(revision), Some(census.number()));
        }
    }
}
