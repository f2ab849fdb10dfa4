//! The node agent: takes in resources, calculates what its node has to enforce, and hands it out.
//!
//! [`source`] turns files into changes, [`engine`] is the one writer of the calculation, on a thread
//! of its own, [`network`] brings policy into the kernel, on another, and [`agent`] is the program
//! around them: files, Policy Sync, signals. [`cli`] is what users type.

pub mod agent;
pub mod cli;
pub mod engine;
pub mod metrics;
pub mod network;
pub mod source;
