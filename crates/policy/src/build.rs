//! From resources, in any order, to a [`Cluster`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{
    self as model, EndpointSlice, FelixConfiguration, FieldError, GlobalNetworkSet,
    KubeControllersConfiguration, Namespace, NetworkSetSpec, Node, Object, ObjectMeta, Pod,
    Resource, Service, TortieConfigurationSpec, Workload,
};

use crate::cluster::{Backend, Cluster, Holders, Invalid};
use crate::convert::{self, BUILT_IN_TIERS};
use crate::{
    Account, Compat, CompatPoint, Endpoint, EndpointId, HostEndpoint, Labels, NetworkSet, Order,
    Policy, PolicyId, Profile, ServiceRef, Tier, Trust, auto_hosts, kubernetes, labels, mend, name,
    relax, services, settings,
};

/// A thing, and the position of the resource it came from.
type Given<T> = (usize, T);

/// Namespace, if it has one, and name of a network set.
type SetName = (Option<SmolStr>, SmolStr);

/// Most pods that all workloads together may stand for.
const MAX_REPLICAS: usize = 100_000;

/// Gathers resources, whatever their order, before they are put together.
#[derive(Default)]
pub(crate) struct Builder {
    /// The points in which Calico's behaviour is chosen.
    compat: Compat,
    /// Whether what cannot be enforced as written is mended, not refused.
    lenient: bool,
    invalid: Vec<Invalid>,
    /// What is wrong with policies that count as absent.
    vanished: Vec<Invalid>,
    tiers: BTreeMap<SmolStr, Given<Arc<Tier>>>,
    policies: BTreeMap<PolicyId, Given<Arc<Policy>>>,
    /// Pods that are written out; each replaces a workload's pod of the same name.
    pods: BTreeMap<EndpointId, Given<Pod>>,
    /// Pods of workloads.
    replicas: BTreeMap<EndpointId, Given<Pod>>,
    workloads: BTreeMap<EndpointId, Given<Endpoint>>,
    hosts: BTreeMap<SmolStr, Given<HostEndpoint>>,
    sets: BTreeMap<SetName, Given<NetworkSet>>,
    /// Sets of which an address could not be read.
    unreadable: BTreeSet<SetName>,
    profiles: BTreeMap<SmolStr, Given<Profile>>,
    namespaces: BTreeMap<SmolStr, Given<Namespace>>,
    accounts: BTreeMap<Account, Given<Labels>>,
    services: BTreeMap<ServiceRef, Given<Service>>,
    slices: BTreeMap<ServiceRef, Given<EndpointSlice>>,
    nodes: BTreeMap<SmolStr, Given<Node>>,
    felix: BTreeMap<SmolStr, Given<FelixConfiguration>>,
    controllers: Option<Given<KubeControllersConfiguration>>,
    trust: Option<Given<Trust>>,
}

/// Puts a thing, if there is one, where it belongs.
fn put<K: Ord, T>(
    map: &mut BTreeMap<K, Given<T>>,
    index: usize,
    thing: Option<T>,
    key: impl Fn(&T) -> K,
    errors: &mut Vec<FieldError>,
) {
    let Some(thing) = thing else { return };
    let key = key(&thing);
    if map.insert(key, (index, thing)).is_some() {
        errors.push(duplicate());
    }
}

/// A network set, with labels of reserved prefixes where they are accepted.
pub(crate) fn network_set(
    metadata: &ObjectMeta,
    namespaced: bool,
    spec: &NetworkSetSpec,
    compat: Compat,
) -> Result<NetworkSet, Vec<FieldError>> {
    let mut metadata = metadata.clone();
    let reserved = relax::take_reserved(&mut metadata.labels, compat);
    let mut set = convert::network_set(&metadata, namespaced, spec)?;
    for (key, value) in reserved {
        set.labels.entry(key).or_insert(value);
    }
    Ok(set)
}

fn duplicate() -> FieldError {
    FieldError::new("metadata.name", "the same resource is given twice")
        .hint("remove one of the two documents, or rename it")
}

impl Builder {
    pub(crate) fn new(compat: Compat, lenient: bool) -> Builder {
        Builder { compat, lenient, ..Builder::default() }
    }

    pub(crate) fn add(&mut self, index: usize, resource: &Resource) {
        let mut errors = Vec::new();
        match &*relax::relaxed(&resource.object, self.compat) {
            Object::Pod(pod) => self.pod(index, pod, &mut errors),
            Object::Workload(workload) => {
                self.workload(index, &resource.kind, workload, &mut errors);
            }
            object => match Policy::read_with(&resource.object, self.compat) {
                Some(policy) => self.policy(index, object, policy, &mut errors),
                None => self.other(index, object, &mut errors),
            },
        }
        self.invalid(index, errors);
    }

    fn policy(
        &mut self,
        index: usize,
        object: &Object,
        policy: Result<Policy, Vec<FieldError>>,
        errors: &mut Vec<FieldError>,
    ) {
        let policy = match policy {
            Ok(policy) => Some(policy),
            Err(found) if self.compat.has(CompatPoint::InvalidPolicyVanishes) => {
                let found = found.into_iter();
                self.vanished.extend(found.map(|error| Invalid { resource: index, error }));
                None
            }
            Err(found) => {
                errors.extend(found);
                self.lenient.then(|| Policy::mended(object)).flatten()
            }
        };
        if let Some(policy) = policy.map(Arc::new) {
            put(&mut self.policies, index, Some(policy), |p| p.id.clone(), errors);
        }
    }

    /// The thing, or what is left of it without what is refused, if that is wanted.
    fn read<W, T>(
        &self,
        wire: &W,
        convert: impl Fn(&W) -> Result<T, Vec<FieldError>>,
        errors: &mut Vec<FieldError>,
    ) -> Option<T>
    where
        W: Serialize + DeserializeOwned,
    {
        convert(wire).map_or_else(
            |found| {
                errors.extend(found);
                self.lenient.then(|| mend::without_errors(wire, convert)).flatten()
            },
            Some,
        )
    }

    /// Everything but policies and pods.
    fn other(&mut self, index: usize, object: &Object, errors: &mut Vec<FieldError>) {
        match object {
            Object::Tier(tier) => {
                let tier = self.read(&**tier, |wire| Tier::try_from(wire), errors);
                put(&mut self.tiers, index, tier.map(Arc::new), |t| t.name.clone(), errors);
            }
            Object::Profile(profile) => self.profile(index, profile, errors),
            Object::GlobalNetworkSet(set) => {
                let compat = self.compat;
                let convert =
                    |o: &GlobalNetworkSet| network_set(&o.metadata, false, &o.spec, compat);
                self.set(index, &**set, convert, errors);
            }
            Object::NetworkSet(set) => {
                let compat = self.compat;
                let convert =
                    |o: &model::NetworkSet| network_set(&o.metadata, true, &o.spec, compat);
                self.set(index, &**set, convert, errors);
            }
            Object::HostEndpoint(host) => {
                let mut host = host.clone();
                let reserved = relax::take_reserved(&mut host.metadata.labels, self.compat);
                let host = self.read(&*host, convert::host_endpoint, errors).map(|mut host| {
                    host.labels.extend(reserved);
                    host
                });
                put(&mut self.hosts, index, host, |h| h.name.clone(), errors);
            }
            Object::WorkloadEndpoint(workload) => {
                let workload = self.read(&**workload, convert::workload_endpoint, errors);
                put(&mut self.workloads, index, workload, |w| w.id.clone(), errors);
            }
            Object::ServiceAccount(account) => {
                name::check_names(&account.metadata, errors);
                let labels = kubernetes::account_labels(&account.metadata, errors);
                let key = Account {
                    namespace: kubernetes::namespace_of(&account.metadata),
                    name: account.metadata.name.to_smolstr(),
                };
                put(&mut self.accounts, index, Some(labels), |_| key.clone(), errors);
            }
            object => self.plain(index, object, errors),
        }
    }

    fn profile(&mut self, index: usize, wire: &model::Profile, errors: &mut Vec<FieldError>) {
        let mut wire = wire.clone();
        let reserved = relax::take_reserved(&mut wire.spec.labels_to_apply, self.compat);
        let profile = Profile::try_from(&wire).map_or_else(
            |found| {
                errors.extend(found);
                self.lenient.then(|| mend::profile(&wire))
            },
            Some,
        );
        let profile = profile.map(|mut profile| {
            profile.labels.extend(reserved);
            profile
        });
        put(&mut self.profiles, index, profile, |p| p.name.clone(), errors);
    }

    /// Kinds that are kept as they are until everything is known.
    fn plain(&mut self, index: usize, object: &Object, errors: &mut Vec<FieldError>) {
        let named = |metadata: &tortie_model::ObjectMeta| metadata.name.to_smolstr();
        match object {
            Object::Namespace(o) => {
                name::check_namespace_name(&o.metadata, errors);
                kubernetes::namespace_labels(o, errors);
                put(
                    &mut self.namespaces,
                    index,
                    Some((**o).clone()),
                    |n| named(&n.metadata),
                    errors,
                );
            }
            Object::Node(o) => {
                put(&mut self.nodes, index, Some((**o).clone()), |n| named(&n.metadata), errors);
            }
            Object::FelixConfiguration(o) => {
                put(&mut self.felix, index, Some((**o).clone()), |f| named(&f.metadata), errors);
            }
            Object::Service(o) => {
                let key = |s: &Service| services::name(&s.metadata);
                put(&mut self.services, index, Some((**o).clone()), key, errors);
            }
            Object::EndpointSlice(o) => {
                let key = |s: &EndpointSlice| services::name(&s.metadata);
                put(&mut self.slices, index, Some((**o).clone()), key, errors);
            }
            Object::KubeControllersConfiguration(o) => {
                let given = (index, (**o).clone());
                if self.controllers.replace(given).is_some() {
                    errors.push(duplicate());
                }
            }
            Object::TortieConfiguration(o) => self.configuration(index, &o.spec, errors),
            _ => {}
        }
    }

    fn configuration(
        &mut self,
        index: usize,
        spec: &TortieConfigurationSpec,
        errors: &mut Vec<FieldError>,
    ) {
        for (number, name) in spec.compat.iter().enumerate() {
            if let Err(error) = Compat::parse([name.as_str()]) {
                errors.push(error.field(format!("spec.compat[{number}]")));
            }
        }
        let domain = spec.trust_domain.as_deref().map(SmolStr::from);
        let trust = Trust {
            domain: domain.unwrap_or_else(|| Trust::default().domain),
            aliases: spec.trust_domain_aliases.iter().map(SmolStr::from).collect(),
        };
        if self.trust.replace((index, trust)).is_some() {
            errors.push(duplicate());
        }
    }

    fn set<W>(
        &mut self,
        index: usize,
        wire: &W,
        convert: impl Fn(&W) -> Result<NetworkSet, Vec<FieldError>>,
        errors: &mut Vec<FieldError>,
    ) where
        W: Serialize + DeserializeOwned,
    {
        let mut found = Vec::new();
        let set = self.read(wire, convert, &mut found);
        let key = |s: &NetworkSet| (s.namespace.clone(), s.name.clone());
        if found.iter().any(|error| error.field.starts_with("spec.nets")) {
            self.unreadable.extend(set.iter().map(key));
        }
        errors.extend(found);
        put(&mut self.sets, index, set, key, errors);
    }

    fn pod(&mut self, index: usize, pod: &Pod, errors: &mut Vec<FieldError>) {
        name::check_names(&pod.metadata, errors);
        kubernetes::check_pod(pod, errors);
        put(&mut self.pods, index, Some(pod.clone()), kubernetes::endpoint_id, errors);
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
        if !self.compat.has(CompatPoint::MissingProfile) {
            let of_hosts = self.hosts.values().flat_map(|(_, host)| &host.profiles);
            for name in endpoints.iter().flat_map(|e| &e.profiles).chain(of_hosts) {
                let missing = || Arc::new(kubernetes::missing_profile(name));
                profiles.entry(name.clone()).or_insert_with(missing);
            }
        }
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
            compat: self.compat,
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

    fn node_addresses(&self) -> BTreeMap<SmolStr, Vec<IpAddr>> {
        let addresses = |node: &Node| {
            let internal = node.status.addresses.iter().filter(|a| a.type_ != "Hostname");
            internal.filter_map(|a| a.address.parse().ok()).collect()
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
