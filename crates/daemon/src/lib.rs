//! What every long-running program shares, without any knowledge of policy:
//!
//! - [`log`]: one line per event on standard error, for people or as JSON;
//! - [`readiness`]: ready when nothing is being waited for;
//! - [`shutdown`]: signals, and draining what is still at work;
//! - [`socket`]: Unix sockets that neither steal nor leave behind;
//! - [`mod@file`]: replacing a file without a moment of half of it.

pub mod file;
pub mod log;
pub mod readiness;
pub mod shutdown;
pub mod socket;
