//! A node with workloads around it, made of network namespaces, and packets that are sent through it
//! to see which arrive.
//!
//! - [`Network`]: the node, its links, what it is given to enforce.
//! - [`Packet`], [`Probe`]: a first packet of a flow, and where it enters and should leave.
//! - [`Scene`]: from resources and flows to a layout, probes, and what the reference evaluator says
//!   of each.
//!
//! Nothing waits for time to pass. A node's packets are queued per processor, first in, first out, and
//! all of a network is driven from one thread that stays on one processor. So once a marker that was
//! sent last has been to and fro as often as a packet can be queued, every packet has arrived or has
//! been dropped.

mod conntrack;
mod ears;
mod exact;
mod layout;
mod marker;
mod namespace;
mod node;
mod probe;
mod scene;
mod wire;

pub use exact::Exact;
pub use layout::Layout;
pub use namespace::{Namespace, may_run};
pub use node::Network;
pub use probe::{Outcome, Place, Probe};
pub use scene::{Asked, Scene, Unfit};
pub use wire::Packet;
