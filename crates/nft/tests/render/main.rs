//! Rendering: what becomes of each construct, and that a ruleset is a function of what was told.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

#[path = "../../../testkit/tests/compiled/draw.rs"]
#[allow(dead_code, reason = "worlds as the compiled engine is tested with")]
mod draw;
mod golden;
mod order;
mod shared;
mod whole;
