//! Policy Sync: the update stream of [`tortie_calc`] to and from sidecars.
//!
//! [`wire`] has the meaning of the messages, both ways.

pub mod wire;
