//! Why a store refuses, or cannot say.

use std::path::PathBuf;
use std::sync::Arc;

use crate::key::Key;
use crate::object::{Object, Revision};

/// What went wrong.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// To be created, but it is there.
    #[error("`{}` exists", .0.key)]
    Exists(
        /// As it is.
        Arc<Object>,
    ),
    /// To be changed or deleted, but it is not there.
    #[error("`{0}` does not exist")]
    NotFound(Key),
    /// It has been changed since the revision that was expected.
    #[error("`{}` is at revision {}, not at {expected}", current.key, current.modified)]
    Conflict {
        /// The revision that the writer knew.
        expected: Revision,
        /// As it is.
        current: Arc<Object>,
    },
    /// Another object that the write needs as it was is not so any more, or not there.
    #[error("`{0}` has been changed or deleted meanwhile")]
    Changed(
        /// Which.
        Key,
    ),
    /// The value is too large.
    #[error("the value of `{key}` has {bytes} bytes; {limit} are the most", limit = crate::MAX_VALUE)]
    TooLarge {
        /// Whose value.
        key: Key,
        /// Its size.
        bytes: usize,
    },
    /// The history asked for is gone, or never was this store's: list again, then watch from
    /// there.
    #[error("revision {0} is gone from the history")]
    Compacted(
        /// The revision asked for.
        Revision,
    ),
    /// The revision has not been reached. It may be that of another store.
    #[error("revision {asked} is in the future; the store is at {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The latest.
        current: Revision,
    },
    /// There is no room on the disk. Nothing was changed; reads go on.
    #[error("no room left for writing: {0}")]
    Full(String),
    /// The file is damaged, or not a store. It was left as it is.
    #[error("`{}` cannot be used: {reason}; restore it from a copy, or move it away to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is open already, in this program or another.
    #[error("`{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Reading or writing the disk failed, or the server could not be reached. Nothing was changed.
    #[error("{0}")]
    Unavailable(String),
    /// The same during a write, but the change may have been made: read to find out.
    #[error("the write may or may not have happened: {0}")]
    Uncertain(String),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
