//! What a local store holds in memory, as all readers see it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use super::log::Kept;
use crate::feed::Feed;
use crate::{At, Continue, Error, Event, List, Object, Page, Retention, Revision, Scope, Watch};

/// Objects by their path.
pub(super) type Objects = BTreeMap<Box<str>, Arc<Object>>;

/// Objects with their path, in order.
type Found = Vec<(Box<str>, Arc<Object>)>;

/// The objects as a revision left them.
#[derive(Default)]
pub(super) struct State {
    pub(super) objects: Objects,
    pub(super) revision: Revision,
}

impl State {
    fn apply(&mut self, event: &Event) {
        let path = event.key().path();
        match event.current() {
            Some(object) => self.objects.insert(path.into(), object.clone()),
            None => self.objects.remove(path.as_str()),
        };
        self.revision = event.revision();
    }
}

/// State and history. Whoever needs both locks the state first; while it is locked, the history
/// leads to exactly this state.
pub(super) struct Shared {
    state: RwLock<State>,
    feed: Arc<Feed>,
}

impl Shared {
    pub(super) fn new(kept: Kept, keep: &Retention, now: SystemTime) -> Shared {
        let Kept { objects, history, floor, revision } = kept;
        let objects = objects.into_iter().map(|object| (object.key.path().into(), object));
        let state = State { objects: objects.collect(), revision };
        let feed = Feed::new(floor);
        feed.append(history, revision, keep, now);
        Shared { state: RwLock::new(state), feed: Arc::new(feed) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes changes visible, and says up to where history has been dropped for them.
    pub(super) fn apply(
        &self,
        events: &[Arc<Event>],
        revision: Revision,
        keep: &Retention,
        now: SystemTime,
    ) -> Option<Revision> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| state.apply(event));
        self.feed.append(events.iter().map(|event| (event.clone(), now)), revision, keep, now)
    }

    pub(super) fn compact(&self, floor: Revision) {
        self.feed.compact(floor);
    }

    pub(super) fn floor(&self) -> Revision {
        self.feed.floor()
    }

    pub(super) fn close(&self) {
        self.feed.close();
    }

    pub(super) fn revision(&self) -> Revision {
        self.read().revision
    }

    pub(super) fn get(&self, path: &str) -> Option<Arc<Object>> {
        self.read().objects.get(path).cloned()
    }

    pub(super) fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, Error> {
        reached(after, self.revision())?;
        Watch::new(&self.feed, scope, after)
    }

    pub(super) fn list(&self, list: &List) -> Result<Page, Error> {
        let prefix = list.scope.prefix();
        let state = self.read();
        let (revision, after) = match &list.at {
            At::Latest => (state.revision, None),
            At::Revision(revision) => (*revision, None),
            At::Continue(place) => (place.revision, Some(format!("{prefix}{}", place.after))),
        };
        reached(revision, state.revision)?;
        let wanted = list.limit.map_or(usize::MAX, usize::from);
        let range =
            Range { prefix: &prefix, after: after.as_deref(), most: wanted.saturating_add(1) };
        let mut found = self.at(&state, &list.scope, revision, &range)?;
        drop(state);
        let more = found.len() > wanted;
        found.truncate(wanted);
        let last = found.last().filter(|_| more);
        let more = last.map(|(path, _)| Continue {
            revision,
            after: path.strip_prefix(prefix.as_str()).unwrap_or_default().into(),
        });
        let objects = found.into_iter().map(|(_, object)| object).collect();
        Ok(Page { objects, revision, more })
    }

    /// What was in a range at a revision: what is there now, with later changes undone.
    fn at(
        &self,
        state: &State,
        scope: &Scope,
        revision: Revision,
        range: &Range<'_>,
    ) -> Result<Found, Error> {
        let mut then: BTreeMap<Box<str>, Option<Arc<Object>>> = BTreeMap::new();
        if revision != state.revision {
            for event in self.feed.since(scope.resource(), revision)? {
                let path = event.key().path();
                if range.contains(&path) {
                    // The first change after the revision knows what was there before it.
                    then.entry(path.into()).or_insert_with(|| event.previous().cloned());
                }
            }
        }
        let now = range.of(&state.objects).filter(|(path, _)| !then.contains_key(*path));
        let now = now.take(range.most).map(|(path, object)| (path.clone(), object.clone()));
        let mut found: Vec<_> = now.collect();
        if !then.is_empty() {
            let then = then.into_iter().filter_map(|(path, object)| Some((path, object?)));
            found.extend(then);
            found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            found.truncate(range.most);
        }
        Ok(found)
    }
}

fn reached(asked: Revision, current: Revision) -> Result<(), Error> {
    if asked > current { Err(Error::Future { asked, current }) } else { Ok(()) }
}

/// The paths under a prefix, after one of them.
struct Range<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    most: usize,
}

impl Range<'_> {
    fn contains(&self, path: &str) -> bool {
        path.starts_with(self.prefix) && self.after.is_none_or(|after| path > after)
    }

    fn of<'a>(
        &'a self,
        objects: &'a Objects,
    ) -> impl Iterator<Item = (&'a Box<str>, &'a Arc<Object>)> {
        let start = self.after.map_or(Bound::Included(self.prefix), Bound::Excluded);
        let from = objects.range::<str, _>((start, Bound::Unbounded));
        from.take_while(|(path, _)| path.starts_with(self.prefix))
    }
}
