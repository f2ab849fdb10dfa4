//! Addresses, link names and hardware addresses. Names are functions of the pod's; addresses are
//! given out in turn, so that one that was given back is not soon another pod's.

use std::collections::BTreeSet;
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

/// Pods whose address is not of either range's first or last, and as many Services.
const MOST: u16 = u16::MAX - 2;

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

/// The addresses of pods: which are taken, and which comes next.
#[derive(Debug)]
pub(crate) struct Addresses {
    v6: bool,
    next: u16,
    taken: BTreeSet<IpAddr>,
}

impl Addresses {
    /// None is taken. IPv6 only where the machine has it.
    pub(crate) fn new(v6: bool) -> Self {
        Self { v6, next: 0, taken: BTreeSet::new() }
    }

    /// A link for a pod, with addresses that are nobody else's; none if there are none left. They are
    /// offered until they are taken.
    pub(crate) fn offer(&self, namespace: &str, pod: &str) -> Option<Link> {
        let mut numbers = (self.next..MOST).chain(0..self.next);
        let number = numbers.find(|number| !self.taken.contains(&pod_v4(*number)))?;
        Some(Link::new(namespace, pod, number, self.v6))
    }

    /// Gives a link's addresses to its pod; the next offer begins after them.
    pub(crate) fn take(&mut self, link: &Link) {
        self.taken.extend(link.addresses.iter().copied());
        if let Some(IpAddr::V4(v4)) = link.addresses.first() {
            let [_, _, a, b] = v4.octets();
            self.next = u16::from_be_bytes([a, b]).saturating_sub(1) % MOST;
        }
    }

    /// Takes the addresses of a link back.
    pub(crate) fn release(&mut self, link: &Link) {
        for address in &link.addresses {
            self.taken.remove(address);
        }
    }
}

impl Link {
    /// The link of a pod with the addresses of a number below [`MOST`].
    fn new(namespace: &str, pod: &str, number: u16, v6: bool) -> Self {
        let digest = Sha1::digest(format!("{namespace}.{pod}"));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let [a, b, c, d, e, ..] = <[u8; 20]>::from(digest);
        // The second bit of the first byte marks an address that no manufacturer gave out.
        let mac = format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}");
        let interface = format!("cali{}", hex.get(..11).unwrap_or_default());
        let mut addresses = vec![pod_v4(number)];
        addresses.extend(v6.then(|| pod_v6(number)));
        Self { interface, mac, addresses }
    }
}

/// The first pod comes after the node.
fn pod_v4(number: u16) -> IpAddr {
    let [a, b] = number.saturating_add(2).to_be_bytes();
    Ipv4Addr::new(10, 65, a, b).into()
}

fn pod_v6(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x65, 0, 0, 0, 0, 0, number.saturating_add(2)).into()
}

/// The first addresses for a Service that are not taken, of the families asked for (true is IPv4),
/// all of one number; none if there are none left.
pub(crate) fn cluster_addresses(
    families: &[bool],
    taken: &BTreeSet<IpAddr>,
) -> Option<Vec<IpAddr>> {
    let of = |number: u16| -> Vec<IpAddr> {
        families
            .iter()
            .map(|v4| if *v4 { service_v4(number) } else { service_v6(number) })
            .collect()
    };
    let free = |number: &u16| {
        !taken.contains(&service_v4(*number)) && !taken.contains(&service_v6(*number))
    };
    (1..=MOST).find(free).map(of)
}

fn service_v4(number: u16) -> IpAddr {
    let [a, b] = number.to_be_bytes();
    Ipv4Addr::new(10, 96, a, b).into()
}

fn service_v6(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, number).into()
}

/// Whether an address is one that a Service can have.
pub(crate) fn is_cluster_address(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets(), [10, 96, ..]),
        IpAddr::V6(v6) => matches!(v6.segments(), [0xfd00, 0x96, 0, 0, ..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_follow_calicos_rule() {
        // printf 'default.customer-0' | sha1sum
        let link = Addresses::new(true).offer("default", "customer-0").unwrap();
        assert_eq!(link.interface, "cali8d2de73b773");
        assert_eq!(link.interface.len(), 15, "the kernel's limit");
        assert_eq!(link.mac, "02:8d:2d:e7:3b:77");
        let texts: Vec<_> = link.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.65.0.2", "fd00:65::2"]);
    }

    #[test]
    fn addresses_come_in_turn_and_come_back() {
        fn next(addresses: &mut Addresses) -> Link {
            let link = addresses.offer("a", "b").unwrap();
            addresses.take(&link);
            link
        }
        let mut addresses = Addresses::new(false);
        let links: Vec<Link> = (0..MOST).map(|_| next(&mut addresses)).collect();
        for (position, v4) in [(0, "10.65.0.2"), (254, "10.65.1.0"), (65_532, "10.65.255.254")] {
            assert_eq!(links[position].addresses, [v4.parse::<IpAddr>().unwrap()]);
        }
        assert_eq!(addresses.offer("a", "b"), None);
        addresses.release(&links[7]);
        assert_eq!(next(&mut addresses).addresses, links[7].addresses);
        let mut few = Addresses::new(false);
        let first = next(&mut few);
        few.release(&first);
        assert_ne!(next(&mut few).addresses, first.addresses, "not at once");
    }

    #[test]
    fn services_take_the_first_free_number() {
        let text = |families: &[bool], taken: &[&str]| {
            let taken = taken.iter().map(|text| text.parse().unwrap()).collect();
            let found = cluster_addresses(families, &taken).unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        assert_eq!(text(&[true], &[]), "10.96.0.1");
        assert_eq!(text(&[true], &["10.96.0.1", "fd00:96::2"]), "10.96.0.3");
        assert_eq!(text(&[false, true], &["10.96.0.1"]), "fd00:96::2,10.96.0.2");
        assert!(is_cluster_address(&service_v6(9)) && is_cluster_address(&service_v4(700)));
        assert!(!is_cluster_address(&pod_v4(1)) && !is_cluster_address(&pod_v6(1)));
    }
}
