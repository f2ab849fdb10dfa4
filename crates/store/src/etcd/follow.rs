//! Following etcd's changes: one watch for each part of the keys feeds one history, from which all
//! who watch are served. Whatever happens to the connection, the history goes on where it was, or
//! all who watch are told that it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::client::{Client, number, revision};
use super::layout::Root;
use super::wire::{EventType, RangeRequest, WatchCreateRequest, WatchResponse};
use super::{EtcdOptions, wire};
use crate::feed::Feed;
use crate::{Error, Event, Revision};

/// Between attempts: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How far back history begins, in revisions, so that who watched before this process began can go
/// on; reading it takes a fraction of a second.
const BACK: u64 = 10_000;

/// One part of the keys, followed.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) root: Root,
    pub(super) feed: Arc<Feed>,
    pub(super) options: EtcdOptions,
    pub(super) cluster: u64,
    /// How many times etcd had gone back when the history was begun.
    pub(super) generation: Arc<AtomicU64>,
}

/// Why the history does not go on.
enum Break {
    /// The connection: try again from where it was.
    Lost(Error),
    /// Changes were missed, or it is another store: begin after a revision of that generation.
    Anew { after: Revision, generation: u64, reason: &'static str },
}

impl From<Error> for Break {
    fn from(error: Error) -> Break {
        Break::Lost(error)
    }
}

/// The revision after which history is to begin: some way back, as far as etcd still knows.
pub(super) async fn beginning(client: &Client, now: Revision) -> Result<Revision, Error> {
    let wanted = Revision::new(now.get().saturating_sub(BACK).max(1));
    let (key, _) = Root::Calico.range();
    let probe = RangeRequest { key, revision: number(wanted), ..RangeRequest::default() };
    match client.range(probe).await {
        Ok(_) => Ok(wanted),
        Err(Error::Compacted(_)) => oldest(client, wanted).await,
        Err(error) => Err(error),
    }
}

/// How far etcd has been compacted, if beyond a revision: it says so to who watches from there.
async fn oldest(client: &Client, wanted: Revision) -> Result<Revision, Error> {
    let (key, _) = Root::Calico.range();
    let request =
        WatchCreateRequest { key, start_revision: number(wanted), ..WatchCreateRequest::default() };
    let mut stream = client.watch(request).await?;
    loop {
        match stream.message().await {
            Ok(Some(answer)) if answer.compact_revision > 0 => {
                return Ok(revision(answer.compact_revision));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(Error::Unavailable("etcd ended a watch".into())),
            Err(status) => return Err(Error::Unavailable(format!("etcd: {}", status.message()))),
        }
    }
}

impl Follower {
    /// Follows until it is dropped.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let before = self.feed.revision();
            match self.follow().await {
                Break::Lost(error) => {
                    if pause == PAUSE.0 {
                        tracing::warn!(%error, "lost sight of etcd's changes");
                    }
                }
                Break::Anew { after, generation, reason } => {
                    tracing::warn!(%reason, revision = %after, "all watches end");
                    self.feed.restart(after);
                    self.generation.store(generation, Ordering::SeqCst);
                }
            }
            pause = if self.feed.revision() == before { pause.saturating_mul(2) } else { PAUSE.0 };
            pause = pause.min(PAUSE.1);
            tokio::time::sleep(pause).await;
        }
    }

    fn anew(&self, after: Revision, reason: &'static str) -> Break {
        Break::Anew { after, generation: self.client.generation(), reason }
    }

    async fn follow(&mut self) -> Break {
        match self.watch().await {
            Ok(()) => Break::Lost(Error::Unavailable("etcd ended the watch".into())),
            Err(end) => end,
        }
    }

    async fn watch(&mut self) -> Result<(), Break> {
        let now = self.client.now().await?;
        if now.cluster_id != self.cluster {
            self.cluster = now.cluster_id;
            return Err(self.anew(revision(now.revision), "another etcd cluster is there"));
        }
        // The history may know less than was answered to others: it is behind now and then.
        if self.generation.load(Ordering::SeqCst) != self.client.generation()
            || revision(now.revision) < self.feed.revision()
        {
            return Err(self.anew(revision(now.revision), "etcd went back to an earlier state"));
        }
        let (key, range_end) = self.root.range();
        let request = WatchCreateRequest {
            key,
            range_end,
            start_revision: number(self.feed.revision().next()),
            progress_notify: true,
            prev_kv: true,
        };
        let mut stream = self.client.watch(request).await?;
        while let Some(answer) = stream.message().await.map_err(lost)? {
            self.take(answer)?;
        }
        Ok(())
    }

    fn take(&self, answer: WatchResponse) -> Result<(), Break> {
        if answer.canceled {
            return Err(match answer.compact_revision {
                0 => Break::Lost(Error::Unavailable(format!("etcd: {}", answer.cancel_reason))),
                compacted => self.anew(revision(compacted), "etcd forgot changes not yet seen"),
            });
        }
        let now = (self.options.clock)();
        let mut reached = self.feed.revision();
        if answer.events.is_empty() && !answer.created {
            // Nothing more up to there: etcd says so now and then.
            reached = answer.header.map_or(reached, |header| revision(header.revision));
        }
        let mut events: Vec<(Arc<Event>, SystemTime)> = Vec::new();
        for event in answer.events {
            let at = event.kv.as_ref().map_or(Revision::ZERO, |kv| revision(kv.mod_revision));
            if at > self.feed.revision() {
                reached = at;
                events.extend(self.event(&event)?.map(|event| (Arc::new(event), now)));
            }
        }
        self.feed.append(events, reached, &self.options.retention, now);
        Ok(())
    }

    /// An event as told, or none if it is of a key that can be no object's.
    fn event(&self, event: &wire::Event) -> Result<Option<Event>, Break> {
        let Some(kv) = &event.kv else { return Ok(None) };
        let revision = revision(kv.mod_revision);
        let deleted = event.r#type == EventType::Delete as i32;
        // Etcd leaves out what was there before if it was compacted meanwhile.
        if event.prev_kv.is_none() && (deleted || kv.create_revision != kv.mod_revision) {
            return Err(self.anew(revision, "etcd forgot what a change replaced"));
        }
        let previous = event.prev_kv.as_ref().and_then(|kv| self.root.object(kv));
        let event = match (deleted, self.root.object(kv), previous) {
            (false, Some(object), previous) => Event::Put { object, previous },
            (true, _, Some(last)) => Event::Delete { revision, last },
            _ => {
                let key = String::from_utf8_lossy(&kv.key);
                tracing::warn!(key = %key.escape_debug(), "a key in etcd that can be no object's");
                return Ok(None);
            }
        };
        Ok(Some(event))
    }
}

fn lost(status: tonic::Status) -> Break {
    Break::Lost(Error::Unavailable(format!("etcd: {}", status.message())))
}
