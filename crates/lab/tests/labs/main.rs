//! Labs with real namespaces, Envoys and authorizers. They need root and the programs the lab
//! needs (`$ENVOY` or an Envoy that is found). Without root they are skipped, but in CI they fail:
//! there a skipped test would look like a pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![allow(clippy::indexing_slicing, clippy::string_slice, reason = "test code")]

mod agent;
mod api;
mod away;
mod cluster;
mod exec;
mod faults;
mod harness;
mod isolation;
mod kubectl_exec;
mod kubectl_logs;
mod lifecycle;
mod mesh;
mod network;
mod policy;
mod rootless;
mod terminal;
