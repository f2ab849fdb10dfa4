//! The incremental calculation: changes of resources in, updates out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{DecodeError, FieldError, Object, Resource};
use tortie_policy::{
    Cluster, Compat, CompatPoint, EndpointId, HostEndpoint, Policy, ServiceRef, Single, SinglePod,
    account_profile_name, allow_all_profile, assign_addresses, namespace_profile_name,
};

use crate::addresses::Addresses;
use crate::locals::Locals;
use crate::policies::{self, Body, Policies};
use crate::sets::Sets;
use crate::told::Told;
use crate::what::{Address, Claim, Nets, What, Workload};
use crate::world::{Change, Described, World, replica_claim};
use crate::{Key, Kind, Settings};

/// Keeps what one node has to enforce current as resources change.
///
/// Changes are applied one at a time, in any order, and cost little by themselves; [`flush`] works
/// out what they come to together and tells it. What has been told in all depends on the resources
/// as they are now, never on the way there: a change that is repeated, or taken back before the next
/// flush, tells nothing.
///
/// [`flush`]: Calculation::flush
pub struct Calculation {
    pub(crate) node: Option<SmolStr>,
    pub(crate) compat: Compat,
    assigns: bool,
    revision: u64,
    pub(crate) in_sync: bool,
    pub(crate) world: World,
    pub(crate) sets: Sets,
    pub(crate) policies: Policies,
    pub(crate) locals: Locals,
    pub(crate) addresses: Addresses,
    pub(crate) told: Told,
    /// The pods each workload kind stands for.
    replicas: BTreeMap<Key, Vec<EndpointId>>,
    /// Workloads that wait for an address.
    waiting: BTreeSet<EndpointId>,
    /// Whether somebody's address, or waiting for one, has changed.
    readdress: bool,
    /// Resources that mean something only together: settings of hosts, nodes.
    settings: BTreeMap<Key, Resource>,
    settings_changed: bool,
    pub(crate) current_settings: Arc<Settings>,
    node_addresses: BTreeMap<SmolStr, Vec<IpAddr>>,
    /// Host endpoints that are written out, and those made for nodes.
    given_hosts: BTreeSet<SmolStr>,
    made_hosts: BTreeMap<SmolStr, HostEndpoint>,
    /// Profiles of namespaces and service accounts that are described, and other things by key that
    /// employ a namespace.
    employed: BTreeMap<Key, SmolStr>,
    invalid: BTreeMap<Key, Vec<FieldError>>,
    /// What is wrong with settings of hosts, which is found when they are laid over each other.
    invalid_settings: BTreeMap<Key, Vec<FieldError>>,
}

impl Calculation {
    /// For the workloads and interfaces of one node or, without a name, of all nodes together.
    pub fn new(node: Option<SmolStr>) -> Calculation {
        let mut world = World::default();
        let all = allow_all_profile();
        world.put_profile(&all.name.clone(), Some((all, Arc::default())));
        Calculation {
            locals: Locals::new(node.clone()),
            node,
            compat: Compat::STRICT,
            assigns: false,
            revision: 0,
            in_sync: false,
            world,
            sets: Sets::default(),
            policies: Policies::default(),
            addresses: Addresses::default(),
            told: Told::default(),
            replicas: BTreeMap::new(),
            waiting: BTreeSet::new(),
            readdress: false,
            settings: BTreeMap::new(),
            settings_changed: true,
            current_settings: Arc::default(),
            node_addresses: BTreeMap::new(),
            given_hosts: BTreeSet::new(),
            made_hosts: BTreeMap::new(),
            employed: BTreeMap::new(),
            invalid: BTreeMap::new(),
            invalid_settings: BTreeMap::new(),
        }
    }

    /// Gives addresses to pods that have none: where resources come from files, nobody else does.
    /// They are those that [`Cluster`] gives.
    #[must_use]
    pub fn assigning_addresses(mut self) -> Calculation {
        self.assigns = true;
        self
    }

    /// Reads resources with Calico's behaviour in some points. To choose others, start a new
    /// calculation.
    #[must_use]
    pub fn with_compat(mut self, compat: Compat) -> Calculation {
        self.compat = compat;
        self.world.passes_missing_profiles = compat.has(CompatPoint::MissingProfile);
        self.sets.services.of_slices_alone = compat.has(CompatPoint::ServiceWithoutSlices);
        self
    }

    /// Everything that was there at the start has been applied: the next flush tells it.
    pub fn in_sync(&mut self) {
        self.in_sync = true;
    }

    /// Gives what has been applied so far a number; it is told with the settings, after everything
    /// else of a flush.
    pub fn set_revision(&mut self, revision: u64) {
        if revision != self.revision {
            self.revision = revision;
            self.current_settings =
                Arc::new(Settings { revision, ..(*self.current_settings).clone() });
        }
    }

    /// What is wrong with resources that cannot be enforced as written; they count as house rule 7
    /// says.
    pub fn invalid(&self) -> impl Iterator<Item = (&Key, &[FieldError])> {
        let all = self.invalid.iter().chain(&self.invalid_settings);
        all.map(|(key, errors)| (key, errors.as_slice()))
    }

    // === changes ===

    /// Takes in that a resource is now like this, or is not there.
    pub fn apply(&mut self, key: &Key, resource: Option<&Resource>) {
        let (single, errors) = match resource {
            Some(resource) => Single::read_with(resource, self.compat),
            None => (None, Vec::new()),
        };
        self.report(key, errors);
        match policies::identity(key) {
            Some(id) => {
                let given = match (single, resource) {
                    (Some(Single::Policy(policy)), Some(resource)) => {
                        let hinted = policies::is_hinted(&resource.object);
                        policies::pack(&resource.object).map(|body| (*policy, body, hinted))
                    }
                    _ => None,
                };
                self.put_policy(key, &id, given);
            }
            None => self.apply_other(key, single, resource),
        }
        self.settle();
    }

    /// Takes in that a policy is there that could not even be decoded.
    pub fn apply_undecodable(&mut self, key: &Key, error: &DecodeError) {
        self.report(key, error.errors.clone());
        if let (Some(id), Some(policy)) = (policies::identity(key), Policy::undecodable(error)) {
            let body = Body::Unreadable(Arc::new(policy.clone()));
            self.put_policy(key, &id, Some((policy, body, false)));
        }
        self.settle();
    }

    fn report(&mut self, key: &Key, errors: Vec<FieldError>) {
        match errors.is_empty() {
            true => drop(self.invalid.remove(key)),
            false => drop(self.invalid.insert(key.clone(), errors)),
        }
    }

    fn put_policy(
        &mut self,
        key: &Key,
        id: &tortie_policy::PolicyId,
        given: Option<(Policy, Body, bool)>,
    ) {
        let namespace = id.namespace.as_deref().filter(|_| given.is_some());
        self.employ(key, namespace.map(namespace_profile_name));
        let subjects = self.policies.put(id, given);
        self.locals.touch_subjects(&subjects);
        self.locals.forget_subjects(&subjects, &self.policies);
    }

    /// A resource uses a namespace, or none any more.
    fn employ(&mut self, key: &Key, name: Option<SmolStr>) {
        let old = match &name {
            Some(name) if self.employed.get(key) == Some(name) => return,
            Some(name) => {
                self.world.employ(name);
                self.employed.insert(key.clone(), name.clone())
            }
            None => self.employed.remove(key),
        };
        old.iter().for_each(|old| self.world.dismiss(old));
    }

    fn apply_other(&mut self, key: &Key, single: Option<Single>, resource: Option<&Resource>) {
        match (&key.kind, single) {
            (Kind::Pod, single) => self.put_pods(key, single),
            (Kind::Workload(_), single) => self.put_pods(key, single),
            (Kind::WorkloadEndpoint, single) => self.put_workload(key, single, resource),
            (Kind::HostEndpoint, single) => self.put_host(key, single),
            (Kind::GlobalNetworkSet | Kind::NetworkSet, single) => self.put_set(key, single),
            (Kind::Tier, single) => {
                let tier = match single {
                    Some(Single::Tier(tier)) => Some(tier),
                    _ => None,
                };
                if self.policies.put_tier(&key.name, tier) {
                    self.locals.touch_tier(&key.name);
                }
            }
            (Kind::Profile, single) => self.put_profile(key, single, resource),
            (Kind::Namespace | Kind::ServiceAccount, single) => self.put_family(key, single),
            (Kind::Service, single) => {
                let service = match single {
                    Some(Single::Service(_, service)) => Some(service),
                    _ => None,
                };
                self.sets.services.put(reference(key), service);
            }
            (Kind::EndpointSlice, single) => {
                let slice = match single {
                    Some(Single::Slice(slice)) => slice,
                    _ => None,
                };
                self.sets.services.put_slice(&reference(key), slice);
            }
            (_, Some(Single::Setting)) => self.put_setting(key, resource),
            _ => self.put_setting(key, None),
        }
    }

    fn put_profile(&mut self, key: &Key, single: Option<Single>, resource: Option<&Resource>) {
        let text = match resource.map(|resource| &resource.object) {
            Some(Object::Profile(profile)) => serde_json::to_vec(&profile.spec).unwrap_or_default(),
            _ => Vec::new(),
        };
        let all = Some(allow_all_profile()).filter(|all| all.name == key.name);
        let profile = match single {
            Some(Single::Profile(profile)) => Some((profile, text.into())),
            _ => all.map(|all| (all, Arc::default())),
        };
        self.world.put_profile(&key.name, profile);
    }

    fn put_setting(&mut self, key: &Key, resource: Option<&Resource>) {
        let old = match resource {
            Some(resource) if self.settings.get(key) == Some(resource) => return,
            Some(resource) => self.settings.insert(key.clone(), resource.clone()),
            None => self.settings.remove(key),
        };
        self.settings_changed |= resource.is_some() || old.is_some();
    }

    fn put_family(&mut self, key: &Key, single: Option<Single>) {
        let account = key.kind == Kind::ServiceAccount;
        let name = match account {
            true => account_profile_name(&tortie_policy::Account {
                namespace: key.namespace(),
                name: key.name.clone(),
            }),
            false => namespace_profile_name(&key.name),
        };
        let used = account && single.is_some();
        self.employ(key, used.then(|| namespace_profile_name(&key.namespace())));
        match &single {
            Some(Single::Namespace(labels, sidecars)) => {
                self.world.describe(&name, Some((labels, *sidecars)));
            }
            Some(Single::Account(_, labels)) => self.world.describe(&name, Some((labels, false))),
            _ => self.world.describe(&name, None),
        }
    }

    // === workloads ===

    fn is_local(&self, node: Option<&SmolStr>) -> bool {
        self.node.is_none() || node == self.node.as_ref()
    }

    fn put_pods(&mut self, key: &Key, single: Option<Single>) {
        let claim = match &key.kind {
            Kind::Workload(_) => replica_claim(key),
            _ => Claim::Pod,
        };
        let pods = match single {
            Some(Single::Pods(pods)) => pods,
            _ => Vec::new(),
        };
        let described: Vec<Described> =
            pods.iter().map(|pod| self.describe_pod(pod, &claim)).collect();
        let now: Vec<EndpointId> = described.iter().map(|d| d.workload.id.clone()).collect();
        let before = match &key.kind {
            Kind::Workload(_) if now.is_empty() => self.replicas.remove(key).unwrap_or_default(),
            Kind::Workload(_) => self.replicas.insert(key.clone(), now.clone()).unwrap_or_default(),
            _ => vec![EndpointId { namespace: key.namespace(), name: key.name.clone() }],
        };
        for described in described {
            let id = described.workload.id.clone();
            self.put_claim(&id, &claim, Some(described));
        }
        for id in before.iter().filter(|id| !now.contains(id)) {
            self.put_claim(id, &claim, None);
        }
    }

    fn describe_pod(&mut self, pod: &SinglePod, claim: &Claim) -> Described {
        let endpoint = &pod.endpoint;
        let local = self.is_local(endpoint.node.as_ref());
        let mut workload =
            Workload::new(claim.clone(), endpoint, local, &mut self.world.store.texts);
        workload.sidecar = endpoint.application_enforced;
        workload.address = match pod.host_network {
            true => Address::Node(endpoint.node.clone()),
            false if endpoint.addresses.is_empty() && !pod.finished => Address::Awaited,
            false => Address::Own,
        };
        if pod.host_network && pod.finished {
            workload.address = Address::Node(None);
            workload.addresses = Box::default();
        }
        let (labels, profiles) = (endpoint.labels.clone(), endpoint.profiles.clone());
        Described { workload, labels, profiles }
    }

    fn put_workload(&mut self, key: &Key, single: Option<Single>, resource: Option<&Resource>) {
        let described = match single {
            Some(Single::Workload(endpoint)) => {
                let local = self.is_local(endpoint.node.as_ref());
                let mut workload =
                    Workload::new(Claim::Workload, &endpoint, local, &mut self.world.store.texts);
                workload.enforced = endpoint.application_enforced;
                workload.interface = resource.filter(|_| local).and_then(interface);
                let (labels, profiles) = (endpoint.labels, endpoint.profiles);
                Some(Described { workload, labels, profiles })
            }
            _ => None,
        };
        let id = EndpointId { namespace: key.namespace(), name: key.name.clone() };
        self.put_claim(&id, &Claim::Workload, described);
    }

    fn put_claim(&mut self, id: &EndpointId, claim: &Claim, mut described: Option<Described>) {
        if let Some(Described { workload, .. }) = &mut described
            && workload.address == Address::Awaited
        {
            // Whatever it was given before is given again, unless others take it.
            let before = self.world.workload(id).map(|(_, holder)| &holder.what);
            if let Some(What::Workload(Workload { address: Address::Awaited, addresses, .. })) =
                before
            {
                workload.addresses.clone_from(addresses);
            }
        }
        self.world.claim(id, claim, described);
        self.settle();
    }

    // === host endpoints and network sets ===

    fn put_host(&mut self, key: &Key, single: Option<Single>) {
        let host = match single {
            Some(Single::Host(host)) => Some(host),
            _ => None,
        };
        let name = &key.name;
        match &host {
            Some(_) => drop(self.given_hosts.insert(name.clone())),
            None => drop(self.given_hosts.remove(name)),
        }
        let made = || self.made_hosts.get(name).cloned();
        let host = host.or_else(made);
        self.world.put_host(name, host);
    }

    fn put_set(&mut self, key: &Key, single: Option<Single>) {
        let set = match single {
            Some(Single::NetworkSet(mut set, incomplete)) => {
                let labels = std::mem::take(&mut set.labels);
                Some((Nets::new(set, incomplete), labels))
            }
            _ => None,
        };
        let namespace = (key.kind == Kind::NetworkSet).then(|| key.namespace());
        self.world.put_set((namespace, key.name.clone()), set);
    }

    // === what changes lead to ===

    /// Lets everybody know who has changed.
    pub(crate) fn settle(&mut self) {
        for change in std::mem::take(&mut self.world.changes) {
            self.note_addresses(&change);
            self.sets.change(&change, &self.world.store);
            self.locals.change(&change, &self.world.store, &mut self.policies);
            if let Change::Family(name, before) = change {
                self.told.family_changed(name, before);
            }
        }
    }

    fn note_addresses(&mut self, change: &Change) {
        let (id, was) = match change {
            Change::New(id) => (*id, None),
            Change::Changed(id, was, _) | Change::Gone(id, was) => (*id, Some(was)),
            Change::Inherited(..) | Change::Family(..) => return,
        };
        let is = match change {
            Change::Gone(..) => None,
            _ => self.world.store.get(id).map(|holder| &holder.what),
        };
        self.addresses.change(was, is);
        if !self.assigns {
            return;
        }
        for (what, comes) in [(was, false), (is, true)] {
            let Some(What::Workload(workload)) = what else { continue };
            self.readdress = true;
            match comes && workload.address == Address::Awaited {
                true => self.waiting.insert(workload.id.clone()),
                false => self.waiting.remove(&workload.id),
            };
        }
    }

    /// Assigns addresses to workloads that wait for one.
    pub(crate) fn settle_addresses(&mut self) {
        if !std::mem::take(&mut self.readdress) || self.waiting.is_empty() {
            return;
        }
        let taken = self.world.store.iter().filter_map(|(_, holder)| match &holder.what {
            What::Workload(w) if w.address == Address::Own => Some(w.addresses.iter().copied()),
            _ => None,
        });
        let taken: BTreeSet<IpAddr> = taken.flatten().collect();
        let described = self.waiting.iter().filter_map(|id| self.world.bare_endpoint(id));
        let mut waiting: Vec<_> = described.collect();
        assign_addresses(&taken, waiting.iter_mut());
        for endpoint in waiting {
            self.world.readdress(&endpoint.id, endpoint.addresses.into());
        }
        self.settle();
        self.readdress = false;
    }

    /// Works out settings of hosts, and the host endpoints made for nodes.
    pub(crate) fn settle_settings(&mut self) {
        if !std::mem::take(&mut self.settings_changed) {
            return;
        }
        let cluster = Cluster::build_mended(self.settings.values(), self.compat);
        self.invalid_settings.clear();
        for (position, key) in self.settings.keys().enumerate() {
            let wrong = cluster.invalid().iter().filter(|invalid| invalid.resource == position);
            let wrong: Vec<_> = wrong.map(|invalid| invalid.error.clone()).collect();
            if !wrong.is_empty() {
                self.invalid_settings.insert(key.clone(), wrong);
            }
        }
        self.current_settings = Arc::new(Settings {
            trust: cluster.trust().clone(),
            compat: cluster.compat(),
            established: cluster.established_flows(),
            host: cluster.settings(&self.node.clone().unwrap_or_default()),
            revision: self.revision,
            addresses: true,
            nodes: Arc::new(cluster.node_addresses().collect()),
        });
        let made: BTreeMap<SmolStr, HostEndpoint> =
            cluster.hosts().map(|host| (host.name.clone(), (**host).clone())).collect();
        let before = std::mem::replace(&mut self.made_hosts, made);
        let mut names: BTreeSet<SmolStr> =
            before.into_keys().chain(self.made_hosts.keys().cloned()).collect();
        names.retain(|name| !self.given_hosts.contains(name));
        for name in names {
            self.world.put_host(&name, self.made_hosts.get(&name).cloned());
            self.settle();
        }
        let nodes = self.settings.iter().filter(|(key, _)| key.kind == Kind::Node);
        let nodes = nodes.map(|(key, _)| (key.name.clone(), cluster.node(&key.name).to_vec()));
        let nodes: BTreeMap<SmolStr, Vec<IpAddr>> = nodes.collect();
        if std::mem::replace(&mut self.node_addresses, nodes) != self.node_addresses {
            self.sets.services.nodes_changed();
        }
    }

    /// Works out what is behind services.
    pub(crate) fn settle_services(&mut self) {
        let nodes = &self.node_addresses;
        self.sets.settle_services(&self.world, |name| nodes.get(name).cloned().unwrap_or_default());
    }
}

/// The interface that a WorkloadEndpoint says it has.
fn interface(resource: &Resource) -> Option<Box<SmolStr>> {
    match &resource.object {
        Object::WorkloadEndpoint(wire) => {
            let name = wire.spec.interface_name.as_str();
            (!name.is_empty()).then(|| Box::new(name.into()))
        }
        _ => None,
    }
}

fn reference(key: &Key) -> ServiceRef {
    ServiceRef { namespace: key.namespace(), name: key.name.to_smolstr() }
}
