//! What every long-running program shares, without any knowledge of policy:
//!
//! - [`admin`]: metrics, readiness and the log's filter over [`http`];
//! - [`backoff`]: pauses between attempts;
//! - [`log`]: one line per event on standard error, for people or as JSON;
//! - [`metrics`]: what `prometheus-client` lacks;
//! - [`readiness`]: ready when nothing is being waited for;
//! - [`shutdown`]: signals, and draining what is still at work;
//! - [`socket`]: Unix sockets that neither steal nor leave behind;
//! - [`mod@file`]: replacing a file without a moment of half of it.

pub mod admin;
pub mod backoff;
pub mod file;
pub mod http;
pub mod log;
pub mod metrics;
pub mod readiness;
pub mod shutdown;
pub mod socket;
