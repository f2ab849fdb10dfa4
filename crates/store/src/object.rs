//! Objects, and the changes to them.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::key::Key;

/// A state of the whole store. Every change makes a greater one; there may be gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(u64);

impl Revision {
    /// Before the first change.
    pub const ZERO: Revision = Revision(0);

    /// A revision by its number.
    pub const fn new(number: u64) -> Revision {
        Revision(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    pub(crate) const fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }

    /// The one before it; there is none before the first.
    pub(crate) const fn before(self) -> Revision {
        Revision(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Revision, ParseIntError> {
        text.parse().map(Revision)
    }
}

/// An object as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub key: Key,
    /// What was written, byte for byte.
    pub value: Bytes,
    /// The change that created it; another one after it was deleted and made again.
    pub created: Revision,
    /// The last change.
    pub modified: Revision,
}

/// Without the value, which may be a secret: only its size.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Object { key, value, created, modified } = self;
        write!(f, "{key} ({} bytes, created {created}, modified {modified})", value.len())
    }
}

/// A change to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was created or replaced.
    Put {
        /// As it is since.
        object: Arc<Object>,
        /// As it was before, if it was.
        previous: Option<Arc<Object>>,
    },
    /// It was deleted.
    Delete {
        /// When.
        revision: Revision,
        /// As it was last.
        last: Arc<Object>,
    },
}

impl Event {
    /// The revision that the change made.
    pub fn revision(&self) -> Revision {
        match self {
            Event::Put { object, .. } => object.modified,
            Event::Delete { revision, .. } => *revision,
        }
    }

    /// The object: as it is, or, if it was deleted, as it was last.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Event::Put { object, .. } => object,
            Event::Delete { last, .. } => last,
        }
    }

    /// The object as it was before, if it was.
    pub fn previous(&self) -> Option<&Arc<Object>> {
        match self {
            Event::Put { previous, .. } => previous.as_ref(),
            Event::Delete { last, .. } => Some(last),
        }
    }

    /// The object as it is since, if it is.
    pub(crate) fn current(&self) -> Option<&Arc<Object>> {
        match self {
            Event::Put { object, .. } => Some(object),
            Event::Delete { .. } => None,
        }
    }

    /// The object's name.
    pub fn key(&self) -> &Key {
        &self.object().key
    }

    /// About how many bytes it holds on to.
    pub(crate) fn weight(&self) -> usize {
        const EACH: usize = 512;
        let previous = self.previous().map_or(0, |object| object.value.len());
        EACH + previous + self.current().map_or(0, |object| object.value.len())
    }
}
