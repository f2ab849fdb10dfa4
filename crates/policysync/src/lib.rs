//! Policy Sync: the update stream of [`tortie_calc`] to and from sidecars.
//!
//! [`wire`] has the meaning of the messages, both ways; [`client`] is the sidecar's side of the
//! connection, [`server`] the agent's. [`disk`] keeps what a sidecar was last told, and `json`, with
//! the feature of that name, shows it.

pub mod client;
mod codec;
pub mod disk;
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "json")]
pub mod json;
pub mod server;
pub mod wire;
