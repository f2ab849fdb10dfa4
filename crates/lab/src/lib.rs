//! A one-machine cluster: pods as processes in network namespaces with real Envoy sidecars.
//!
//! - [`Lab`] starts, finds and ends labs; [`cli`] is the same as commands.
//! - Outside a lab: `state` (its files), `launch` (its process tree), `process`.
//! - Inside: `inside` (the small programs that stand between namespaces), `supervisor` (the node, a
//!   client of the lab's API server) and `kubelet` (exec and logs for that server).
//! - Pure: `world` (what the API server holds), `controllers` (what is to be written to it), `plan`
//!   (what a pod needs).
//!
//! The contract and the invariants are in `docs/design/lab.md`, the guide in `docs/lab.md`.

mod admin;
mod apply;
pub mod cli;
mod control;
mod controllers;
mod denials;
mod error;
mod exec;
mod files;
mod in_force;
mod inside;
mod kubelet;
mod lab;
mod launch;
mod name;
mod net;
mod plan;
mod privileges;
mod process;
mod programs;
mod state;
mod status;
mod supervisor;
mod times;
mod world;

pub use apply::{Change, Outcome};
pub use denials::Denial;
pub use error::{Error, Problems, Reported};
pub use exec::Output;
pub use lab::{CERTIFICATE_LIFETIME, Lab, MutualTls, Options, down};
pub use name::LabName;
pub use state::StateRoot;
pub use status::{
    ContainerStatus, Named, Phase, PodStatus, Role, SecretStatus, ServiceStatus, State, Status,
};
