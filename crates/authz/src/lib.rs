//! The authorizer: answers Envoy's external authorization checks for one workload.
//!
//! A check travels through small steps, each a module: [`grpc`] takes the bytes, [`call`] views the
//! message, [`guarded`] finds whose policies it is put to, [`decide`] puts it to them,
//! [`decision_log`] writes a line if it is refused, [`answer`] makes the message for Envoy.
//! [`service`] strings them together over the [`snapshot`] of the moment, which [`source`] keeps up to
//! date. [`transport`], [`health`], [`metrics`] and [`server`] are the program around it; [`client`]
//! asks it; [`cli`] is what users type.

pub mod answer;
pub mod budget;
pub mod call;
pub mod cli;
pub mod client;
pub mod decide;
pub mod decision_log;
#[doc(hidden)]
pub mod fuzz;
pub mod grpc;
pub mod guarded;
pub mod health;
pub mod metrics;
pub mod server;
pub mod service;
pub mod snapshot;
pub mod source;
pub mod template;
pub mod terminate;
pub mod text;
pub mod transport;
pub mod wire;
