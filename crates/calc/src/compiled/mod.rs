//! Policy compiled for fast decisions.
//!
//! A [`Snapshot`] is everything of a [`State`](crate::State) that decisions need, indexed and immutable, for all
//! endpoints of a node together. Asking it takes no lock and no memory, but for paths that are not
//! in normal form, which are copied. A snapshot of a later state shares with the one before whatever
//! did not change.
//!
//! The meaning is that of `policy`'s reference evaluator, with IP sets in the place of labels:
//! `docs/design/compiled.md` says how it works, and what is tested against what.

mod decision;
mod engine;
mod group;
mod identities;
mod index;
mod keys;
mod nested;
mod place;
mod program;
mod rule;
mod seen;
mod sets;
mod snapshot;
mod traffic;
mod world;

pub use decision::{Code, Decision};
pub use place::{Explained, Place};
pub use snapshot::{Size, Snapshot};
pub use traffic::Traffic;
