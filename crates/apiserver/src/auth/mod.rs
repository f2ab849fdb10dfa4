//! Who calls, and what they may do. docs/design/security.md has the contract.

mod access;
mod accounts;
mod author;
mod built_in;
mod caller;
mod credentials;
mod gate;
mod grants;
mod lasting;
mod rbac;
mod register;
mod review;
mod tiers;
mod tokens;

pub(crate) use access::{Access, RBAC};
pub(crate) use author::{Author, Change};
pub use built_in::{AGENT as AGENT_USER, CONSOLE as CONSOLE_USER};
pub(crate) use caller::{Caller, MASTERS, Peer};
pub(crate) use credentials::Credentials;
pub(crate) use gate::{connects, makes_tokens, verb};
pub(crate) use lasting::Lasting;
pub use register::{Credential, Entry, Register, RegisterError, new_token};
pub use tokens::Signer;
