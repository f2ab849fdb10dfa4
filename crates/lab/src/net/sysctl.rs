//! Kernel parameters of network namespaces. A process sees those of its own under `/proc/sys/net`.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::error::At;

/// Whether this machine has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// The node forwards, and takes nothing from its links but packets.
pub(crate) fn node() -> Result<(), Error> {
    set(&[("ipv4/ip_forward", "1"), ("ipv4/conf/all/send_redirects", "0")])?;
    set(&[("ipv4/conf/default/send_redirects", "0")])?;
    if has_ipv6() {
        set(&NO_DISCOVERY).and_then(|()| set(&[("ipv6/conf/all/forwarding", "1")]))
    } else {
        Ok(())
    }
}

/// In a pod anybody may listen on any port and ping, as in a container. Groups are those there
/// are: without root there is one.
pub(crate) fn pod() -> Result<(), Error> {
    set(&[("ipv4/ip_unprivileged_port_start", "0")])?;
    set(&[("ipv4/ping_group_range", "0 2147483647")])
        .or_else(|_| set(&[("ipv4/ping_group_range", "0 0")]))?;
    if has_ipv6() { set(&NO_DISCOVERY) } else { Ok(()) }
}

/// Addresses and routes of interfaces to come are given, not discovered.
const NO_DISCOVERY: [(&str, &str); 3] = [
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

fn set(parameters: &[(&str, &str)]) -> Result<(), Error> {
    parameters.iter().try_for_each(|(name, value)| {
        let path = Path::new("/proc/sys/net").join(name);
        fs::write(&path, value).at("write", &path)
    })
}
