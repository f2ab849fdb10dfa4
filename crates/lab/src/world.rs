//! The lab's copy of what the API server holds, by kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tortie_model::{Object, Pod, Resource, Service};

/// A kind that the lab follows or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    ConfigMap,
    DaemonSet,
    Deployment,
    EndpointSlice,
    Event,
    Gateway,
    ImageMap,
    Job,
    Lease,
    Namespace,
    Node,
    Pod,
    ReplicaSet,
    Secret,
    Service,
    ServiceAccount,
    StatefulSet,
    VirtualService,
}

impl Kind {
    /// The kinds that are followed.
    pub(crate) const FOLLOWED: [Self; 16] = [
        Self::ConfigMap,
        Self::DaemonSet,
        Self::Deployment,
        Self::EndpointSlice,
        Self::Gateway,
        Self::ImageMap,
        Self::Job,
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::ReplicaSet,
        Self::Secret,
        Self::Service,
        Self::ServiceAccount,
        Self::StatefulSet,
        Self::VirtualService,
    ];

    /// Group, version, kind and plural, as the API server serves it.
    pub(crate) fn names(self) -> [&'static str; 4] {
        const ISTIO: &str = "networking.istio.io";
        match self {
            Self::ConfigMap => ["", "v1", "ConfigMap", "configmaps"],
            Self::DaemonSet => ["apps", "v1", "DaemonSet", "daemonsets"],
            Self::Deployment => ["apps", "v1", "Deployment", "deployments"],
            Self::EndpointSlice => ["discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"],
            Self::Event => ["", "v1", "Event", "events"],
            Self::Gateway => [ISTIO, "v1", "Gateway", "gateways"],
            Self::ImageMap => ["tortie.dev", "v1", "ImageMap", "imagemaps"],
            Self::Job => ["batch", "v1", "Job", "jobs"],
            Self::Lease => ["coordination.k8s.io", "v1", "Lease", "leases"],
            Self::Namespace => ["", "v1", "Namespace", "namespaces"],
            Self::Node => ["", "v1", "Node", "nodes"],
            Self::Pod => ["", "v1", "Pod", "pods"],
            Self::ReplicaSet => ["apps", "v1", "ReplicaSet", "replicasets"],
            Self::Secret => ["", "v1", "Secret", "secrets"],
            Self::Service => ["", "v1", "Service", "services"],
            Self::ServiceAccount => ["", "v1", "ServiceAccount", "serviceaccounts"],
            Self::StatefulSet => ["apps", "v1", "StatefulSet", "statefulsets"],
            Self::VirtualService => [ISTIO, "v1", "VirtualService", "virtualservices"],
        }
    }

    /// `apiVersion` of its documents.
    pub(crate) fn api_version(self) -> String {
        match self.names() {
            ["", version, ..] => version.to_owned(),
            [group, version, ..] => format!("{group}/{version}"),
        }
    }

    /// `kind` of its documents.
    pub(crate) fn name(self) -> &'static str {
        let [_, _, kind, _] = self.names();
        kind
    }

    /// Whether its objects are in namespaces.
    pub(crate) fn is_namespaced(self) -> bool {
        !matches!(self, Self::ImageMap | Self::Namespace | Self::Node)
    }

    /// The kind of this group and name, if it is one of these.
    pub(crate) fn find(group: &str, kind: &str) -> Option<Self> {
        let fits = |one: &Self| {
            let [own, _, name, _] = one.names();
            (own, name) == (group, kind)
        };
        Self::FOLLOWED.into_iter().chain([Self::Event, Self::Lease]).find(fits)
    }
}

/// Namespace, empty for kinds without one, and name.
pub(crate) type Key = (String, String);

/// What the API server holds, as far as it was told.
#[derive(Debug, Default)]
pub(crate) struct World {
    objects: BTreeMap<Kind, BTreeMap<Key, Arc<Resource>>>,
}

/// The text at a place of a document; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of the list at a place of a document.
pub(crate) fn list<'a>(
    value: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The number at a place of a document; 0 if there is none.
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// Namespace and name of a document.
pub(crate) fn key(document: &Value) -> Key {
    let of = |field: &str| text(document, &format!("/metadata/{field}")).to_owned();
    (of("namespace"), of("name"))
}

/// The revision that wrote a document.
fn revision(document: &Value) -> u64 {
    text(document, "/metadata/resourceVersion").parse().unwrap_or_default()
}

/// Whether a document is being deleted.
pub(crate) fn is_terminating(document: &Value) -> bool {
    !text(document, "/metadata/deletionTimestamp").is_empty()
}

impl World {
    /// Takes an object, unless what is here is newer. One that cannot be read takes the place of what
    /// it was.
    pub(crate) fn put(&mut self, kind: Kind, document: Value) {
        let key = key(&document);
        let of_kind = self.objects.entry(kind).or_default();
        let known = of_kind.get(&key).map_or(0, |known| revision(&known.raw));
        if known > revision(&document) {
            return;
        }
        match tortie_model::decode(document).map(|mut found| found.pop()) {
            Ok(Some(resource)) => drop(of_kind.insert(key, Arc::new(resource))),
            Ok(None) => {}
            Err(_) => {
                tracing::warn!(
                    kind = kind.name(),
                    namespace = key.0,
                    name = key.1,
                    "is unreadable"
                );
                of_kind.remove(&key);
            }
        }
    }

    /// Drops the object of this uid, if it is the one that is here; whichever it is without a uid.
    pub(crate) fn remove(&mut self, kind: Kind, key: &Key, uid: &str) {
        if let Some(of_kind) = self.objects.get_mut(&kind)
            && of_kind
                .get(key)
                .is_some_and(|known| uid.is_empty() || text(&known.raw, "/metadata/uid") == uid)
        {
            of_kind.remove(key);
        }
    }

    /// The objects of a kind, by namespace and name.
    pub(crate) fn all(&self, kind: Kind) -> impl Iterator<Item = &Arc<Resource>> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// The documents of a kind, by namespace and name.
    pub(crate) fn documents(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.all(kind).map(|resource| &resource.raw)
    }

    /// One object.
    pub(crate) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Resource>> {
        self.objects.get(&kind)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The documents of a kind that have this owner.
    pub(crate) fn owned<'a>(
        &'a self,
        kind: Kind,
        owner: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        self.documents(kind).filter(move |document| controller(document) == Some(owner))
    }

    /// The pods.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&Arc<Resource>, &Pod)> {
        self.all(Kind::Pod).filter_map(|resource| match &resource.object {
            Object::Pod(pod) => Some((resource, &**pod)),
            _ => None,
        })
    }

    /// The Services.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&Arc<Resource>, &Service)> {
        self.all(Kind::Service).filter_map(|resource| match &resource.object {
            Object::Service(service) => Some((resource, &**service)),
            _ => None,
        })
    }

    /// The names of the namespaces.
    pub(crate) fn namespaces(&self) -> BTreeSet<&str> {
        self.documents(Kind::Namespace).map(|one| text(one, "/metadata/name")).collect()
    }
}

/// The uid of the object that controls this one.
pub(crate) fn controller(document: &Value) -> Option<&str> {
    let owner = list(document, "/metadata/ownerReferences")
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    Some(text(owner, "/uid"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(revision: &str, uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata":
            {"name": "p", "namespace": "n", "uid": uid, "resourceVersion": revision}})
    }

    #[test]
    fn news_that_come_late_change_nothing() {
        let mut world = World::default();
        world.put(Kind::Pod, pod("7", "new"));
        world.put(Kind::Pod, pod("5", "old"));
        let key = ("n".to_owned(), "p".to_owned());
        world.remove(Kind::Pod, &key, "old");
        assert_eq!(text(world.documents(Kind::Pod).next().unwrap(), "/metadata/uid"), "new");
        world.remove(Kind::Pod, &key, "new");
        assert_eq!(world.all(Kind::Pod).count(), 0);
    }

    #[test]
    fn kinds_are_found_by_group_and_name() {
        for kind in Kind::FOLLOWED {
            let [group, _, name, _] = kind.names();
            assert_eq!(Kind::find(group, name), Some(kind));
        }
        assert_eq!(Kind::find("", "Gateway"), None);
        assert_eq!(Kind::Gateway.api_version(), "networking.istio.io/v1");
    }
}
