//! From resources, in any order, to a [`crate::Cluster`].

mod finish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{
    self as model, EndpointSlice, FelixConfiguration, FieldError, GlobalNetworkSet,
    KubeControllersConfiguration, Namespace, NetworkSetSpec, Node, Object, ObjectMeta, Pod,
    Resource, Service, TortieConfigurationSpec, Workload,
};

use crate::cluster::Invalid;
use crate::convert;
use crate::{
    Account, Compat, CompatPoint, Endpoint, EndpointId, EstablishedFlows, HostEndpoint, Labels,
    NetworkSet, Policy, PolicyId, Profile, ServiceRef, Tier, Trust, kubernetes, mend, name, relax,
    services,
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
    established: EstablishedFlows,
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

    fn invalid(&mut self, resource: usize, errors: Vec<FieldError>) {
        self.invalid.extend(errors.into_iter().map(|error| Invalid { resource, error }));
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
        match spec.established_flows.as_deref() {
            None | Some("" | "Continue") => self.established = EstablishedFlows::Continue,
            Some("Cut") => self.established = EstablishedFlows::Cut,
            Some(other) => errors.push(
                FieldError::new(
                    "spec.establishedFlows",
                    format!("`{other}` is no way to treat them"),
                )
                .hint("write `Continue` or `Cut`"),
            ),
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
}
