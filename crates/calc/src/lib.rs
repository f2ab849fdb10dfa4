//! The incremental calculation.
//!
//! [`Update`] is what an engine that enforces policy on one node is told, a message at a time; the
//! messages are those of Policy Sync. [`State`] is what it knows after them, and checks their
//! order: whatever is referred to comes before what refers to it, and outlives it.
//!
//! Everything here is pure: no IO, no clocks.

mod batch;
pub mod compiled;
mod set;
mod sharded;
mod state;
mod update;

pub use batch::{batch, updates};
pub use set::{Member, SetId, SetKind};
pub use sharded::ByAddress;
pub use state::{Disorder, IpSet, State};
pub use update::{
    ActivePolicy, ActiveProfile, EndpointTier, LocalEndpoint, LocalHost, RuleSets, Settings,
    SideSets, Update,
};
