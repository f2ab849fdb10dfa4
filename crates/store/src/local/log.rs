//! Where a local store's changes are kept.

use std::sync::Arc;
use std::time::SystemTime;

use crate::{Error, Event, Object, Revision};

/// What was there when a log was opened.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) objects: Vec<Arc<Object>>,
    /// All changes after the floor, in order.
    pub(super) history: Vec<(Arc<Event>, SystemTime)>,
    pub(super) floor: Revision,
    pub(super) revision: Revision,
}

/// Changes that are made together, or not at all.
pub(super) struct Batch<'a> {
    pub(super) events: &'a [Arc<Event>],
    pub(super) at: SystemTime,
    /// The store's revision with them.
    pub(super) revision: Revision,
    /// History up to here is dropped.
    pub(super) floor: Option<Revision>,
}

/// Keeps changes. Used by one thread alone.
pub(super) trait Log: Send + 'static {
    /// Keeps a batch: when this returns, it outlives the process and the machine's power.
    ///
    /// # Errors
    /// What is kept is unknown until [`settle`](Log::settle) has been asked.
    fn append(&mut self, batch: &Batch<'_>) -> Result<(), Error>;

    /// Makes sure that the log can be written again after an error, and says up to which revision
    /// changes are kept.
    ///
    /// # Errors
    /// It cannot be written now.
    fn settle(&mut self) -> Result<Revision, Error>;
}

/// Keeps nothing.
pub(super) struct Nothing;

impl Log for Nothing {
    fn append(&mut self, _: &Batch<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn settle(&mut self) -> Result<Revision, Error> {
        // Never asked: appending does not fail.
        Ok(Revision::ZERO)
    }
}
