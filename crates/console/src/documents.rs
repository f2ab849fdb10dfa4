//! What the server has, document by document, and what each comes to.
//!
//! Taking a document in costs little: what it comes to is found when somebody looks, and kept until
//! it changes, or what it rests on does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;
use tortie_client::server::{ApiKind, metadata};
use tortie_model::{DecodeError, FieldError, Object, Pod, Resource};
use tortie_policy::{Cluster, Compat, Labels, Policy, Single, TierPolicies};
use tortie_selector::Selector;

use crate::select::Tally;

/// The condition by which a server says whether a policy is enforced.
const ACCEPTED: &str = "Accepted";

/// The documents that are known, each by its kind, namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    policies: BTreeMap<Name, Held<Arc<Policy>>>,
    /// Those that policy is about come to their labels.
    pods: BTreeMap<Name, Held<Arc<Labels>>>,
    /// All others, as the cluster that they make.
    others: BTreeMap<Name, Held<()>>,
    undecodable: BTreeMap<Name, Undecodable>,
    /// What the others made when somebody last looked.
    cluster: Cluster,
    /// They are the same still.
    current: bool,
    /// Labels of pods that have changed or gone since.
    gone: Vec<Arc<Labels>>,
    /// How many pods selectors select.
    selected: Tally,
    /// How many host endpoints they select.
    selected_hosts: Tally,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    kind: String,
    namespace: String,
    name: String,
}

/// A document.
#[derive(Debug)]
struct Held<T> {
    /// Without the text, which nobody asks for again.
    resource: Resource,
    /// Why the server does not enforce it, if it says so.
    refused: Option<String>,
    /// What it comes to, if that is known.
    read: Option<Read<T>>,
}

/// What a document comes to.
#[derive(Debug)]
struct Read<T> {
    is: Option<T>,
    /// Why it is not in force as written.
    reason: Option<String>,
}

/// A document that is not even a resource.
#[derive(Debug)]
struct Undecodable {
    error: DecodeError,
    reason: String,
    /// What stands for it.
    policy: Option<Arc<Policy>>,
}

/// Why something is not in force as written.
pub(crate) struct Trouble<'a> {
    pub(crate) kind: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
    /// The policy that it is or stands for it, if any does.
    pub(crate) policy: Option<&'a Policy>,
    pub(crate) reason: &'a str,
}

// === taking documents in ===

impl Documents {
    /// Takes in an object. False if it bears on nothing in another way than before.
    pub(crate) fn put(&mut self, kind: &ApiKind, object: Value) -> bool {
        let name = Name::of(kind, &object);
        match tortie_model::decode(object) {
            // A document of a kind that is followed is one resource.
            Ok(resources) => match resources.into_iter().next() {
                Some(resource) => self.hold(name, resource),
                None => false,
            },
            Err(errors) => {
                self.forget(&name);
                let undecodable = errors.into_iter().next().map(Undecodable::from);
                self.undecodable.extend(undecodable.map(|undecodable| (name, undecodable)));
                true
            }
        }
    }

    fn hold(&mut self, name: Name, mut resource: Resource) -> bool {
        let refused = refused_by_server(&resource.raw).map(str::to_owned);
        resource.raw = Value::Null;
        let same = |before: &Resource, said: &Option<String>| {
            before.object == resource.object && *said == refused
        };
        if self.find(&name).is_some_and(|(before, said)| same(before, said)) {
            return false;
        }
        self.forget(&name);
        match &resource.object {
            Object::Pod(_) => drop(self.pods.insert(name, Held::new(resource, refused))),
            object if is_policy(object) => {
                self.policies.insert(name, Held::new(resource, refused));
            }
            _ => {
                self.current = false;
                self.others.insert(name, Held::new(resource, refused));
            }
        }
        true
    }

    fn find(&self, name: &Name) -> Option<(&Resource, &Option<String>)> {
        let pod = self.pods.get(name).map(|held| (&held.resource, &held.refused));
        let policy = || self.policies.get(name).map(|held| (&held.resource, &held.refused));
        let other = || self.others.get(name).map(|held| (&held.resource, &held.refused));
        pod.or_else(policy).or_else(other)
    }

    /// Forgets an object that is gone.
    pub(crate) fn remove(&mut self, kind: &ApiKind, object: &Value) {
        self.forget(&Name::of(kind, object));
    }

    fn forget(&mut self, name: &Name) {
        let pod = self.pods.remove(name);
        self.gone.extend(pod.and_then(|pod| pod.read).and_then(|read| read.is));
        self.policies.remove(name);
        self.undecodable.remove(name);
        self.current &= self.others.remove(name).is_none();
    }
}

// === finding out what they come to ===

impl Documents {
    /// Finds out what documents come to that are new or different, or rest on such.
    pub(crate) fn read(&mut self) {
        if !std::mem::replace(&mut self.current, true) {
            self.read_others();
        }
        let (cluster, compat) = (&self.cluster, self.cluster.compat());
        for held in self.policies.values_mut().filter(|held| held.read.is_none()) {
            held.read(|resource| match Single::read_with(resource, compat) {
                (Some(Single::Policy(policy)), errors) => (Some(Arc::from(policy)), errors),
                (_, errors) => (None, errors),
            });
        }
        let mut come = Vec::new();
        for held in self.pods.values_mut().filter(|held| held.read.is_none()) {
            held.read(|resource| labels(resource, cluster));
            come.extend(held.is().cloned());
        }
        let gone = std::mem::take(&mut self.gone);
        let pods: Vec<&Labels> = self.pods.values().filter_map(Held::is).map(|l| &**l).collect();
        let subjects = || policies(&self.policies, &self.undecodable).map(|policy| &policy.subject);
        self.selected.update(subjects(), &pods, &come, &gone);
        let hosts: Vec<&Labels> = cluster.hosts().map(|host| &host.labels).collect();
        self.selected_hosts.update(subjects(), &hosts, &[], &[]);
    }

    fn read_others(&mut self) {
        let resources = self.others.values().map(|held| &held.resource);
        let cluster = Cluster::build_mended(resources, Compat::STRICT);
        let mut errors: BTreeMap<usize, Vec<FieldError>> = BTreeMap::new();
        for invalid in cluster.invalid() {
            errors.entry(invalid.resource).or_default().push(invalid.error.clone());
        }
        for (index, held) in self.others.values_mut().enumerate() {
            held.read(|_| (None, errors.remove(&index).unwrap_or_default()));
        }
        let before = std::mem::replace(&mut self.cluster, cluster);
        self.selected_hosts = Tally::default();
        let same_rules = before.compat() == self.cluster.compat();
        if !same_rules {
            self.policies.values_mut().for_each(|held| held.read = None);
        }
        let inherited = |cluster: &Cluster| -> Vec<(SmolStr, Labels)> {
            cluster.profiles().map(|p| (p.name.clone(), p.labels.clone())).collect()
        };
        if !same_rules || inherited(&before) != inherited(&self.cluster) {
            self.pods.values_mut().for_each(|held| held.read = None);
            self.gone.clear();
            self.selected = Tally::default();
        }
    }
}

/// Policies, with those that stand for what cannot be read.
fn policies<'a>(
    read: &'a BTreeMap<Name, Held<Arc<Policy>>>,
    undecodable: &'a BTreeMap<Name, Undecodable>,
) -> impl Iterator<Item = &'a Arc<Policy>> {
    let stand_ins = undecodable.values().filter_map(|document| document.policy.as_ref());
    read.values().filter_map(Held::is).chain(stand_ins)
}

/// A pod's labels as selectors see them. One that has finished is no longer policed, and one of the
/// host's network never is.
fn labels(resource: &Resource, cluster: &Cluster) -> (Option<Arc<Labels>>, Vec<FieldError>) {
    let (single, errors) = Single::read_with(resource, cluster.compat());
    let pod = match single {
        Some(Single::Pods(pods)) => pods.into_iter().next(),
        _ => None,
    };
    let policed = pod.filter(|pod| !pod.host_network && !pod.finished);
    (policed.map(|pod| Arc::new(cluster.inherited(&pod.endpoint))), errors)
}

// === what is shown of them ===

impl Documents {
    /// Tiers with their policies, in the order they are asked.
    pub(crate) fn in_order(&self) -> Vec<TierPolicies> {
        self.cluster.order(self.policies())
    }

    fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        policies(&self.policies, &self.undecodable)
    }

    /// How many pods and host endpoints a policy's selector selects.
    pub(crate) fn selected(&self, subject: &Selector) -> (usize, usize) {
        (self.selected.of(subject), self.selected_hosts.of(subject))
    }

    /// What is not in force as written.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = Trouble<'_>> {
        let others = self.others.values().filter_map(|held| held.trouble(None));
        let policies =
            self.policies.values().filter_map(|held| held.trouble(held.is().map(|p| &**p)));
        let pods = self.pods.values().filter_map(|held| held.trouble(None));
        let undecodable = self.undecodable.values().map(Undecodable::trouble);
        others.chain(policies).chain(pods).chain(undecodable)
    }

    /// The namespaces that are there or used.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &SmolStr> {
        let used = self.policies.values().filter_map(Held::is);
        let used = used.filter_map(|policy| policy.id.namespace.as_ref());
        self.cluster.namespaces().map(|(name, _)| name).chain(used)
    }

    /// The nodes that are there.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.others.values().filter_map(|held| match &held.resource.object {
            Object::Node(node) => Some(node.metadata.name.as_str()),
            _ => None,
        })
    }

    /// All pods.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().filter_map(|held| match &held.resource.object {
            Object::Pod(pod) => Some(&**pod),
            _ => None,
        })
    }
}

impl<T> Held<T> {
    fn new(resource: Resource, refused: Option<String>) -> Held<T> {
        Held { resource, refused, read: None }
    }

    fn is(&self) -> Option<&T> {
        self.read.as_ref()?.is.as_ref()
    }

    fn read(&mut self, read: impl FnOnce(&Resource) -> (Option<T>, Vec<FieldError>)) {
        let (is, errors) = read(&self.resource);
        let wrong = || (!errors.is_empty()).then(|| joined(&errors));
        self.read = Some(Read { is, reason: self.refused.clone().or_else(wrong) });
    }

    fn trouble<'a>(&'a self, policy: Option<&'a Policy>) -> Option<Trouble<'a>> {
        let metadata = self.resource.metadata();
        Some(Trouble {
            kind: &self.resource.kind,
            namespace: metadata.namespace.as_deref(),
            name: &metadata.name,
            policy,
            reason: self.read.as_ref()?.reason.as_deref()?,
        })
    }
}

impl From<DecodeError> for Undecodable {
    fn from(error: DecodeError) -> Undecodable {
        let policy = Policy::undecodable(&error).map(Arc::new);
        Undecodable { reason: joined(&error.errors), policy, error }
    }
}

impl Undecodable {
    fn trouble(&self) -> Trouble<'_> {
        Trouble {
            kind: &self.error.kind,
            namespace: self.error.namespace.as_deref(),
            name: &self.error.name,
            policy: self.policy.as_deref(),
            reason: &self.reason,
        }
    }
}

impl Name {
    fn of(kind: &ApiKind, object: &Value) -> Name {
        let text = |field: &str| metadata(object, field).to_owned();
        Name { kind: kind.name(), namespace: text("namespace"), name: text("name") }
    }
}

fn is_policy(object: &Object) -> bool {
    matches!(
        object,
        Object::GlobalNetworkPolicy(_)
            | Object::NetworkPolicy(_)
            | Object::StagedGlobalNetworkPolicy(_)
            | Object::StagedNetworkPolicy(_)
            | Object::StagedKubernetesNetworkPolicy(_)
            | Object::KubernetesNetworkPolicy(_)
            | Object::ClusterNetworkPolicy(_)
    )
}

/// What the server says in the condition `Accepted`, if it says no.
fn refused_by_server(document: &Value) -> Option<&str> {
    let conditions = document.pointer("/status/conditions")?.as_array()?;
    let no = |condition: &&Value| condition["type"] == ACCEPTED && condition["status"] == "False";
    let refusal = conditions.iter().find(no)?;
    refusal.get("message").and_then(Value::as_str).or(Some("the server does not say why"))
}

fn joined(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
