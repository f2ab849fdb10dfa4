//! The links of pods, as batches for `ip -batch`.

use std::fmt::Write as _;

use crate::plan::{GATEWAY_V4, GATEWAY_V6, Link, NODE_MAC, NODE_V4, NODE_V6};

/// The node's own addresses.
pub(crate) fn node(v6: bool) -> String {
    let mut text = format!("link set dev lo up\naddress add {NODE_V4}/32 dev lo\n");
    if v6 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "address add {NODE_V6}/128 dev lo nodad");
    }
    text
}

/// The node's end of a link to the pod whose network namespace a process holds.
pub(crate) fn node_end(link: &Link, process: u32) -> String {
    let Link { interface, mac, addresses } = link;
    let mut text = format!(
        "link add name {interface} address {NODE_MAC} type veth \
         peer name eth0 address {mac} netns {process}\n\
         link set dev {interface} up\n"
    );
    for address in addresses {
        let source = if address.is_ipv4() { NODE_V4.to_string() } else { NODE_V6.to_string() };
        let _ = write!(
            text,
            "neighbour add {address} lladdr {mac} dev {interface} nud permanent\n\
             route add {address} dev {interface} src {source}\n"
        );
    }
    text
}

/// Takes a link away, if it is there.
pub(crate) fn removal(link: &Link) -> String {
    format!("link delete dev {}\n", link.interface)
}

/// The pod's end, run in the pod's network namespace.
pub(crate) fn pod_end(link: &Link) -> String {
    let mut text = "link set dev lo up\nlink set dev eth0 up\n".to_owned();
    for address in &link.addresses {
        let (length, flags, gateway) = match address.is_ipv4() {
            true => (32, "", GATEWAY_V4.to_string()),
            false => (128, " nodad", GATEWAY_V6.to_string()),
        };
        let _ = write!(
            text,
            "address add {address}/{length} dev eth0{flags}\n\
             neighbour add {gateway} lladdr {NODE_MAC} dev eth0 nud permanent\n"
        );
        if address.is_ipv4() {
            let _ = writeln!(text, "route add {gateway} dev eth0 scope link");
        }
        let _ = writeln!(text, "route add default via {gateway} dev eth0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Addresses;

    #[test]
    fn batches() {
        let link = Addresses::new(true).offer("default", "customer-0").unwrap();
        let node = node_end(&link, 7);
        assert!(node.contains("peer name eth0 address 02:8d:2d:e7:3b:77 netns 7\n"), "{node}");
        assert!(node.contains("route add 10.65.0.2 dev cali8d2de73b773 src 10.65.0.1\n"), "{node}");
        let pod = pod_end(&link);
        assert!(pod.contains("route add default via 169.254.1.1 dev eth0\n"), "{pod}");
        assert!(pod.contains("address add fd00:65::2/128 dev eth0 nodad\n"), "{pod}");
    }
}
