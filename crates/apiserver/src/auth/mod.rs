//! Who calls, and what they may do. docs/design/security.md has the contract.

mod caller;
mod credentials;
mod register;

pub(crate) use caller::{Caller, MASTERS, Peer};
pub(crate) use credentials::Credentials;
pub use register::{Credential, Entry, Register, RegisterError, new_token};
