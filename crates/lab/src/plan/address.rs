//! Addresses, link names and hardware addresses: all functions of a pod's name or position, so
//! that the same manifests give the same lab.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

/// The range of Services.
pub(crate) const SERVICE_RANGE_V4: &str = "10.96.0.0/16";
/// The range of Services.
pub(crate) const SERVICE_RANGE_V6: &str = "fd00:96::/64";

/// The node's own addresses, before those of the pods.
pub(crate) const NODE_V4: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 1);
/// The node's own addresses.
pub(crate) const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x65, 0, 0, 0, 0, 0, 1);

/// The next hop of every pod, as in Calico; it exists on no interface.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The next hop of every pod: the link-local address that belongs to [`NODE_MAC`].
pub(crate) const GATEWAY_V6: Ipv6Addr =
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);
/// The hardware address of the node's end of every link, as in Calico.
pub(crate) const NODE_MAC: &str = "ee:ee:ee:ee:ee:ee";

/// Pods whose address is not of either range's first or last.
const MAX_PODS: u16 = u16::MAX - 2;

/// The two ends of a pod's link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    /// Name of the node's end, by Calico's rule.
    pub(crate) interface: String,
    /// Hardware address of the pod's end.
    pub(crate) mac: String,
    /// The pod's addresses, IPv4 first.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Link {
    /// The link of a pod. `position` counts the lab's pods from 0; none if there are too many.
    pub(crate) fn new(namespace: &str, pod: &str, position: usize, v6: bool) -> Option<Self> {
        let position = u16::try_from(position).ok().filter(|p| *p < MAX_PODS)?;
        let digest = Sha1::digest(format!("{namespace}.{pod}"));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let [a, b, c, d, e, ..] = <[u8; 20]>::from(digest);
        // The second bit of the first byte marks an address that no manufacturer gave out.
        let mac = format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}");
        let interface = format!("cali{}", hex.get(..11)?);
        let mut addresses = vec![pod_v4(position)];
        addresses.extend(v6.then(|| pod_v6(position)));
        Some(Self { interface, mac, addresses })
    }
}

/// The first pod comes after the node.
fn pod_v4(position: u16) -> IpAddr {
    let [a, b] = (position + 2).to_be_bytes();
    Ipv4Addr::new(10, 65, a, b).into()
}

fn pod_v6(position: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x65, 0, 0, 0, 0, 0, position + 2).into()
}

/// The addresses of a Service by its position among the lab's Services; none if there are too
/// many.
pub(crate) fn service(position: usize, v6: bool) -> Option<Vec<IpAddr>> {
    let position = u16::try_from(position).ok().filter(|p| *p < MAX_PODS)? + 1;
    let [a, b] = position.to_be_bytes();
    let mut addresses = vec![Ipv4Addr::new(10, 96, a, b).into()];
    let own = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, position);
    addresses.extend(v6.then_some(IpAddr::from(own)));
    Some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_follow_calicos_rule() {
        // printf 'default.customer-0' | sha1sum
        let link = Link::new("default", "customer-0", 0, true).unwrap();
        assert_eq!(link.interface, "cali8d2de73b773");
        assert_eq!(link.interface.len(), 15, "the kernel's limit");
        assert_eq!(link.mac, "02:8d:2d:e7:3b:77");
        let texts: Vec<_> = link.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.65.0.2", "fd00:65::2"]);
    }

    #[test]
    fn addresses_stay_in_their_range() {
        for (position, v4) in [(0, "10.65.0.2"), (254, "10.65.1.0"), (65_532, "10.65.255.254")] {
            let link = Link::new("a", "b", position, false).unwrap();
            assert_eq!(link.addresses, [v4.parse::<IpAddr>().unwrap()]);
        }
        assert_eq!(Link::new("a", "b", 65_533, false), None);
        assert_eq!(service(0, true).unwrap()[0].to_string(), "10.96.0.1");
        assert_eq!(service(65_533, true), None);
    }
}
