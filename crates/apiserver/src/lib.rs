//! A Kubernetes API over a store, for clients such as `kubectl`. It is not a Kubernetes: kinds are
//! data. Tables say what they are called and how they are shown; a dozen have a meaning here, all
//! others are kept as they are, those of CustomResourceDefinitions included.
//!
//! What may be stored is what can be enforced: admission is `tortie-policy`'s own conversion.
//!
//! [`Server`] is the server, [`cli`] its command. docs/design/apiserver.md and
//! docs/design/security.md have the contract and the reasons.

mod admission;
mod api;
mod apply;
mod ask;
mod audit;
mod auth;
mod body;
mod boot;
pub mod cli;
mod control;
mod defaults;
mod discovery;
mod environment;
pub mod fuzz;
mod gc;
mod handle;
mod jsonpath;
mod kinds;
mod kubelet;
mod messages;
mod object;
mod openapi;
mod patch;
mod path;
mod places;
mod prepare;
mod protobuf;
mod query;
mod read;
mod scale;
mod schema;
mod selector;
mod server;
mod standards;
mod standing;
mod status;
mod strategic;
mod strict;
mod swagger;
mod table;
pub mod tls;
mod view;
mod watch;
pub mod webhook;
mod write;

pub use audit::{Audit, Rotation};
pub use auth::{
    AGENT_USER, CONSOLE_USER, Credential, Entry, Register, RegisterError, Signer, new_token,
};
pub use environment::Environment;
pub use handle::Limits;
pub use server::{Door, Options, Server, StartError};
