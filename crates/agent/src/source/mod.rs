//! Where the agent's resources come from, as changes.

pub(crate) mod api;
mod census;
mod files;

use std::sync::Arc;

use tortie_calc::Key;
use tortie_model::{DecodeError, Resource};

pub use census::Census;
pub(crate) use files::Follower;
pub use files::{Files, Reading, fingerprint};

/// A resource that is new, has changed, or is gone.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which resource.
    pub key: Key,
    /// What it is now.
    pub now: Now,
}

/// What has become of a resource.
#[derive(Debug, Clone)]
pub enum Now {
    /// It is like this.
    Is(Arc<Resource>),
    /// It is there, but cannot be read; it counts as house rule 7 says.
    Broken(Arc<DecodeError>),
    /// It is not there.
    Gone,
}
