//! Where the node's workloads are connected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};
use tortie_calc::{LocalEndpoint, Settings, Update};
use tortie_nft::render::Interfaces;
use tortie_policy::EndpointId;

use super::facts::{Facts, Road};

/// What the calculation's names of interfaces begin with.
const PREFIX: &str = "cali";

/// The node's workloads, for their interfaces.
#[derive(Debug, Default)]
pub(super) struct Places {
    endpoints: BTreeMap<EndpointId, Arc<LocalEndpoint>>,
    settings: Arc<Settings>,
}

/// What updates have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Whether it is to be found out anew where workloads are.
    pub(super) changed: bool,
    /// Addresses that a workload had and has no more; another one may have them now.
    pub(super) gone: BTreeSet<IpAddr>,
}

/// Where workloads are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    /// What the renderer has to know of the node.
    pub(super) interfaces: Interfaces,
    /// Workloads that policy cannot be enforced for.
    pub(super) beyond: BTreeMap<EndpointId, Beyond>,
}

/// Why policy cannot be enforced for a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beyond {
    /// What it exchanges with others on the bridge passes by.
    Bridge(SmolStr),
    /// It is on a network that the host is on, too, by this interface; so is everybody else there.
    Network(SmolStr),
}

impl Places {
    /// Takes in updates.
    pub(super) fn update(&mut self, updates: &[Update]) -> Moved {
        let mut moved = Moved::default();
        for update in updates {
            let old = match update {
                Update::Endpoint(new) => self.endpoints.insert(new.id.clone(), Arc::clone(new)),
                Update::EndpointRemove(id) => self.endpoints.remove(id),
                Update::Settings(settings) => {
                    moved.changed |= self.settle(settings);
                    continue;
                }
                _ => continue,
            };
            moved.changed = true;
            let Some(old) = old else { continue };
            let new = self.endpoints.get(&old.id).map(|new| &new.addresses);
            let kept = |address: &&IpAddr| new.is_some_and(|new| new.contains(address));
            let gone = old.addresses.iter().filter(|address| !kept(address));
            moved.gone.extend(gone.map(IpAddr::to_canonical));
        }
        moved
    }

    /// Takes in settings, which are told often. Whether they differ in what bears on places.
    fn settle(&mut self, settings: &Arc<Settings>) -> bool {
        let old = std::mem::replace(&mut self.settings, Arc::clone(settings));
        let same_nodes = Arc::ptr_eq(&old.nodes, &settings.nodes) || old.nodes == settings.nodes;
        old.host != settings.host || !same_nodes
    }

    /// Finds out where workloads are. `filtered` says whether what bridges forward comes by.
    pub(super) fn map(&self, facts: &Facts, prefixes: &[SmolStr], filtered: bool) -> Map {
        let excluded = &self.settings.host.interface_exclude;
        let is_host = |name: &SmolStr| {
            !excluded.contains(name) && !prefixes.iter().any(|p| name.starts_with(p.as_str()))
        };
        let hosts = facts.links.iter().filter(|(name, _)| is_host(name));
        let mut map = Map::default();
        map.interfaces.hosts = hosts.map(|(name, own)| (name.clone(), own.clone())).collect();
        map.interfaces.nodes = self.settings.nodes.iter().map(IpAddr::to_canonical).collect();
        for (id, endpoint) in &self.endpoints {
            let (interface, beyond) = match found(endpoint, facts, prefixes) {
                Found::AsNamed => continue,
                Found::Alone(name) => (Some(name), None),
                Found::Among(bridge) => {
                    map.interfaces.shared.insert(bridge.clone());
                    let beyond = (!filtered).then(|| Beyond::Bridge(bridge.clone()));
                    (Some(bridge), beyond)
                }
                Found::Beyond(name) => (None, Some(Beyond::Network(name))),
            };
            map.interfaces.workloads.extend(interface.map(|name| (id.clone(), name)));
            map.beyond.extend(beyond.map(|why| (id.clone(), why)));
        }
        map
    }
}

/// Where a workload is.
enum Found {
    /// On the interface that it is said to have; or it is yet to come.
    AsNamed,
    /// On another one, alone.
    Alone(SmolStr),
    /// Behind a bridge, with others.
    Among(SmolStr),
    /// Nowhere that packets come by.
    Beyond(SmolStr),
}

/// Finds the interface that leads to a workload: as it is named, if there is one of that name, or else
/// by the routes to its addresses.
fn found(endpoint: &LocalEndpoint, facts: &Facts, prefixes: &[SmolStr]) -> Found {
    if facts.links.contains_key(&endpoint.interface) {
        return match facts.bridges.contains(&endpoint.interface) {
            true => Found::Among(endpoint.interface.clone()),
            false => Found::AsNamed,
        };
    }
    // Other plugins name interfaces by the same rule, but begin with something else.
    let rest = endpoint.interface.strip_prefix(PREFIX);
    let mut named = rest
        .into_iter()
        .flat_map(|rest| prefixes.iter().map(move |prefix| format_smolstr!("{prefix}{rest}")));
    if let Some(name) = named.find(|name| facts.links.contains_key(name)) {
        return Found::Alone(name);
    }
    let mut addresses = endpoint.addresses.iter().map(IpAddr::to_canonical);
    addresses.find_map(|address| by_route(address, facts)).unwrap_or(Found::AsNamed)
}

/// By the route to an address. It may also be yet to come, or be reached at another node for now.
fn by_route(address: IpAddr, facts: &Facts) -> Option<Found> {
    if let Some(name) = facts.routes.get(&address) {
        return Some(match facts.bridges.contains(name) {
            true => Found::Among(name.clone()),
            false => Found::Alone(name.clone()),
        });
    }
    let (net, road) = facts.net(address)?;
    let direct = road.direct && net.prefix_len() > 0;
    direct.then(|| match facts.bridges.contains(&road.over) && !leads_out(&road.over, facts) {
        true => Found::Among(road.over.clone()),
        false => Found::Beyond(road.over.clone()),
    })
}

/// Whether the host itself is connected by an interface: then others are, too, who are no workloads.
fn leads_out(interface: &SmolStr, facts: &Facts) -> bool {
    let gateway = |road: &Road| !road.direct && road.over == *interface;
    facts.trunks.contains(interface) || facts.nets.values().any(gateway)
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;

    fn endpoint(address: &str) -> LocalEndpoint {
        LocalEndpoint {
            id: EndpointId { namespace: "a".into(), name: "b".into() },
            interface: "cali1".into(),
            addresses: vec![address.parse().unwrap()],
            account: None,
            tiers: [].into(),
            profiles: Vec::new(),
            ports: Vec::new(),
            application_enforced: false,
            spoofed_sources: Vec::new(),
        }
    }

    fn new(address: &str) -> Update {
        Update::Endpoint(Arc::new(endpoint(address)))
    }

    /// Routes as `NET INTERFACE`, with `via` behind those with a gateway; bridges begin with `br`.
    fn facts(links: &[&str], routes: &[&str]) -> Facts {
        let mut facts = Facts::default();
        for name in links {
            facts.links.insert((*name).into(), Default::default());
            facts.bridges.extend(name.starts_with("br").then(|| SmolStr::from(*name)));
        }
        for route in routes {
            let words: Vec<_> = route.split(' ').collect();
            let (net, over): (IpNet, SmolStr) = (words[0].parse().unwrap(), words[1].into());
            let direct = words.len() == 2;
            match direct && net.prefix_len() == net.max_prefix_len() {
                true => drop(facts.routes.insert(net.addr(), over)),
                false => drop(facts.nets.insert(net, Road { over, direct })),
            }
        }
        facts
    }

    #[test]
    fn by_name_or_else_by_route() {
        let bridge = |name: &str| Some(Beyond::Bridge(name.into()));
        let network = |name: &str| Some(Beyond::Network(name.into()));
        let pods = "10.0.0.0/24 br0";
        type Case<'a> = (&'a [&'a str], &'a [&'a str], Option<&'a str>, Option<Beyond>);
        let cases: &[Case<'_>] = &[
            (&["cali1"], &[], None, None),
            (&["cali1"], &["10.0.0.1/32 veth1"], None, None),
            (&["eth0"], &["10.0.0.1/32 veth1"], Some("veth1"), None),
            (&["eth0", "azv1"], &["10.0.0.1/32 veth1"], Some("azv1"), None),
            (&["eth0"], &[], None, None),
            (&["eth0"], &["0.0.0.0/0 eth0 via"], None, None),
            (&["eth0"], &["10.0.0.1/32 eth0 via"], None, None),
            (&["eth0"], &["10.0.0.0/24 eth0 via"], None, None),
            (&["eth0", "br0"], &[pods, "0.0.0.0/0 eth0 via"], Some("br0"), bridge("br0")),
            (&["eth0", "br0"], &[pods, "0.0.0.0/0 br0 via"], None, network("br0")),
            (&["eth0", "br0"], &[pods, "10.0.0.1/32 veth1"], Some("veth1"), None),
            (&["eth0"], &["10.0.0.0/24 eth0"], None, network("eth0")),
        ];
        for (links, routes, interface, beyond) in cases {
            let mut places = Places::default();
            assert!(places.update(&[new("10.0.0.1")]).changed);
            let facts = facts(links, routes);
            let prefixes = ["cali".into(), "azv".into()];
            let map = places.map(&facts, &prefixes, false);
            let found: Vec<_> = map.interfaces.workloads.values().map(SmolStr::as_str).collect();
            assert_eq!(
                found,
                interface.iter().copied().collect::<Vec<_>>(),
                "{links:?} {routes:?}"
            );
            assert_eq!(map.beyond.values().next(), beyond.as_ref(), "{links:?} {routes:?}");
            assert!(!map.interfaces.hosts.contains_key("cali1"));
            let only_networks = |why: &Beyond| matches!(why, Beyond::Network(_));
            assert!(places.map(&facts, &prefixes, true).beyond.values().all(only_networks));
        }
    }

    #[test]
    fn addresses_that_are_given_up_are_told() {
        let gone =
            |moved: Moved| moved.gone.into_iter().map(|ip| ip.to_string()).collect::<Vec<_>>();
        let id = endpoint("10.0.0.1").id;
        let mut places = Places::default();
        assert!(gone(places.update(&[new("10.0.0.1")])).is_empty());
        assert!(gone(places.update(&[new("10.0.0.1")])).is_empty());
        assert_eq!(gone(places.update(&[new("10.0.0.2")])), ["10.0.0.1"]);
        assert_eq!(gone(places.update(&[Update::EndpointRemove(id)])), ["10.0.0.2"]);
    }

    #[test]
    fn some_interfaces_make_no_host_endpoint() {
        let facts = facts(&["eth0", "kube-ipvs0"], &[]);
        let map = Places::default().map(&facts, &["cali".into()], true);
        assert_eq!(map.interfaces.hosts.keys().collect::<Vec<_>>(), ["eth0"]);
    }
}
