//! Where addresses are: behind which interface, or the node's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use smol_str::SmolStr;

/// Where addresses are. All others are outside, beyond the uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The interface that leads outside.
    pub uplink: SmolStr,
    /// The interfaces that lead to workloads, with their addresses.
    pub workloads: BTreeMap<SmolStr, Vec<IpAddr>>,
    /// The node's own addresses.
    pub host: Vec<IpAddr>,
}

impl Layout {
    /// All interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &SmolStr> {
        [&self.uplink].into_iter().chain(self.workloads.keys())
    }

    /// Routes and addresses, as `ip` is told of them behind `add` or `del`. Sorted, addresses come
    /// before routes.
    fn entries(&self) -> BTreeSet<String> {
        let host = self.host.iter().map(|address| match address {
            IpAddr::V4(four) => format!("address XX {four}/32 dev {}", self.uplink),
            // An address would be the node's only when the kernel has got round to it.
            IpAddr::V6(six) => format!("route XX local {six}/128 dev lo table local"),
        });
        let outside =
            ["0.0.0.0/0", "::/0"].map(|net| format!("route XX {net} dev {}", self.uplink));
        let of = |(interface, addresses): (&SmolStr, &Vec<IpAddr>)| {
            let route = |address: &IpAddr| format!("route XX {address} dev {interface}");
            addresses.iter().map(route).collect::<Vec<_>>()
        };
        let mut entries: BTreeSet<String> = self.workloads.iter().flat_map(of).collect();
        entries.extend(host);
        if !self.uplink.is_empty() {
            entries.extend(outside);
        }
        entries
    }

    /// What `ip` must be told to get here from another layout, whose interfaces are there, too.
    pub(super) fn since(&self, before: &Layout) -> String {
        let (wanted, found) = (self.entries(), before.entries());
        let mut batch = String::new();
        // Writing to a String cannot fail.
        for entry in found.difference(&wanted) {
            let _ = writeln!(batch, "{}", entry.replace("XX", "del"));
        }
        for entry in wanted.difference(&found) {
            let _ = writeln!(batch, "{}", entry.replace("XX", "add"));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_told() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let layout = |host: &[&str], pod: &str| Layout {
            uplink: "eth0".into(),
            workloads: [("cali1".into(), vec![address(pod)])].into(),
            host: host.iter().map(|text| address(text)).collect(),
        };
        let first = layout(&["203.0.113.1", "2001:db8::1"], "10.0.0.1");
        let told = first.since(&Layout::default());
        assert_eq!(
            told,
            "address add 203.0.113.1/32 dev eth0\nroute add 0.0.0.0/0 dev eth0\n\
             route add 10.0.0.1 dev cali1\nroute add ::/0 dev eth0\n\
             route add local 2001:db8::1/128 dev lo table local\n"
        );
        let second = layout(&["203.0.113.1", "2001:db8::1"], "10.0.0.2");
        let told = second.since(&first);
        assert_eq!(told, "route del 10.0.0.1 dev cali1\nroute add 10.0.0.2 dev cali1\n");
        assert_eq!(first.since(&first), "");
    }
}
