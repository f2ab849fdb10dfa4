//! The authorizer: answers Envoy's external authorization checks for one workload.
//!
//! A check travels through small steps, each a module: [`call`] views the message, [`decide`] puts
//! it to policy, [`decision_log`] writes a line if it is refused, [`answer`] makes the message for
//! Envoy. [`service`] strings them together over the [`snapshot`] of the moment, which [`source`]
//! keeps up to date with the files. [`transport`], [`health`] and [`server`] are the program
//! around it; [`client`] asks it; [`cli`] is what users type.

pub mod answer;
pub mod call;
pub mod cli;
pub mod client;
pub mod decide;
pub mod decision_log;
pub mod health;
pub mod server;
pub mod service;
pub mod snapshot;
pub mod source;
pub mod text;
pub mod transport;
