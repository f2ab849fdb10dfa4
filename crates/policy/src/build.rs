//! From resources, in any order, to a [`Cluster`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{
    EndpointSlice, FelixConfiguration, FieldError, Namespace, Node, Object, Pod, Resource, Service,
    Workload,
};

use crate::cluster::{Backend, Cluster, Holders, Invalid};
use crate::convert::{self, BUILT_IN_TIERS};
use crate::{
    Account, Compat, Endpoint, EndpointId, HostEndpoint, HostSettings, Labels, NetworkSet, Order,
    Policy, PolicyId, Profile, ServiceRef, Tier, Trust, kubernetes, labels, name, services,
};

/// A thing, and the position of the resource it came from.
type Given<T> = (usize, T);

/// Most pods that all workloads together may stand for.
const MAX_REPLICAS: usize = 100_000;

/// Gathers resources, whatever their order, before they are put together.
#[derive(Default)]
pub(crate) struct Builder {
    invalid: Vec<Invalid>,
    tiers: BTreeMap<SmolStr, Given<Arc<Tier>>>,
    policies: BTreeMap<PolicyId, Given<Arc<Policy>>>,
    /// Pods that are written out; each replaces a workload's pod of the same name.
    pods: BTreeMap<EndpointId, Given<Pod>>,
    /// Pods of workloads.
    replicas: BTreeMap<EndpointId, Given<Pod>>,
    workloads: BTreeMap<EndpointId, Given<Endpoint>>,
    hosts: BTreeMap<SmolStr, Given<HostEndpoint>>,
    sets: BTreeMap<(Option<SmolStr>, SmolStr), Given<NetworkSet>>,
    profiles: BTreeMap<SmolStr, Given<Profile>>,
    namespaces: BTreeMap<SmolStr, Given<Namespace>>,
    accounts: BTreeMap<Account, Given<Labels>>,
    services: BTreeMap<ServiceRef, Given<Service>>,
    slices: BTreeMap<ServiceRef, Given<EndpointSlice>>,
    nodes: BTreeMap<SmolStr, Given<Node>>,
    felix: BTreeMap<SmolStr, Given<FelixConfiguration>>,
    trust: Option<Given<Trust>>,
}

/// Puts a thing where it belongs, or its errors into the list.
fn put<K: Ord, T>(
    map: &mut BTreeMap<K, Given<T>>,
    index: usize,
    thing: Result<T, Vec<FieldError>>,
    key: impl Fn(&T) -> K,
    errors: &mut Vec<FieldError>,
) {
    match thing {
        Ok(thing) => {
            let key = key(&thing);
            if map.insert(key, (index, thing)).is_some() {
                errors.push(duplicate());
            }
        }
        Err(found) => errors.extend(found),
    }
}

fn duplicate() -> FieldError {
    FieldError::new("metadata.name", "the same resource is given twice")
        .hint("remove one of the two documents, or rename it")
}

impl Builder {
    pub(crate) fn add(&mut self, index: usize, resource: &Resource) {
        let mut errors = Vec::new();
        match &resource.object {
            Object::GlobalNetworkPolicy(p) => self.policy(index, (&**p).try_into(), &mut errors),
            Object::NetworkPolicy(p) => self.policy(index, (&**p).try_into(), &mut errors),
            Object::StagedGlobalNetworkPolicy(p) => {
                self.policy(index, (&**p).try_into(), &mut errors);
            }
            Object::StagedNetworkPolicy(p) => self.policy(index, (&**p).try_into(), &mut errors),
            Object::StagedKubernetesNetworkPolicy(p) => {
                self.policy(index, (&**p).try_into(), &mut errors);
            }
            Object::KubernetesNetworkPolicy(p) => {
                self.policy(index, (&**p).try_into(), &mut errors);
            }
            Object::ClusterNetworkPolicy(p) => self.policy(index, (&**p).try_into(), &mut errors),
            Object::Pod(pod) => self.pod(index, pod, &mut errors),
            Object::Workload(workload) => {
                self.workload(index, &resource.kind, workload, &mut errors);
            }
            object => self.other(index, object, &mut errors),
        }
        self.invalid.extend(errors.into_iter().map(|error| Invalid { resource: index, error }));
    }

    fn policy(
        &mut self,
        index: usize,
        policy: Result<Policy, Vec<FieldError>>,
        errors: &mut Vec<FieldError>,
    ) {
        put(&mut self.policies, index, policy.map(Arc::new), |p| p.id.clone(), errors);
    }

    /// Everything but policies and pods.
    fn other(&mut self, index: usize, object: &Object, errors: &mut Vec<FieldError>) {
        match object {
            Object::Tier(tier) => {
                let tier = Tier::try_from(&**tier).map(Arc::new);
                put(&mut self.tiers, index, tier, |t| t.name.clone(), errors);
            }
            Object::Profile(profile) => {
                let profile = Profile::try_from(&**profile);
                put(&mut self.profiles, index, profile, |p| p.name.clone(), errors);
            }
            Object::GlobalNetworkSet(set) => {
                self.set(index, convert::network_set(&set.metadata, false, &set.spec), errors);
            }
            Object::NetworkSet(set) => {
                self.set(index, convert::network_set(&set.metadata, true, &set.spec), errors);
            }
            Object::HostEndpoint(host) => {
                let host = convert::host_endpoint(host);
                put(&mut self.hosts, index, host, |h| h.name.clone(), errors);
            }
            Object::WorkloadEndpoint(workload) => {
                let workload = convert::workload_endpoint(workload);
                put(&mut self.workloads, index, workload, |w| w.id.clone(), errors);
            }
            Object::ServiceAccount(account) => {
                name::check_names(&account.metadata, errors);
                let labels = kubernetes::account_labels(&account.metadata, errors);
                let key = Account {
                    namespace: kubernetes::namespace_of(&account.metadata),
                    name: account.metadata.name.to_smolstr(),
                };
                put(&mut self.accounts, index, Ok(labels), |_| key.clone(), errors);
            }
            object => self.plain(index, object, errors),
        }
    }

    /// Kinds that are kept as they are until everything is known.
    fn plain(&mut self, index: usize, object: &Object, errors: &mut Vec<FieldError>) {
        let named = |metadata: &tortie_model::ObjectMeta| metadata.name.to_smolstr();
        match object {
            Object::Namespace(o) => {
                name::check_namespace_name(&o.metadata, errors);
                kubernetes::namespace_labels(o, errors);
                put(&mut self.namespaces, index, Ok((**o).clone()), |n| named(&n.metadata), errors);
            }
            Object::Node(o) => {
                put(&mut self.nodes, index, Ok((**o).clone()), |n| named(&n.metadata), errors);
            }
            Object::FelixConfiguration(o) => {
                put(&mut self.felix, index, Ok((**o).clone()), |f| named(&f.metadata), errors);
            }
            Object::Service(o) => {
                let key = |s: &Service| services::name(&s.metadata);
                put(&mut self.services, index, Ok((**o).clone()), key, errors);
            }
            Object::EndpointSlice(o) => {
                let key = |s: &EndpointSlice| services::name(&s.metadata);
                put(&mut self.slices, index, Ok((**o).clone()), key, errors);
            }
            Object::TortieConfiguration(o) => {
                let spec = &o.spec;
                let domain = spec.trust_domain.as_deref().map(SmolStr::from);
                let trust = Trust {
                    domain: domain.unwrap_or_else(|| Trust::default().domain),
                    aliases: spec.trust_domain_aliases.iter().map(SmolStr::from).collect(),
                };
                if self.trust.replace((index, trust)).is_some() {
                    errors.push(duplicate());
                }
            }
            _ => {}
        }
    }

    fn set(
        &mut self,
        index: usize,
        set: Result<NetworkSet, Vec<FieldError>>,
        errors: &mut Vec<FieldError>,
    ) {
        put(&mut self.sets, index, set, |s| (s.namespace.clone(), s.name.clone()), errors);
    }

    fn pod(&mut self, index: usize, pod: &Pod, errors: &mut Vec<FieldError>) {
        name::check_names(&pod.metadata, errors);
        kubernetes::check_pod(pod, errors);
        put(&mut self.pods, index, Ok(pod.clone()), kubernetes::endpoint_id, errors);
    }

    fn workload(
        &mut self,
        index: usize,
        kind: &str,
        workload: &Workload,
        errors: &mut Vec<FieldError>,
    ) {
        name::check_names(&workload.metadata, errors);
        kubernetes::check_template(workload, errors);
        let pods = match kubernetes::expand_workload(kind, workload) {
            Ok(pods) => pods,
            Err(error) => return errors.push(error),
        };
        if self.replicas.len() + pods.len() > MAX_REPLICAS {
            let reason = format!("workloads stand for more than {MAX_REPLICAS} pods in all");
            return errors.push(FieldError::new("spec.replicas", reason));
        }
        let mut shared = None;
        for pod in pods {
            let id = kubernetes::endpoint_id(&pod);
            let earlier = self.replicas.insert(id.clone(), (index, pod));
            shared = shared.or(earlier.map(|_| id));
        }
        errors.extend(shared.map(|id| {
            FieldError::new("metadata.name", format!("`{id}` is a pod of another workload, too"))
                .hint("remove or rename one of the workloads")
        }));
    }

    pub(crate) fn finish(mut self) -> Result<Cluster, Vec<Invalid>> {
        for (id, replica) in std::mem::take(&mut self.replicas) {
            self.pods.entry(id).or_insert(replica);
        }
        let injected = self.injected();
        let namespaces = self.namespace_labels();
        let accounts = self.account_labels();
        let mut endpoints = self.endpoints(&injected);
        let settings = self.host_settings();
        let nodes = self.node_addresses();
        let slices: Vec<_> = std::mem::take(&mut self.slices).into_values().collect();
        let services = self.services(&slices, &endpoints);
        if !self.invalid.is_empty() {
            self.invalid.sort_by_key(|i| i.resource);
            return Err(self.invalid);
        }
        let profiles = self.all_profiles(&namespaces, &accounts);
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
        let endpoints: BTreeMap<_, _> =
            endpoints.into_iter().map(|e| (e.id.clone(), Arc::new(e))).collect();
        let hosts: BTreeMap<_, _> = hosts.into_iter().map(|(n, h)| (n, Arc::new(h))).collect();
        Ok(Cluster {
            tiers: all_tiers(self.tiers),
            policies: self.policies.into_iter().map(|(id, (_, p))| (id, p)).collect(),
            by_address: by_address(&endpoints, &hosts),
            endpoints,
            hosts,
            sets: sets.into_iter().map(Arc::new).collect(),
            unreadable_sets: Vec::new(),
            profiles,
            namespaces,
            accounts,
            services,
            nodes,
            settings,
            trust: self.trust.map(|(_, trust)| trust).unwrap_or_default(),
            compat: Compat::STRICT,
        })
    }

    /// Namespaces that ask for sidecars.
    fn injected(&self) -> BTreeSet<SmolStr> {
        let asks = |n: &Namespace| kubernetes::asks_for_sidecars(&n.metadata);
        self.namespaces.iter().filter(|(_, (_, n))| asks(n)).map(|(name, _)| name.clone()).collect()
    }

    fn invalid(&mut self, resource: usize, errors: Vec<FieldError>) {
        self.invalid.extend(errors.into_iter().map(|error| Invalid { resource, error }));
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

    /// Settings of all hosts, and of single ones over these.
    fn host_settings(&mut self) -> BTreeMap<Option<SmolStr>, HostSettings> {
        let mut felix = std::mem::take(&mut self.felix);
        let mut settings = BTreeMap::new();
        let default = felix.remove("default");
        let named = felix.into_iter().filter_map(|(name, given)| {
            name.strip_prefix("node.").map(|node| (Some(SmolStr::from(node)), given))
        });
        for (node, (index, wire)) in default.map(|given| (None, given)).into_iter().chain(named) {
            let base = settings.get(&None).cloned().unwrap_or_default();
            match convert::felix(&wire, base) {
                Ok(found) => drop(settings.insert(node, found)),
                Err(errors) => self.invalid(index, errors),
            }
        }
        settings
    }

    fn node_addresses(&mut self) -> BTreeMap<SmolStr, Vec<IpAddr>> {
        let nodes = std::mem::take(&mut self.nodes);
        let addresses = |node: &Node| {
            let internal = node.status.addresses.iter().filter(|a| a.type_ != "Hostname");
            internal.filter_map(|a| a.address.parse().ok()).collect()
        };
        nodes.into_iter().map(|(name, (_, node))| (name, addresses(&node))).collect()
    }

    /// What is behind each service: as its slices say, or where it has none, the pods it selects.
    fn services(
        &mut self,
        slices: &[Given<EndpointSlice>],
        endpoints: &[Endpoint],
    ) -> BTreeMap<ServiceRef, Vec<Backend>> {
        let mut result: BTreeMap<ServiceRef, Vec<Backend>> = BTreeMap::new();
        for (index, slice) in slices {
            let mut errors = Vec::new();
            if let Some((service, backends)) = services::of_slice(slice, &mut errors) {
                result.entry(service).or_default().extend(backends);
            }
            self.invalid(*index, errors);
        }
        for (name, (index, service)) in std::mem::take(&mut self.services) {
            let mut errors = Vec::new();
            let selected = services::selected(&name, &service, endpoints, &mut errors);
            result.entry(name).or_insert(selected);
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
