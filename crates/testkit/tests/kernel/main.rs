//! Rulesets in the kernel, tried by packets between network namespaces. Needs root.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod corpus;
#[path = "../compiled/draw.rs"]
#[allow(
    dead_code,
    reason = "what is not wanted here is wanted by the tests of the compiled engine"
)]
mod draw;
mod harness;
mod host;
mod judge;
mod live;
mod random;
