//! Recent changes, kept for those who watch: one history that every watch reads at its own pace.
//!
//! A watch is a place in the history and nothing else, so resuming one after a break is the same
//! as being slow, a slow one costs no memory, and nobody waits for it. What is dropped from the
//! history is remembered for each resource, so that a watch of a quiet resource is not ended by
//! changes of busy ones.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::error::Error;
use crate::key::{Resource, Scope};
use crate::object::{Event, Revision};

/// How much history is kept. What exceeds any of the three is dropped, oldest first, when a change
/// is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many changes.
    pub events: usize,
    /// How many bytes, about: each change counts its object as it was and as it is.
    pub bytes: usize,
    /// For how long.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        let age = Duration::from_secs(10 * 60);
        Retention { events: 100_000, bytes: 64 << 20, age }
    }
}

/// How many changes a watch takes at a time.
const BATCH: usize = 64;

/// The history of one resource.
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The last change that was dropped.
    lost: Revision,
    changed: watch::Sender<()>,
}

impl Ring {
    fn new() -> Ring {
        let (changed, _) = watch::channel(());
        Ring { events: VecDeque::new(), lost: Revision::ZERO, changed }
    }
}

#[derive(Default)]
struct History {
    rings: HashMap<Resource, Ring>,
    /// All changes, oldest first, with the time of each.
    order: VecDeque<(Arc<Event>, SystemTime)>,
    bytes: usize,
    /// Before this, nothing can be asked for.
    floor: Revision,
    /// Up to here, everything is in.
    revision: Revision,
    /// How many times the history has been begun anew.
    epoch: u64,
    closed: bool,
}

impl History {
    fn oldest(&self, resource: &Resource) -> Revision {
        let lost = self.rings.get(resource).map_or(Revision::ZERO, |ring| ring.lost);
        lost.max(self.floor)
    }

    fn reach(&self, resource: &Resource, asked: Revision) -> Result<(), Error> {
        if asked < self.oldest(resource) { Err(Error::Compacted(asked)) } else { Ok(()) }
    }

    fn push(&mut self, event: Arc<Event>, at: SystemTime) {
        self.bytes += event.weight();
        let resource = event.key().resource();
        if !self.rings.contains_key(resource) {
            self.rings.insert(resource.clone(), Ring::new());
        }
        if let Some(ring) = self.rings.get_mut(resource) {
            ring.events.push_back(event.clone());
            ring.changed.send_replace(());
        }
        self.order.push_back((event, at));
    }

    fn exceeds(&self, keep: &Retention, now: SystemTime) -> bool {
        let old =
            |(_, at): &(_, SystemTime)| now.duration_since(*at).is_ok_and(|age| age > keep.age);
        let full = self.order.len() > keep.events || self.bytes > keep.bytes;
        full || self.order.front().is_some_and(old)
    }

    /// Drops the oldest change and says which it was.
    fn drop_oldest(&mut self) -> Option<Revision> {
        let (event, _) = self.order.pop_front()?;
        self.bytes = self.bytes.saturating_sub(event.weight());
        if let Some(ring) = self.rings.get_mut(event.key().resource()) {
            ring.events.pop_front();
            ring.lost = event.revision();
        }
        Some(event.revision())
    }

    /// Whether there was more to take.
    fn take(
        &self,
        scope: &Scope,
        cursor: &mut Cursor,
        taken: &mut VecDeque<Arc<Event>>,
    ) -> Result<bool, Error> {
        if self.epoch != cursor.epoch {
            return Err(Error::Compacted(cursor.at));
        }
        let Some(ring) = self.rings.get(scope.resource()) else { return Ok(false) };
        if ring.lost > cursor.at {
            return Err(Error::Compacted(cursor.at));
        }
        let start = ring.events.partition_point(|event| event.revision() <= cursor.at);
        for event in ring.events.range(start..) {
            // A revision is never split: the place is between revisions.
            if taken.len() >= BATCH && event.revision() > cursor.at {
                return Ok(true);
            }
            cursor.at = event.revision();
            if scope.contains(event.key()) {
                taken.push_back(event.clone());
            }
        }
        cursor.at = cursor.at.max(self.revision);
        // After the last change, the end.
        if self.closed && taken.is_empty() { Err(Error::Closed) } else { Ok(self.closed) }
    }

    fn wake_all(&self) {
        self.rings.values().for_each(|ring| {
            ring.changed.send_replace(());
        });
    }
}

/// The place of a watch in the history.
pub(crate) struct Cursor {
    pub(crate) at: Revision,
    epoch: u64,
    changed: watch::Receiver<()>,
}

impl Cursor {
    /// Waits until there may be more.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as the feed, which whoever waits holds.
        let _ = self.changed.changed().await;
    }
}

/// The history, shared by the engine that writes it and by all watches.
#[derive(Default)]
pub(crate) struct Feed {
    history: RwLock<History>,
}

impl Feed {
    /// A history that begins after a revision.
    pub(crate) fn new(floor: Revision) -> Feed {
        let history = History { floor, revision: floor, ..History::default() };
        Feed { history: RwLock::new(history) }
    }

    fn read(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, History> {
        self.history.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to where everything is in.
    #[cfg(feature = "etcd")]
    pub(crate) fn revision(&self) -> Revision {
        self.read().revision
    }

    /// Adds changes, all there are up to a revision, and drops what is too much; the last that was
    /// dropped is returned.
    pub(crate) fn append(
        &self,
        events: impl IntoIterator<Item = (Arc<Event>, SystemTime)>,
        revision: Revision,
        keep: &Retention,
        now: SystemTime,
    ) -> Option<Revision> {
        let mut history = self.write();
        events.into_iter().for_each(|(event, at)| history.push(event, at));
        history.revision = history.revision.max(revision);
        let mut dropped = None;
        while history.exceeds(keep, now) {
            dropped = history.drop_oldest().or(dropped);
        }
        dropped
    }

    /// Forgets what is not after a revision.
    pub(crate) fn compact(&self, floor: Revision) {
        let mut history = self.write();
        history.floor = history.floor.max(floor);
        while history.order.front().is_some_and(|(event, _)| event.revision() <= floor) {
            history.drop_oldest();
        }
    }

    /// The oldest revision that can be asked for of any resource.
    pub(crate) fn floor(&self) -> Revision {
        self.read().floor
    }

    /// Begins anew: the store is another one, or changes were missed. All watches end.
    #[cfg(feature = "etcd")]
    pub(crate) fn restart(&self, floor: Revision) {
        let mut history = self.write();
        let epoch = history.epoch + 1;
        let rings = std::mem::take(&mut history.rings);
        *history = History { floor, revision: floor, epoch, ..History::default() };
        drop(history);
        rings.values().for_each(|ring| {
            ring.changed.send_replace(());
        });
    }

    /// No more changes: watches end after the last.
    pub(crate) fn close(&self) {
        let mut history = self.write();
        history.closed = true;
        history.wake_all();
    }

    /// A place after a revision.
    pub(crate) fn subscribe(&self, scope: &Scope, after: Revision) -> Result<Cursor, Error> {
        let mut history = self.write();
        history.reach(scope.resource(), after)?;
        let epoch = history.epoch;
        let ring = history.rings.entry(scope.resource().clone()).or_insert_with(Ring::new);
        let mut changed = ring.changed.subscribe();
        changed.mark_changed();
        Ok(Cursor { at: after, epoch, changed })
    }

    /// Takes some changes after a place, and moves it past them and past what is not in scope.
    pub(crate) fn take(
        &self,
        scope: &Scope,
        cursor: &mut Cursor,
        taken: &mut VecDeque<Arc<Event>>,
    ) -> Result<(), Error> {
        // Whatever comes after this look wakes the next wait.
        cursor.changed.borrow_and_update();
        let more = self.read().take(scope, cursor, taken);
        // So does what is left: more changes, or the end.
        if !matches!(more, Ok(false)) {
            cursor.changed.mark_changed();
        }
        more.map(|_| ())
    }

    /// All changes of a resource after a revision.
    pub(crate) fn since(
        &self,
        resource: &Resource,
        after: Revision,
    ) -> Result<Vec<Arc<Event>>, Error> {
        let history = self.read();
        history.reach(resource, after)?;
        let Some(ring) = history.rings.get(resource) else { return Ok(Vec::new()) };
        let start = ring.events.partition_point(|event| event.revision() <= after);
        Ok(ring.events.range(start..).cloned().collect())
    }
}
