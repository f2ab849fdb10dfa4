//! The meaning of policy.
//!
//! Resources of `tortie-model` convert into domain types that are valid by construction
//! ([`Policy`], [`Tier`], [`Endpoint`]), are put together as a [`Cluster`], and are asked about
//! traffic by the reference evaluator [`evaluate`]. Criteria ask [`Facts`], which answer true, false
//! or unknown: in doubt an Allow rule does not match, a Deny rule does, and a Pass rule denies.
//!
//! Everything here is pure: no IO, no clocks, no caches.

mod auto_hosts;
mod before;
mod build;
mod case;
mod cluster;
mod compat;
mod convert;
mod endpoint;
mod engine;
mod evaluate;
mod facts;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod kubernetes;
mod labels;
mod layer4;
pub mod lint;
mod matrix;
mod mend;
mod name;
mod parts;
mod query;
mod reason;
mod relax;
mod rule;
mod services;
mod settings;
mod single;
mod spiffe;
mod tri;
mod witness;

pub use before::{BeforePolicy, NEIGHBOUR_TYPES, Tunnel};
pub use case::{Case, Outcome, request_line};
pub use cluster::{Applicable, Backend, Cluster, End, Invalid, Plane, TierPolicies};
pub use compat::{Compat, CompatPlace, CompatPoint, UnknownPoint};
pub use endpoint::{
    DenyAction, Endpoint, EndpointToHost, EstablishedFlows, Failsafe, FlowReaders, HostEndpoint,
    HostSettings, Interface, LogLimit, LogSettings, NamedPort, NetworkSet,
};
pub use engine::{Decider, Engine};
pub use evaluate::{Criterion, Step, Verdict, effect, evaluate, holds, matches};
pub use facts::{Address, Facts, Flow, HttpAtNetwork, HttpRequest, Principal, Request, Trust};
pub use http::{HttpMatch, InvalidPath, NormalPath, PathMatch};
pub use kubernetes::{asks_for_sidecars, expand_workload, has_sidecar, service_account};
pub use layer4::{IpVersion, PortMatch, Protocol};
pub use matrix::{Cell, InvalidPortSpec, Matrix, PortSpec};
pub use name::{Account, EndpointId, InvalidEndpointId, Labels, PolicyId, PolicyKind};
pub use query::{
    Before, Change, Described, Explanation, Leg, Nearest, Party, PortName, Query, QueryError, Word,
    explain, explain_by, parse_icmp,
};
pub use reason::{Lack, TraceEntry, nearest};
pub use rule::{
    Accounts, Action, DefaultAction, Direction, EntityMatch, IcmpMatch, Order, Peers, Policy,
    Profile, Rule, Scope, ServiceRef, Side, Stage, StagedAction, Tier,
};
pub use single::{
    Read, Single, SinglePod, account_profile, account_profile_name, allow_all_profile,
    assign_addresses, missing_profile, namespace_profile, namespace_profile_name, selected_by,
    unseen_account, unseen_namespace,
};
pub use spiffe::{InvalidSpiffeId, SpiffeId};
pub use tri::Tri;
pub use witness::Witness;
