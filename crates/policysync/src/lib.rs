//! Policy Sync: the update stream of [`tortie_calc`] to and from sidecars.
//!
//! [`wire`] has the meaning of the messages, both ways; [`client`] is the sidecar's side of the
//! connection, [`server`] the agent's. [`disk`] keeps what a sidecar was last told.

pub mod client;
mod codec;
pub mod disk;
pub mod server;
pub mod wire;
