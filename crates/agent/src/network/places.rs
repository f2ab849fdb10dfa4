//! Where the node's workloads are connected.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::{LocalEndpoint, Update};
use tortie_nft::render::Interfaces;
use tortie_policy::EndpointId;

use super::facts::Facts;

/// The node's workloads, for their interfaces.
#[derive(Debug, Default)]
pub(super) struct Places {
    endpoints: BTreeMap<EndpointId, Arc<LocalEndpoint>>,
}

impl Places {
    /// Takes in updates. Whether workloads have changed.
    pub(super) fn update(&mut self, updates: &[Update]) -> bool {
        let mut changed = false;
        for update in updates {
            match update {
                Update::Endpoint(endpoint) => {
                    self.endpoints.insert(endpoint.id.clone(), Arc::clone(endpoint));
                }
                Update::EndpointRemove(id) => drop(self.endpoints.remove(id)),
                _ => continue,
            }
            changed = true;
        }
        changed
    }

    /// What the renderer has to know of the node.
    pub(super) fn interfaces(&self, facts: &Facts, prefixes: &[SmolStr]) -> Interfaces {
        let is_host = |name: &SmolStr| !prefixes.iter().any(|p| name.starts_with(p.as_str()));
        let hosts = facts.links.iter().filter(|(name, _)| is_host(name));
        let found = |endpoint: &LocalEndpoint| found(endpoint, facts).cloned();
        let endpoints = self.endpoints.iter();
        Interfaces {
            hosts: hosts.map(|(name, addresses)| (name.clone(), addresses.clone())).collect(),
            workloads: endpoints.filter_map(|(id, e)| Some((id.clone(), found(e)?))).collect(),
            ..Interfaces::default()
        }
    }
}

/// The interface that leads to a workload, if it is another than the one that is named as Calico
/// names them. That one may also be yet to come; so only a route to the very address tells.
fn found<'f>(endpoint: &LocalEndpoint, facts: &'f Facts) -> Option<&'f SmolStr> {
    if facts.links.contains_key(&endpoint.interface) {
        return None;
    }
    endpoint.addresses.iter().find_map(|address| facts.routes.get(&address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> LocalEndpoint {
        LocalEndpoint {
            id: EndpointId { namespace: "a".into(), name: "b".into() },
            interface: "cali1".into(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            account: None,
            tiers: [].into(),
            profiles: Vec::new(),
            ports: Vec::new(),
            application_enforced: false,
            spoofed_sources: Vec::new(),
        }
    }

    #[test]
    fn by_name_or_else_by_route() {
        for (links, route, want) in [
            (&["cali1"][..], None, None),
            (&["cali1"], Some("veth1"), None),
            (&["eth0"], Some("veth1"), Some("veth1")),
            (&["eth0"], None, None),
        ] {
            let links = links.iter().map(|name| ((*name).into(), Default::default())).collect();
            let address = "10.0.0.1".parse().unwrap();
            let routes = route.map(|name: &str| (address, name.into())).into_iter().collect();
            let facts = Facts { links, routes, ..Facts::default() };
            let mut places = Places::default();
            assert!(places.update(&[Update::Endpoint(Arc::new(endpoint()))]));
            let interfaces = places.interfaces(&facts, &["cali".into()]);
            let found: Vec<_> = interfaces.workloads.values().map(SmolStr::as_str).collect();
            assert_eq!(found, want.into_iter().collect::<Vec<_>>());
            assert!(!interfaces.hosts.contains_key("cali1"));
        }
    }
}
