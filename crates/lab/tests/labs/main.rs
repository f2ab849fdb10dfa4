//! Labs with real namespaces. They need root and the programs the lab needs, and fail without
//! them: a skipped test would look like a pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![allow(clippy::indexing_slicing, reason = "test code")]

mod harness;
mod lifecycle;
