//! The one thread that changes a local store.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Options;
use super::log::{Batch, Log};
use super::state::{Shared, State};
use crate::{Condition, Error, Event, Key, Object, Revision, When};

/// The most writes that go to the disk together.
const GROUP: usize = 256;

/// Where an answer is awaited; if it no longer is, that is all the same.
type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked.
pub(super) enum Request {
    /// To put a value, or to delete what is there.
    Write(Write),
    /// To forget history.
    Compact { revision: Revision, reply: Reply<()> },
}

/// One write: without a value, a delete.
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) value: Option<Bytes>,
    pub(super) when: Condition,
    pub(super) reply: Reply<Arc<Event>>,
}

/// The changes of a group, each seeing those before it.
struct Group<'a> {
    state: &'a State,
    changed: HashMap<Key, Option<Arc<Object>>>,
    events: Vec<Arc<Event>>,
}

impl Group<'_> {
    fn revision(&self) -> Revision {
        self.events.last().map_or(self.state.revision, |event| event.revision())
    }

    fn current(&self, key: &Key) -> Option<Arc<Object>> {
        match self.changed.get(key) {
            Some(object) => object.clone(),
            None => self.state.objects.get(key.path().as_str()).cloned(),
        }
    }

    fn write(
        &mut self,
        key: Key,
        value: Option<Bytes>,
        condition: Condition,
    ) -> Result<Arc<Event>, Error> {
        for (other, revision) in condition.others {
            if self.current(&other).is_none_or(|other| other.modified != revision) {
                return Err(Error::Changed(other));
            }
        }
        let current = self.current(&key);
        check(&key, current.as_ref(), value.is_none(), condition.when)?;
        let revision = self.revision().next();
        let event = Arc::new(match (value, current) {
            (Some(value), previous) => {
                let created = previous.as_ref().map_or(revision, |object| object.created);
                let object = Arc::new(Object { key, value, created, modified: revision });
                Event::Put { object, previous }
            }
            (None, Some(last)) => Event::Delete { revision, last },
            (None, None) => return Err(Error::NotFound(key)),
        });
        self.changed.insert(event.key().clone(), event.current().cloned());
        self.events.push(event.clone());
        Ok(event)
    }
}

/// Whether the condition of a write holds for the object itself.
fn check(key: &Key, current: Option<&Arc<Object>>, delete: bool, when: When) -> Result<(), Error> {
    match (when, current) {
        (When::Always, Some(_)) => Ok(()),
        (When::Always | When::Absent, None) if !delete => Ok(()),
        (When::Absent, Some(current)) => Err(Error::Exists(current.clone())),
        (When::At(expected), Some(current)) if current.modified != expected => {
            Err(Error::Conflict { expected, current: current.clone() })
        }
        (When::At(_), Some(_)) => Ok(()),
        (_, None) => Err(Error::NotFound(key.clone())),
    }
}

/// Writes waiting for the disk.
type Waiting = Vec<(Reply<Arc<Event>>, Arc<Event>)>;

pub(super) struct Writer<L> {
    shared: Arc<Shared>,
    log: L,
    options: Options,
    /// Changes of which it is unknown whether they are kept.
    doubtful: Vec<Arc<Event>>,
    /// The log has failed and not been settled.
    broken: bool,
    /// The last write was refused, and that has been logged.
    refusing: bool,
    /// History up to here is dropped from memory, and will be from the log.
    dropped: Option<Revision>,
}

impl<L> Drop for Writer<L> {
    /// However it ends, those who watch are told.
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<L: Log> Writer<L> {
    pub(super) fn new(shared: Arc<Shared>, log: L, options: Options) -> Writer<L> {
        Writer {
            shared,
            log,
            options,
            doubtful: Vec::new(),
            broken: false,
            refusing: false,
            dropped: None,
        }
    }

    /// Answers until nobody can ask any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut group, GROUP) > 0 {
            self.serve(group.drain(..));
        }
    }

    fn serve(&mut self, requests: impl Iterator<Item = Request>) {
        let mut writes = Vec::new();
        for request in requests {
            match request {
                Request::Write(write) => writes.push(write),
                Request::Compact { revision, reply } => {
                    self.write(std::mem::take(&mut writes));
                    let _ = reply.send(self.compact(revision));
                }
            }
        }
        self.write(writes);
    }

    fn write(&mut self, writes: Vec<Write>) {
        if let Err(error) = self.ready() {
            for Write { reply, .. } in writes {
                let _ = reply.send(Err(error.clone()));
            }
            return;
        }
        let state = self.shared.read();
        let mut group = Group { state: &state, changed: HashMap::new(), events: Vec::new() };
        let mut waiting = Waiting::new();
        let mut refused = Vec::new();
        for Write { key, value, when, reply } in writes {
            match group.write(key, value, when) {
                Ok(event) => waiting.push((reply, event)),
                Err(error) => refused.push((reply, error)),
            }
        }
        let (events, revision) = (group.events, state.revision);
        drop(state);
        let kept = self.keep(events, revision);
        // A refusal may rest on a write of the group, so it waits for it as well.
        for (reply, event) in waiting {
            let _ = reply.send(kept.clone().map(|()| event));
        }
        for (reply, error) in refused {
            let _ = reply.send(kept.clone().and(Err(error)));
        }
    }

    /// Keeps changes, then shows them.
    fn keep(&mut self, events: Vec<Arc<Event>>, before: Revision) -> Result<(), Error> {
        let Some(last) = events.last() else { return Ok(()) };
        let revision = last.revision();
        let at = (self.options.clock)();
        let batch = Batch { events: &events, at, revision, floor: self.dropped };
        match self.log.append(&batch) {
            Ok(()) => {
                self.accept();
                self.dropped = None;
                self.show(&events);
            }
            Err(error) => {
                self.refuse(&error);
                self.doubtful = events;
                self.broken = true;
                match self.settle() {
                    Ok(kept) if kept > before => {}
                    Ok(_) => return Err(error),
                    Err(_) => return Err(Error::Uncertain(error.to_string())),
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.refusing, true) {
            tracing::error!(%error, "writes are refused");
        }
    }

    fn accept(&mut self) {
        if std::mem::take(&mut self.refusing) {
            tracing::info!("writes are accepted again");
        }
    }

    fn show(&mut self, events: &[Arc<Event>]) {
        let Some(last) = events.last() else { return };
        let (keep, now) = (self.options.retention, (self.options.clock)());
        let dropped = self.shared.apply(events, last.revision(), &keep, now);
        self.dropped = dropped.or(self.dropped);
    }

    /// Finds out what became of doubtful changes.
    fn settle(&mut self) -> Result<Revision, Error> {
        let kept = self.log.settle()?;
        self.broken = false;
        let doubtful = std::mem::take(&mut self.doubtful);
        if doubtful.last().is_some_and(|last| last.revision() <= kept) {
            self.show(&doubtful);
        }
        Ok(kept)
    }

    /// Makes sure that the log can be written.
    fn ready(&mut self) -> Result<(), Error> {
        if self.broken { self.settle().map(drop) } else { Ok(()) }
    }

    fn compact(&mut self, floor: Revision) -> Result<(), Error> {
        self.ready()?;
        let revision = self.shared.revision();
        if floor < self.shared.floor() {
            return Err(Error::Compacted(floor));
        }
        if floor > revision {
            return Err(Error::Future { asked: floor, current: revision });
        }
        let batch = Batch { events: &[], at: (self.options.clock)(), revision, floor: Some(floor) };
        if let Err(error) = self.log.append(&batch) {
            self.broken = true;
            return Err(error);
        }
        self.shared.compact(floor);
        Ok(())
    }
}
