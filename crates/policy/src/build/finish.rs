//! What was gathered, put together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_model::{FieldError, Namespace, Node};

use super::{Builder, Given};
use crate::cluster::{Backend, Cluster, Holders, Invalid};
use crate::convert::BUILT_IN_TIERS;
use crate::{
    Account, CompatPoint, Endpoint, EndpointId, HostEndpoint, Labels, NetworkSet, Order, Profile,
    ServiceRef, Tier, auto_hosts, kubernetes, labels, services, settings,
};

/// Annotations of a node with an address, behind which a prefix length may stand.
const NODE_ADDRESSES: [&str; 2] =
    ["projectcalico.org/IPv4Address", "projectcalico.org/IPv6Address"];

impl Builder {
    pub(crate) fn finish(mut self) -> Result<Cluster, Vec<Invalid>> {
        for (id, replica) in std::mem::take(&mut self.replicas) {
            self.pods.entry(id).or_insert(replica);
        }
        let injected = self.injected();
        let namespaces = self.namespace_labels();
        let accounts = self.account_labels();
        let nodes = self.node_addresses();
        let behind_services = self.on_host_networks(&nodes);
        let mut endpoints = self.endpoints(&injected);
        let settings =
            settings::of_hosts(self.felix.values(), &self.nodes, self.lenient, &mut self.invalid);
        self.automatic_hosts(&nodes);
        let services = self.services(&endpoints, &behind_services);
        self.invalid.sort_by_key(|i| i.resource);
        if !self.invalid.is_empty() && !self.lenient {
            return Err(self.invalid);
        }
        let mut profiles = self.all_profiles(&namespaces, &accounts);
        self.missing_profiles(&endpoints, &mut profiles);
        for endpoint in &mut endpoints {
            inherit(&mut endpoint.labels, &endpoint.profiles, &profiles);
        }
        let mut hosts: BTreeMap<_, _> =
            self.hosts.into_iter().map(|(name, (_, host))| (name, host)).collect();
        for host in hosts.values_mut() {
            inherit(&mut host.labels, &host.profiles, &profiles);
        }
        let mut sets: Vec<_> = self.sets.into_values().map(|(_, set)| set).collect();
        for set in &mut sets {
            let namespace = set.namespace.as_ref().and_then(|n| namespaces.get(n));
            labels::inherit(&mut set.labels, "pcns.", namespace.unwrap_or(&Labels::new()));
        }
        let sets: Vec<_> = sets.into_iter().map(Arc::new).collect();
        let unreadable =
            |s: &&Arc<NetworkSet>| self.unreadable.contains(&(s.namespace.clone(), s.name.clone()));
        let unreadable_sets = sets.iter().filter(unreadable).cloned().collect();
        let endpoints: BTreeMap<_, _> =
            endpoints.into_iter().map(|e| (e.id.clone(), Arc::new(e))).collect();
        let hosts: BTreeMap<_, _> = hosts.into_iter().map(|(n, h)| (n, Arc::new(h))).collect();
        Ok(Cluster {
            tiers: all_tiers(self.tiers),
            invalid: self.invalid.into_iter().chain(self.vanished).collect(),
            policies: self.policies.into_iter().map(|(id, (_, p))| (id, p)).collect(),
            by_address: by_address(&endpoints, &hosts),
            endpoints,
            hosts,
            sets,
            unreadable_sets,
            profiles,
            namespaces,
            accounts,
            services,
            nodes,
            settings,
            trust: self.trust.map(|(_, trust)| trust).unwrap_or_default(),
            established: self.established,
            compat: self.compat,
        })
    }

    /// What stands for profiles that are named and that nobody defined.
    fn missing_profiles(
        &self,
        endpoints: &[Endpoint],
        profiles: &mut BTreeMap<SmolStr, Arc<Profile>>,
    ) {
        if self.compat.has(CompatPoint::MissingProfile) {
            return;
        }
        let of_hosts = self.hosts.values().flat_map(|(_, host)| &host.profiles);
        for name in endpoints.iter().flat_map(|e| &e.profiles).chain(of_hosts) {
            let missing = || Arc::new(kubernetes::missing_profile(name));
            profiles.entry(name.clone()).or_insert_with(missing);
        }
    }

    /// Namespaces that ask for sidecars.
    fn injected(&self) -> BTreeSet<SmolStr> {
        let asks = |n: &Namespace| kubernetes::asks_for_sidecars(&n.metadata);
        self.namespaces.iter().filter(|(_, (_, n))| asks(n)).map(|(name, _)| name.clone()).collect()
    }

    /// Labels of the namespaces given and of those merely used.
    fn namespace_labels(&mut self) -> BTreeMap<SmolStr, Labels> {
        let mut result = BTreeMap::new();
        for (name, (_, namespace)) in std::mem::take(&mut self.namespaces) {
            // Their errors were found when the namespace was added.
            let own = kubernetes::namespace_labels(&namespace, &mut Vec::new());
            result.insert(name.clone(), labels::with_name(own, &name));
        }
        let used = self.policies.keys().filter_map(|id| id.namespace.as_ref());
        let used = used.chain(self.accounts.keys().map(|a| &a.namespace));
        let used = used.chain(self.sets.keys().filter_map(|(namespace, _)| namespace.as_ref()));
        let used =
            used.chain(self.pods.keys().chain(self.workloads.keys()).map(|id| &id.namespace));
        for name in used {
            let bare = || labels::with_name(kubernetes::bare_namespace_labels(name), name);
            result.entry(name.clone()).or_insert_with(bare);
        }
        result
    }

    /// Labels of the service accounts given and of those merely used.
    fn account_labels(&self) -> BTreeMap<Account, Labels> {
        let mut result: BTreeMap<Account, Labels> = BTreeMap::new();
        for (account, (_, own)) in &self.accounts {
            result.insert(account.clone(), labels::with_name(own.clone(), &account.name));
        }
        for (id, (_, pod)) in &self.pods {
            let name: SmolStr = kubernetes::service_account(pod).into();
            let bare = labels::with_name(Labels::new(), &name);
            let account = Account { namespace: id.namespace.clone(), name };
            result.entry(account).or_insert(bare);
        }
        let workloads = self.workloads.values().map(|(_, workload)| &workload.account);
        for account in workloads.filter(|account| !account.name.is_empty()) {
            let bare = || labels::with_name(Labels::new(), &account.name);
            result.entry(account.clone()).or_insert_with(bare);
        }
        result
    }

    /// The endpoints of pods and workloads, without inherited labels.
    fn endpoints(&mut self, injected: &BTreeSet<SmolStr>) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let mut unaddressed = Vec::new();
        for (id, (_, pod)) in std::mem::take(&mut self.pods) {
            if !kubernetes::is_endpoint(&pod) {
                continue;
            }
            // Its errors were found when the pod was added.
            let injected = injected.contains(&id.namespace);
            let endpoint = kubernetes::endpoint(&pod, injected, &mut Vec::new());
            let list = if endpoint.addresses.is_empty() && !kubernetes::is_finished(&pod) {
                &mut unaddressed
            } else {
                &mut endpoints
            };
            list.push(endpoint);
        }
        for (id, (index, workload)) in std::mem::take(&mut self.workloads) {
            if endpoints.iter().chain(&unaddressed).any(|e| e.id == id) {
                let reason = format!("there is a pod `{id}`, too");
                self.invalid(index, vec![FieldError::new("metadata.name", reason)]);
            }
            endpoints.push(workload);
        }
        let taken = endpoints.iter().flat_map(|e| e.addresses.iter().copied()).collect();
        kubernetes::assign_addresses(&taken, unaddressed.iter_mut());
        endpoints.extend(unaddressed);
        endpoints
    }

    fn node_addresses(&self) -> BTreeMap<SmolStr, Vec<IpAddr>> {
        let addresses = |node: &Node| {
            let internal = node.status.addresses.iter().filter(|a| a.type_ != "Hostname");
            let status = internal.filter_map(|a| a.address.parse::<IpAddr>().ok());
            let mut addresses: Vec<_> = status.map(|ip| ip.to_canonical()).collect();
            // What Calico's own agent has found out: nodes reach each other there.
            let annotated =
                NODE_ADDRESSES.iter().filter_map(|name| node.metadata.annotations.get(*name));
            let annotated = annotated.filter_map(|text| text.split('/').next()?.parse().ok());
            for address in annotated {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            addresses
        };
        self.nodes.iter().map(|(name, (_, node))| (name.clone(), addresses(node))).collect()
    }

    /// Pods that share their node's network: no endpoints, but they may be behind services.
    fn on_host_networks(&self, nodes: &BTreeMap<SmolStr, Vec<IpAddr>>) -> Vec<Endpoint> {
        let pods = self.pods.values().map(|(_, pod)| pod);
        let pods =
            pods.filter(|pod| !kubernetes::is_endpoint(pod) && !kubernetes::is_finished(pod));
        pods.map(|pod| {
            let mut endpoint = kubernetes::endpoint(pod, false, &mut Vec::new());
            if endpoint.addresses.is_empty() {
                let node = endpoint.node.as_ref().and_then(|node| nodes.get(node));
                endpoint.addresses = node.cloned().unwrap_or_default();
            }
            endpoint
        })
        .collect()
    }

    /// Host endpoints that the controller of nodes would make; those given win.
    fn automatic_hosts(&mut self, nodes: &BTreeMap<SmolStr, Vec<IpAddr>>) {
        let Some((index, wire)) = self.controllers.take() else { return };
        let own = |name: &SmolStr| nodes.get(name).map(Vec::as_slice).unwrap_or_default();
        let given = self.nodes.iter().map(|(name, (_, node))| (node, own(name)));
        let mut errors = Vec::new();
        let made = self.read(&wire, |wire| auto_hosts::of_nodes(wire, given.clone()), &mut errors);
        for host in made.into_iter().flatten() {
            self.hosts.entry(host.name.clone()).or_insert((index, host));
        }
        self.invalid(index, errors);
    }

    /// What is behind each service: as its slices say, or where it has none, the pods it selects.
    fn services(
        &mut self,
        endpoints: &[Endpoint],
        on_hosts: &[Endpoint],
    ) -> BTreeMap<ServiceRef, Vec<Backend>> {
        let mut result: BTreeMap<ServiceRef, Vec<Backend>> = BTreeMap::new();
        for (index, slice) in std::mem::take(&mut self.slices).into_values() {
            let mut errors = Vec::new();
            if let Some((service, backends)) = services::of_slice(&slice, &mut errors) {
                result.entry(service).or_default().extend(backends);
            }
            self.invalid(index, errors);
        }
        for (name, (index, service)) in std::mem::take(&mut self.services) {
            let mut errors = Vec::new();
            let mut selected = services::selected(&name, &service, endpoints, &mut errors);
            selected.extend(services::selected(&name, &service, on_hosts, &mut errors));
            if !self.compat.has(CompatPoint::ServiceWithoutSlices) {
                result.entry(name).or_insert(selected);
            }
            self.invalid(index, errors);
        }
        result
    }

    /// The profiles given, and those of namespaces and service accounts.
    fn all_profiles(
        &mut self,
        namespaces: &BTreeMap<SmolStr, Labels>,
        accounts: &BTreeMap<Account, Labels>,
    ) -> BTreeMap<SmolStr, Arc<Profile>> {
        let given = std::mem::take(&mut self.profiles).into_values().map(|(_, profile)| profile);
        let of_namespaces =
            namespaces.iter().map(|(name, labels)| kubernetes::namespace_profile(name, labels));
        let of_accounts =
            accounts.iter().map(|(account, labels)| kubernetes::account_profile(account, labels));
        let all = of_namespaces.chain(of_accounts).chain([kubernetes::allow_all_profile()]);
        all.chain(given).map(|p| (p.name.clone(), Arc::new(p))).collect()
    }
}

/// The tiers given, and the built-in ones.
fn all_tiers(given: BTreeMap<SmolStr, Given<Arc<Tier>>>) -> BTreeMap<SmolStr, Arc<Tier>> {
    let built_in = BUILT_IN_TIERS.iter().map(|(name, order, default_action)| {
        let order = Order::new(Some(*order)).unwrap_or(Order::LAST);
        let name = SmolStr::from(*name);
        let tier =
            Tier { name: name.clone(), order, default_action: *default_action, defined: true };
        (name, Arc::new(tier))
    });
    built_in.chain(given.into_iter().map(|(name, (_, tier))| (name, tier))).collect()
}

/// Adds the labels of profiles; those the endpoint has already win, then the first profile's.
fn inherit(labels: &mut Labels, profiles: &[SmolStr], known: &BTreeMap<SmolStr, Arc<Profile>>) {
    for profile in profiles.iter().filter_map(|name| known.get(name)) {
        labels::inherit(labels, "", &profile.labels);
    }
}

fn by_address(
    endpoints: &BTreeMap<EndpointId, Arc<Endpoint>>,
    hosts: &BTreeMap<SmolStr, Arc<HostEndpoint>>,
) -> HashMap<IpAddr, Holders> {
    let mut map: HashMap<IpAddr, Holders> = HashMap::new();
    for endpoint in endpoints.values() {
        for address in &endpoint.addresses {
            map.entry(address.to_canonical()).or_default().endpoints.push(Arc::clone(endpoint));
        }
    }
    for host in hosts.values() {
        for address in &host.addresses {
            map.entry(address.to_canonical()).or_default().hosts.push(Arc::clone(host));
        }
    }
    map
}
