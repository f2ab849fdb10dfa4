//! Versioned storage with watch, for an API server: objects are opaque bytes under typed keys, and
//! every change makes a new [`Revision`] of the whole store.
//!
//! [`Store`] says what every engine does; a table of behaviour and a property test hold all of them
//! to it. [`Local`] keeps its objects in memory and, if it has a file, every change in it; with
//! feature `etcd`, [`Etcd`] keeps them in etcd as Calico does. [`Engine`] is any of them.
//!
//! docs/design/store.md has the contract and the reasons.

mod engine;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod feed;
mod key;
mod local;
mod object;
mod watch;

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

pub use engine::Engine;
pub use error::Error;
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdOptions, EtcdUser, Tls};
pub use feed::Retention;
pub use key::{InvalidKey, Key, Resource, Scope};
pub use local::{Clock, Local, Options};
pub use object::{Event, Object, Revision};
pub use watch::Watch;

/// The most bytes that a value may have; etcd as it is set up by default takes no more.
pub const MAX_VALUE: usize = 1_500_000;

/// Under which condition a write is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The object must not be there: this creates it.
    Absent,
    /// The object must be there as that change left it.
    At(Revision),
    /// Whatever there is. A delete still needs something to delete.
    Always,
}

impl When {
    /// The same, and other objects must be there as those changes left them.
    pub fn with(self, others: impl IntoIterator<Item = (Key, Revision)>) -> Condition {
        Condition { when: self, others: others.into_iter().collect() }
    }
}

/// Under which condition a write is made, beyond the object itself.
///
/// What others do to the other objects either comes before the write, which is then not made, or
/// after it: so whoever marks one of them finds all that was written before the mark, and nothing
/// comes after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What must hold for the object itself.
    pub when: When,
    /// Other objects, each of which must be there as that change left it. They are looked at first.
    pub others: Vec<(Key, Revision)>,
}

impl From<When> for Condition {
    fn from(when: When) -> Condition {
        when.with([])
    }
}

/// The state that a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// What is there now: every write acknowledged before the call is in it.
    Latest,
    /// What was there then.
    Revision(Revision),
    /// The next page of a list.
    Continue(Continue),
}

/// Where a list goes on: after an object, at the revision of the page before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    /// The revision of the list.
    pub revision: Revision,
    /// The last object of the page, by what its path has beyond the scope. Any text is safe here:
    /// it cannot lead out of the scope.
    pub after: SmolStr,
}

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Whose objects.
    pub scope: Scope,
    /// When.
    pub at: At,
    /// How many at most.
    pub limit: Option<NonZeroUsize>,
}

impl List {
    /// All objects of a scope, now.
    pub fn latest(scope: Scope) -> List {
        List { scope, at: At::Latest, limit: None }
    }
}

/// A list, or a part of one: all of it shows one state.
#[derive(Debug, Clone)]
pub struct Page {
    /// The objects, in the byte order of their paths.
    pub objects: Vec<Arc<Object>>,
    /// The state that is shown. A watch from here misses nothing.
    pub revision: Revision,
    /// Where the list goes on, if there is more.
    pub more: Option<Continue>,
}

/// Versioned storage with watch.
///
/// A future that is dropped may leave its write done or undone, as if the answer had been lost.
pub trait Store: Send + Sync + 'static {
    /// An object as it is now, if it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Arc<Object>>, Error>> + Send;

    /// Objects of a scope at one revision.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`], or when the store cannot be read.
    fn list(&self, list: &List) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Writes an object, durably where the engine is durable, and gives it with its revisions.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NotFound`] or [`Error::Conflict`] when the condition does not
    /// hold, and [`Error::Changed`] when it does not for another object; [`Error::TooLarge`];
    /// [`Error::Full`] and others when the store cannot be written.
    fn put(
        &self,
        key: &Key,
        value: Bytes,
        when: impl Into<Condition> + Send,
    ) -> impl Future<Output = Result<Arc<Object>, Error>> + Send;

    /// Deletes an object, and gives the change with what was there last.
    ///
    /// # Errors
    /// As for [`put`](Store::put). [`When::Absent`] never holds for a delete.
    fn delete(
        &self,
        key: &Key,
        when: impl Into<Condition> + Send,
    ) -> impl Future<Output = Result<Arc<Event>, Error>> + Send;

    /// The changes in a scope after a revision, in order, each once.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::Future`], or when the store cannot be read.
    fn watch(
        &self,
        scope: &Scope,
        after: Revision,
    ) -> impl Future<Output = Result<Watch, Error>> + Send;

    /// Forgets history: lists and watches of earlier revisions end in [`Error::Compacted`].
    /// Watches that have been told everything so far go on.
    ///
    /// # Errors
    /// [`Error::Compacted`] if that was done up to a later one, [`Error::Future`], or when the
    /// store cannot be written.
    fn compact(&self, revision: Revision) -> impl Future<Output = Result<(), Error>> + Send;
}
