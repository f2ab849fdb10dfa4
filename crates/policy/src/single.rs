//! Single resources, each read on its own: nothing is inherited yet, and nothing is known of others.
//!
//! [`crate::Cluster`] puts resources together all at once; whoever keeps a cluster current as they
//! change reads them here one at a time, by the same conversions.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use tortie_model::{
    FieldError, HostEndpoint as HostEndpointWire, NetworkSetSpec, Object, ObjectMeta, Pod,
    Profile as ProfileWire, Resource, Service, Workload,
};

use crate::cluster::{Backend, Cluster};
use crate::convert::{self, BUILT_IN_TIERS};
use crate::{
    Account, Compat, CompatPoint, DefaultAction, Endpoint, HostEndpoint, Labels, NetworkSet, Order,
    Policy, Profile, ServiceRef, Tier, kubernetes, labels, mend, name, relax, services,
};

/// What one resource is to policy.
#[derive(Debug, Clone)]
pub enum Single {
    /// A policy of any kind.
    Policy(Box<Policy>),
    /// A tier.
    Tier(Tier),
    /// A profile.
    Profile(Profile),
    /// A network set, without inherited labels, and whether an address of it could not be read.
    NetworkSet(NetworkSet, bool),
    /// A host endpoint, without inherited labels.
    Host(HostEndpoint),
    /// A workload endpoint that is no pod, without inherited labels.
    Workload(Endpoint),
    /// A pod, or the pods a workload kind stands for.
    Pods(Vec<SinglePod>),
    /// Labels of a namespace as selectors see them, and whether it asks for sidecars.
    Namespace(Labels, bool),
    /// Labels of a service account as selectors see them.
    Account(Account, Labels),
    /// A service; who is behind it depends on others.
    Service(ServiceRef, Box<Service>),
    /// What is behind a service by one of its slices; nothing if the slice belongs to none.
    Slice(Option<(ServiceRef, Vec<Backend>)>),
    /// A kind that has a meaning only with others of its kind: settings of hosts, nodes.
    Setting,
    /// A kind without a meaning for policy.
    Nothing,
}

/// A pod on its own.
#[derive(Debug, Clone)]
pub struct SinglePod {
    /// Its endpoint, without inherited labels. `application_enforced` says whether a sidecar would
    /// be injected if the namespace asks for them.
    pub endpoint: Endpoint,
    /// Whether it shares its node's network, and so is no endpoint, but merely uses its namespace
    /// and service account.
    pub host_network: bool,
    /// Whether it will never use its address again.
    pub finished: bool,
}

/// What a resource comes to, and everything wrong with it.
pub type Read = (Option<Single>, Vec<FieldError>);

impl Single {
    /// Reads one resource as it is written.
    pub fn read(resource: &Resource) -> Read {
        Single::read_with(resource, Compat::STRICT)
    }

    /// Reads one resource, with Calico's behaviour in some points. What cannot be enforced as
    /// written comes with its errors; what is left of it is what house rule 7 says, or nothing.
    pub fn read_with(resource: &Resource, compat: Compat) -> Read {
        let mut errors = Vec::new();
        if let Some(policy) = Policy::read_with(&resource.object, compat) {
            let vanishes = compat.has(CompatPoint::InvalidPolicyVanishes);
            let mended = |found: Vec<FieldError>| {
                errors.extend(found);
                if vanishes { None } else { Policy::mended(&resource.object) }
            };
            let policy = policy.map_or_else(mended, Some);
            return (policy.map(Box::new).map(Single::Policy), errors);
        }
        let single = match &*relax::relaxed(&resource.object, compat) {
            Object::Pod(pod) => {
                name::check_names(&pod.metadata, &mut errors);
                Some(Single::Pods(vec![SinglePod::read(pod, &mut errors)]))
            }
            Object::Workload(w) => Some(Single::Pods(replicas(&resource.kind, w, &mut errors))),
            object => read(object, compat, &mut errors),
        };
        (single, errors)
    }
}

/// The thing, or what is left of it without what is refused.
fn keep<W, T>(
    wire: &W,
    convert: impl Fn(&W) -> Result<T, Vec<FieldError>>,
    errors: &mut Vec<FieldError>,
) -> Option<T>
where
    W: Serialize + DeserializeOwned,
{
    let mended = |found| {
        errors.extend(found);
        mend::without_errors(wire, &convert)
    };
    convert(wire).map_or_else(mended, Some)
}

fn network_set<W: Serialize + DeserializeOwned>(
    wire: &W,
    parts: impl Fn(&W) -> (&ObjectMeta, &NetworkSetSpec),
    namespaced: bool,
    compat: Compat,
    errors: &mut Vec<FieldError>,
) -> Option<Single> {
    let mut found = Vec::new();
    let convert = |wire: &W| {
        let (metadata, spec) = parts(wire);
        crate::build::network_set(metadata, namespaced, spec, compat)
    };
    let set = keep(wire, convert, &mut found)?;
    let incomplete = found.iter().any(|error| error.field.starts_with("spec.nets"));
    errors.extend(found);
    Some(Single::NetworkSet(set, incomplete))
}

fn host(wire: &HostEndpointWire, compat: Compat, errors: &mut Vec<FieldError>) -> Option<Single> {
    let mut wire = wire.clone();
    let reserved = relax::take_reserved(&mut wire.metadata.labels, compat);
    let mut host = keep(&wire, convert::host_endpoint, errors)?;
    host.labels.extend(reserved);
    Some(Single::Host(host))
}

fn profile(wire: &ProfileWire, compat: Compat, errors: &mut Vec<FieldError>) -> Single {
    let mut wire = wire.clone();
    let reserved = relax::take_reserved(&mut wire.spec.labels_to_apply, compat);
    let mut profile = Profile::try_from(&wire).unwrap_or_else(|found| {
        errors.extend(found);
        mend::profile(&wire)
    });
    profile.labels.extend(reserved);
    Single::Profile(profile)
}

/// Everything but policies and pods.
fn read(object: &Object, compat: Compat, errors: &mut Vec<FieldError>) -> Option<Single> {
    Some(match object {
        Object::Tier(o) => Single::Tier(keep(&**o, |wire| Tier::try_from(wire), errors)?),
        Object::Profile(o) => profile(o, compat, errors),
        Object::GlobalNetworkSet(o) => {
            network_set(&**o, |o| (&o.metadata, &o.spec), false, compat, errors)?
        }
        Object::NetworkSet(o) => {
            network_set(&**o, |o| (&o.metadata, &o.spec), true, compat, errors)?
        }
        Object::HostEndpoint(o) => host(o, compat, errors)?,
        Object::WorkloadEndpoint(o) => {
            Single::Workload(keep(&**o, convert::workload_endpoint, errors)?)
        }
        Object::Namespace(o) => {
            name::check_namespace_name(&o.metadata, errors);
            let own = kubernetes::namespace_labels(o, errors);
            let own = labels::with_name(own, &o.metadata.name.to_smolstr());
            Single::Namespace(own, kubernetes::asks_for_sidecars(&o.metadata))
        }
        Object::ServiceAccount(o) => {
            name::check_names(&o.metadata, errors);
            let own = kubernetes::account_labels(&o.metadata, errors);
            let name = o.metadata.name.to_smolstr();
            let own = labels::with_name(own, &name);
            Single::Account(Account { namespace: kubernetes::namespace_of(&o.metadata), name }, own)
        }
        Object::Service(o) => Single::Service(services::name(&o.metadata), o.clone()),
        Object::EndpointSlice(o) => Single::Slice(services::of_slice(o, errors)),
        Object::FelixConfiguration(_)
        | Object::KubeControllersConfiguration(_)
        | Object::TortieConfiguration(_)
        | Object::Node(_) => Single::Setting,
        _ => Single::Nothing,
    })
}

impl Policy {
    /// Reads the policy that an object is, if it is one, with Calico's behaviour in some points.
    pub fn read_with(object: &Object, compat: Compat) -> Option<Result<Policy, Vec<FieldError>>> {
        let relaxed = relax::relaxed(object, compat);
        let policy = Policy::read(&relaxed)?;
        Some(policy.map(|policy| relax::services(object, policy, compat)))
    }

    /// What a policy that cannot be enforced as written means all the same: what is in doubt
    /// denies. Nothing for an object that is no policy.
    pub fn mended(object: &Object) -> Option<Policy> {
        mend::policy(object)
    }

    /// Reads the policy that an object is, if it is one.
    pub fn read(object: &Object) -> Option<Result<Policy, Vec<FieldError>>> {
        Some(match object {
            Object::GlobalNetworkPolicy(p) => (&**p).try_into(),
            Object::NetworkPolicy(p) => (&**p).try_into(),
            Object::StagedGlobalNetworkPolicy(p) => (&**p).try_into(),
            Object::StagedNetworkPolicy(p) => (&**p).try_into(),
            Object::StagedKubernetesNetworkPolicy(p) => (&**p).try_into(),
            Object::KubernetesNetworkPolicy(p) => (&**p).try_into(),
            Object::ClusterNetworkPolicy(p) => (&**p).try_into(),
            _ => return None,
        })
    }
}

impl SinglePod {
    fn read(pod: &Pod, errors: &mut Vec<FieldError>) -> SinglePod {
        let endpoint = kubernetes::endpoint(pod, true, errors);
        kubernetes::check_account(pod, errors);
        SinglePod {
            endpoint,
            host_network: !kubernetes::is_endpoint(pod),
            finished: kubernetes::is_finished(pod),
        }
    }
}

/// The pods of a workload kind.
fn replicas(kind: &str, workload: &Workload, errors: &mut Vec<FieldError>) -> Vec<SinglePod> {
    name::check_names(&workload.metadata, errors);
    kubernetes::check_template(workload, errors);
    match kubernetes::expand_workload(kind, workload) {
        Ok(pods) => pods.iter().map(|pod| SinglePod::read(pod, &mut Vec::new())).collect(),
        Err(error) => {
            errors.push(error);
            Vec::new()
        }
    }
}

/// Labels, as selectors see them, of a namespace that is used but that nobody described.
pub fn unseen_namespace(name: &SmolStr) -> Labels {
    labels::with_name(kubernetes::bare_namespace_labels(name), name)
}

/// Labels, as selectors see them, of a service account that is used but that nobody described.
pub fn unseen_account(name: &SmolStr) -> Labels {
    labels::with_name(Labels::new(), name)
}

/// The name of the profile of a namespace.
pub fn namespace_profile_name(namespace: &str) -> SmolStr {
    format_smolstr!("kns.{namespace}")
}

/// The name of the profile of a service account.
pub fn account_profile_name(account: &Account) -> SmolStr {
    format_smolstr!("ksa.{}.{}", account.namespace, account.name)
}

/// The profile of a namespace with these labels.
pub fn namespace_profile(namespace: &str, labels: &Labels) -> Profile {
    kubernetes::namespace_profile(namespace, labels)
}

/// The profile of a service account with these labels.
pub fn account_profile(account: &Account, labels: &Labels) -> Profile {
    kubernetes::account_profile(account, labels)
}

/// The profile that is always there: it allows everything.
pub fn allow_all_profile() -> Profile {
    kubernetes::allow_all_profile()
}

/// What stands for a profile that somebody names and that is not there: it denies.
pub fn missing_profile(name: &SmolStr) -> Profile {
    kubernetes::missing_profile(name)
}

/// Who is behind a service without slices, as a cluster would find it: the endpoints it selects.
/// They are asked for their own labels, before any is inherited.
pub fn selected_by(name: &ServiceRef, service: &Service, endpoints: &[Endpoint]) -> Vec<Backend> {
    services::selected(name, service, endpoints, &mut Vec::new())
}

/// Addresses for endpoints that have none yet, in the order given, beside those already taken:
/// always the same for the same endpoints.
pub fn assign_addresses<'a>(
    taken: &BTreeSet<IpAddr>,
    without: impl Iterator<Item = &'a mut Endpoint>,
) {
    kubernetes::assign_addresses(taken, without);
}

impl Cluster {
    /// The labels, as selectors see them, of an endpoint that was read on its own: with those that it
    /// inherits from this cluster's namespaces, service accounts and profiles.
    pub fn inherited(&self, endpoint: &Endpoint) -> Labels {
        let mut labels = endpoint.labels.clone();
        for name in &endpoint.profiles {
            match self.profiles.get(name) {
                Some(profile) => labels::inherit(&mut labels, "", &profile.labels),
                None => labels::inherit(&mut labels, "", &unseen_profile(name, endpoint).labels),
            }
        }
        labels
    }
}

/// The profile of that name of an endpoint's namespace or service account, which nobody described.
fn unseen_profile(name: &SmolStr, endpoint: &Endpoint) -> Profile {
    if *name == namespace_profile_name(&endpoint.id.namespace) {
        namespace_profile(&endpoint.id.namespace, &unseen_namespace(&endpoint.id.namespace))
    } else if *name == account_profile_name(&endpoint.account) {
        account_profile(&endpoint.account, &unseen_account(&endpoint.account.name))
    } else {
        missing_profile(name)
    }
}

impl Tier {
    /// A tier that policies name but nobody defined: it comes after all others. The one of policies
    /// whose tier or order cannot be read comes before them.
    pub fn undefined(name: &str) -> Tier {
        let unreadable = name == mend::UNREADABLE_TIER;
        Tier {
            name: name.into(),
            order: if unreadable { mend::first() } else { Order::LAST },
            default_action: DefaultAction::Deny,
            defined: unreadable,
        }
    }

    /// The tiers that are there without being defined.
    pub fn built_in() -> impl Iterator<Item = Tier> {
        BUILT_IN_TIERS.iter().map(|(name, order, default_action)| Tier {
            name: SmolStr::from(*name),
            order: Order::new(Some(*order)).unwrap_or(Order::LAST),
            default_action: *default_action,
            defined: true,
        })
    }
}
