//! The lab's network: what is fed to `nft` and `ip`, as text.
//!
//! Every pod hangs on the node by a routed link of its own, as under Calico; there is no bridge.
//! Both ends know each other's hardware address from the start, so nothing is resolved, nothing
//! waits for duplicate address detection, and nobody can answer in another's name. That is where
//! the lab leaves Calico's `proxy_arp`, whose first answer may take most of a second and needs a
//! default route on the node.

pub(crate) mod firewall;
pub(crate) mod link;
pub(crate) mod sysctl;
