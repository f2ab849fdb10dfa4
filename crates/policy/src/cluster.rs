//! Everything policy needs to know of a cluster at one moment, immutable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{FieldError, Namespace, Object, Pod, Resource, Workload};

use crate::convert::BUILT_IN_TIERS;
use crate::{
    Account, Direction, Endpoint, EndpointId, Labels, Order, Policy, PolicyId, Profile, Tier,
    kubernetes, labels, name,
};

/// Policies, tiers, endpoints, namespaces and service accounts.
#[derive(Debug, Default)]
pub struct Cluster {
    tiers: BTreeMap<SmolStr, Arc<Tier>>,
    policies: BTreeMap<PolicyId, Arc<Policy>>,
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    by_address: HashMap<IpAddr, Vec<Arc<Endpoint>>>,
    namespaces: BTreeMap<SmolStr, Labels>,
    accounts: BTreeMap<Account, Labels>,
    profiles: BTreeMap<SmolStr, Arc<Profile>>,
}

/// A resource that cannot be enforced as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Position of the resource among those given.
    pub resource: usize,
    /// What is wrong with it.
    pub error: FieldError,
}

/// The policies that apply to one endpoint in one direction, in the order they are asked.
#[derive(Debug, Clone)]
pub struct Applicable {
    /// Direction.
    pub direction: Direction,
    /// Tiers with at least one policy that applies.
    pub tiers: Vec<TierPolicies>,
    /// Profiles, in the endpoint's order; one that does not exist decides nothing.
    pub profiles: Vec<Arc<Profile>>,
}

/// The policies of one tier that apply, in order.
#[derive(Debug, Clone)]
pub struct TierPolicies {
    /// The tier.
    pub tier: Arc<Tier>,
    /// Its policies.
    pub policies: Vec<Arc<Policy>>,
}

impl Cluster {
    /// Reads a cluster from resources, all or nothing. Kinds without a meaning for policy are
    /// passed over. Defaults are those an API server would fill in; pods without an address get
    /// one, always the same for the same resources.
    ///
    /// # Errors
    /// Every resource that cannot be enforced as written, each with every reason.
    pub fn build<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
    ) -> Result<Cluster, Vec<Invalid>> {
        let mut builder = Builder::default();
        let resources: Vec<_> = resources.into_iter().collect();
        for (index, resource) in resources.iter().enumerate() {
            builder.add(index, resource);
        }
        builder.finish()
    }

    /// The endpoint of a name.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(id)
    }

    /// All endpoints, by namespace and name.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// The endpoints that use an address: one in a sound cluster, none for a stranger.
    pub fn at(&self, address: IpAddr) -> &[Arc<Endpoint>] {
        self.by_address.get(&address.to_canonical()).map(Vec::as_slice).unwrap_or_default()
    }

    /// All policies, by identity.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// The labels of a namespace as selectors see them, if it is known.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// The labels of a service account as selectors see them, if it is known.
    pub fn account(&self, account: &Account) -> Option<&Labels> {
        self.accounts.get(account)
    }

    /// The policies that apply to an endpoint, in the order they are asked.
    pub fn applicable(&self, endpoint: &Endpoint, direction: Direction) -> Applicable {
        let mut by_tier: BTreeMap<&str, Vec<Arc<Policy>>> = BTreeMap::new();
        for policy in self.policies.values() {
            if policy.governs(direction) && policy.subject.matches(&endpoint.labels) {
                by_tier.entry(&policy.tier).or_default().push(Arc::clone(policy));
            }
        }
        let mut tiers: Vec<TierPolicies> = by_tier
            .into_iter()
            .map(|(name, mut policies)| {
                policies.sort_by_cached_key(|p| (p.order, p.id.tie_key()));
                TierPolicies { tier: self.tier(name), policies }
            })
            .collect();
        tiers.sort_by(|a, b| a.tier.sort_key().cmp(&b.tier.sort_key()));
        let profiles =
            endpoint.profiles.iter().filter_map(|p| self.profiles.get(p)).cloned().collect();
        Applicable { direction, tiers, profiles }
    }

    /// A tier by name. One that nobody defined still holds its policies: it comes after all
    /// others and denies what they do not allow.
    fn tier(&self, name: &str) -> Arc<Tier> {
        self.tiers.get(name).cloned().unwrap_or_else(|| {
            Arc::new(Tier {
                name: name.into(),
                order: Order::LAST,
                default_action: crate::DefaultAction::Deny,
                defined: false,
            })
        })
    }
}

/// Most pods that all workloads together may stand for.
const MAX_REPLICAS: usize = 100_000;

/// A pod, and where it came from.
struct Candidate {
    resource: usize,
    pod: Pod,
}

/// Gathers resources, whatever their order, before they are put together.
#[derive(Default)]
struct Builder {
    invalid: Vec<Invalid>,
    tiers: BTreeMap<SmolStr, (usize, Arc<Tier>)>,
    policies: BTreeMap<PolicyId, (usize, Arc<Policy>)>,
    /// Pods that are written out; each replaces a workload's pod of the same name.
    pods: BTreeMap<EndpointId, Candidate>,
    /// Pods of workloads.
    replicas: BTreeMap<EndpointId, Candidate>,
    namespaces: BTreeMap<SmolStr, (usize, Namespace)>,
    accounts: BTreeMap<Account, (usize, Labels)>,
}

impl Builder {
    fn add(&mut self, index: usize, resource: &Resource) {
        let mut errors = Vec::new();
        match &resource.object {
            Object::GlobalNetworkPolicy(policy) => {
                let policy = Policy::try_from(&**policy);
                self.policy(index, policy, &mut errors);
            }
            Object::NetworkPolicy(policy) => {
                let policy = Policy::try_from(&**policy);
                self.policy(index, policy, &mut errors);
            }
            Object::Tier(tier) => self.tier(index, Tier::try_from(&**tier), &mut errors),
            Object::Namespace(namespace) => {
                name::check_namespace_name(&namespace.metadata, &mut errors);
                let name = namespace.metadata.name.to_smolstr();
                let given = (index, (**namespace).clone());
                duplicate(self.namespaces.insert(name, given).map(|g| g.0), &mut errors);
            }
            Object::ServiceAccount(account) => {
                name::check_names(&account.metadata, &mut errors);
                let key = Account {
                    namespace: kubernetes::namespace_of(&account.metadata),
                    name: account.metadata.name.to_smolstr(),
                };
                let labels = kubernetes::account_labels(&account.metadata, &mut errors);
                duplicate(self.accounts.insert(key, (index, labels)).map(|g| g.0), &mut errors);
            }
            Object::Pod(pod) => self.pod(index, pod, &mut errors),
            Object::Workload(workload) => {
                self.workload(index, &resource.kind, workload, &mut errors);
            }
            Object::Service(_) | Object::Secret(_) | Object::PolicyTest(_) | Object::Foreign(_) => {
            }
        }
        self.invalid.extend(errors.into_iter().map(|error| Invalid { resource: index, error }));
    }

    fn policy(
        &mut self,
        index: usize,
        policy: Result<Policy, Vec<FieldError>>,
        errors: &mut Vec<FieldError>,
    ) {
        match policy {
            Ok(policy) => {
                let given = (index, Arc::new(policy));
                let key = given.1.id.clone();
                duplicate(self.policies.insert(key, given).map(|g| g.0), errors);
            }
            Err(found) => errors.extend(found),
        }
    }

    fn tier(
        &mut self,
        index: usize,
        tier: Result<Tier, Vec<FieldError>>,
        errors: &mut Vec<FieldError>,
    ) {
        match tier {
            Ok(tier) => {
                let given = (index, Arc::new(tier));
                let key = given.1.name.clone();
                duplicate(self.tiers.insert(key, given).map(|g| g.0), errors);
            }
            Err(found) => errors.extend(found),
        }
    }

    fn pod(&mut self, resource: usize, pod: &Pod, errors: &mut Vec<FieldError>) {
        name::check_names(&pod.metadata, errors);
        kubernetes::check_pod(pod, errors);
        let given = Candidate { resource, pod: pod.clone() };
        let earlier = self.pods.insert(kubernetes::endpoint_id(pod), given);
        duplicate(earlier.map(|e| e.resource), errors);
    }

    fn workload(
        &mut self,
        resource: usize,
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
            let earlier = self.replicas.insert(id.clone(), Candidate { resource, pod });
            shared = shared.or(earlier.map(|_| id));
        }
        errors.extend(shared.map(|id| {
            FieldError::new("metadata.name", format!("`{id}` is a pod of another workload, too"))
                .hint("remove or rename one of the workloads")
        }));
    }

    fn finish(mut self) -> Result<Cluster, Vec<Invalid>> {
        for (id, replica) in std::mem::take(&mut self.replicas) {
            self.pods.entry(id).or_insert(replica);
        }
        let injected = self.injected();
        let namespaces = self.namespace_labels();
        let accounts = self.account_labels();
        let mut endpoints = self.endpoints(&injected);
        if !self.invalid.is_empty() {
            self.invalid.sort_by_key(|i| i.resource);
            return Err(self.invalid);
        }
        inherit(&mut endpoints, &namespaces, &accounts);
        let endpoints: BTreeMap<_, _> =
            endpoints.into_iter().map(|e| (e.id.clone(), Arc::new(e))).collect();
        let profiles = namespaces.keys().map(|n| kubernetes::namespace_profile(n));
        Ok(Cluster {
            tiers: self.all_tiers(),
            policies: self.policies.into_iter().map(|(id, (_, p))| (id, p)).collect(),
            by_address: by_address(&endpoints),
            endpoints,
            profiles: profiles.map(|p| (p.name.clone(), Arc::new(p))).collect(),
            namespaces,
            accounts,
        })
    }

    /// The tiers given, and the built-in ones.
    fn all_tiers(&mut self) -> BTreeMap<SmolStr, Arc<Tier>> {
        let mut tiers = BTreeMap::new();
        for (name, order, default_action) in BUILT_IN_TIERS {
            let order = Order::new(Some(order)).unwrap_or(Order::LAST);
            let tier = Tier { name: name.into(), order, default_action, defined: true };
            tiers.insert(name.into(), Arc::new(tier));
        }
        let given = std::mem::take(&mut self.tiers);
        tiers.extend(given.into_iter().map(|(name, (_, tier))| (name, tier)));
        tiers
    }

    /// Namespaces that ask for sidecars.
    fn injected(&self) -> BTreeSet<SmolStr> {
        let asks = |n: &Namespace| kubernetes::asks_for_sidecars(&n.metadata);
        self.namespaces.iter().filter(|(_, (_, n))| asks(n)).map(|(name, _)| name.clone()).collect()
    }

    /// Labels of the namespaces given and of those merely used.
    fn namespace_labels(&mut self) -> BTreeMap<SmolStr, Labels> {
        let mut result = BTreeMap::new();
        for (name, (index, namespace)) in &self.namespaces {
            let mut errors = Vec::new();
            let own = kubernetes::namespace_labels(namespace, &mut errors);
            self.invalid
                .extend(errors.into_iter().map(|error| Invalid { resource: *index, error }));
            result.insert(name.clone(), labels::with_name(own, name));
        }
        let policies = self.policies.keys().filter_map(|id| id.namespace.as_ref());
        let accounts = self.accounts.keys().map(|a| &a.namespace);
        for name in self.pods.keys().map(|id| &id.namespace).chain(policies).chain(accounts) {
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
        for (id, candidate) in &self.pods {
            let name: SmolStr = kubernetes::service_account(&candidate.pod).into();
            let bare = labels::with_name(Labels::new(), &name);
            let account = Account { namespace: id.namespace.clone(), name };
            result.entry(account).or_insert(bare);
        }
        result
    }

    fn endpoints(&self, injected: &BTreeSet<SmolStr>) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let mut unaddressed = Vec::new();
        for (id, candidate) in &self.pods {
            let pod = &candidate.pod;
            if !kubernetes::is_endpoint(pod) {
                continue;
            }
            let injected = injected.contains(&id.namespace);
            // Its errors were found when the pod was added.
            let endpoint = kubernetes::endpoint(pod, injected, &mut Vec::new());
            let finished = kubernetes::is_finished(pod);
            let list = if endpoint.addresses.is_empty() && !finished {
                &mut unaddressed
            } else {
                &mut endpoints
            };
            list.push(endpoint);
        }
        let taken = endpoints.iter().flat_map(|e| e.addresses.iter().copied()).collect();
        kubernetes::assign_addresses(&taken, unaddressed.iter_mut());
        endpoints.extend(unaddressed);
        endpoints
    }
}

fn duplicate(earlier: Option<usize>, errors: &mut Vec<FieldError>) {
    if earlier.is_some() {
        errors.push(
            FieldError::new("metadata.name", "the same resource is given twice")
                .hint("remove one of the two documents, or rename it"),
        );
    }
}

fn inherit(
    endpoints: &mut [Endpoint],
    namespaces: &BTreeMap<SmolStr, Labels>,
    accounts: &BTreeMap<Account, Labels>,
) {
    for endpoint in endpoints {
        if let Some(inherited) = namespaces.get(&endpoint.id.namespace) {
            labels::inherit(&mut endpoint.labels, "pcns.", inherited);
        }
        if let Some(inherited) = accounts.get(&endpoint.account) {
            labels::inherit(&mut endpoint.labels, "pcsa.", inherited);
        }
    }
}

fn by_address(
    endpoints: &BTreeMap<EndpointId, Arc<Endpoint>>,
) -> HashMap<IpAddr, Vec<Arc<Endpoint>>> {
    let mut map: HashMap<IpAddr, Vec<Arc<Endpoint>>> = HashMap::new();
    for endpoint in endpoints.values() {
        for address in &endpoint.addresses {
            map.entry(address.to_canonical()).or_default().push(Arc::clone(endpoint));
        }
    }
    map
}
