//! What the process may do.

use rustix::thread::{CapabilitySet, capabilities};

/// Whether this process may change the network of its namespace (CAP_NET_ADMIN).
pub fn may_program() -> bool {
    let sets = capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}
