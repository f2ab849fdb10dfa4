//! The incremental calculation.
//!
//! [`Calculation`] takes in resources as they change and tells what one node has to enforce.
//! [`Update`] is what an engine that enforces policy on one node is told, a message at a time; the
//! messages are those of Policy Sync. [`State`] is what it knows after them, and checks their
//! order: whatever is referred to comes before what refers to it, and outlives it.
//!
//! Everything here is pure: no IO, no clocks.

mod addresses;
mod batch;
mod calculation;
pub mod compiled;
mod definition;
mod flush;
mod index;
mod interface;
mod intern;
mod key;
mod locals;
mod members;
mod policies;
mod services;
mod set;
mod sets;
mod sharded;
mod state;
mod told;
mod update;
mod what;
mod world;

pub use batch::{batch, updates};
pub use calculation::Calculation;
pub use interface::interface_name;
pub use key::{Key, Kind};
pub use set::{Member, SetId, SetKind};
pub use sharded::ByAddress;
pub use state::{Disorder, IpSet, State};
pub use update::{
    ActivePolicy, ActiveProfile, EndpointTier, LocalEndpoint, LocalHost, RuleSets, Settings,
    SideSets, Update,
};
