//! Watching a scope.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::feed::{Cursor, Feed};
use crate::key::Scope;
use crate::object::{Event, Revision};

/// The changes in a scope after a revision, in order, each once.
///
/// It holds a handful of changes at most: one that is slow reads on from the store's history, and
/// ends in [`Error::Compacted`] when that has gone on without it.
pub struct Watch {
    feed: Arc<Feed>,
    scope: Scope,
    cursor: Cursor,
    taken: VecDeque<Arc<Event>>,
}

impl Watch {
    pub(crate) fn new(feed: &Arc<Feed>, scope: &Scope, after: Revision) -> Result<Watch, Error> {
        let cursor = feed.subscribe(scope, after)?;
        Ok(Watch { feed: feed.clone(), scope: scope.clone(), cursor, taken: VecDeque::new() })
    }

    /// The next change. It is one value for all who watch. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The watch has ended: [`Error::Compacted`] when it was too slow or the store has been
    /// replaced, or [`Error::Closed`].
    pub async fn next(&mut self) -> Result<Arc<Event>, Error> {
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Ok(event);
            }
            self.cursor.changed().await;
            self.fill()?;
        }
    }

    /// The next change, if there is one already.
    ///
    /// # Errors
    /// As for [`next`](Watch::next).
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, Error> {
        if self.taken.is_empty() {
            self.fill()?;
        }
        Ok(self.taken.pop_front())
    }

    /// Up to where this watch has given everything: what a bookmark says. A watch after it goes on
    /// where this one is.
    pub fn position(&mut self) -> Revision {
        if self.taken.is_empty() {
            // An end shows in the next call of `next`.
            let _ = self.fill();
        }
        self.taken.front().map_or(self.cursor.at, |event| event.revision().before())
    }

    fn fill(&mut self) -> Result<(), Error> {
        self.feed.take(&self.scope, &mut self.cursor, &mut self.taken)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scope, at) = (&self.scope, self.cursor.at);
        f.debug_struct("Watch").field("scope", scope).field("at", &at).finish_non_exhaustive()
    }
}
