//! Development only: what the tests of several crates share.
//!
//! - [`workspace`]: the packages and edges of this repository, for the layering and licence tests.

pub mod workspace;
