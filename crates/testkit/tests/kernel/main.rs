//! Rulesets in the kernel, tried by packets between network namespaces. Needs root.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod harness;
