//! Who calls, and what they may do. docs/design/security.md has the contract.

mod access;
mod author;
mod built_in;
mod caller;
mod credentials;
mod gate;
mod grants;
mod rbac;
mod register;
mod review;
mod tiers;

pub(crate) use access::Access;
pub(crate) use author::{Author, Change};
pub use built_in::AGENT as AGENT_USER;
pub(crate) use caller::{Caller, MASTERS, Peer};
pub(crate) use credentials::Credentials;
pub(crate) use gate::{connects, verb};
pub use register::{Credential, Entry, Register, RegisterError, new_token};
