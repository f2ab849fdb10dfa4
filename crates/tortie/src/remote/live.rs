//! The state of a server, for questions about policy.

use std::collections::BTreeSet;

use tortie_calc::Key;
use tortie_client::files::{FileError, Loaded, Origin};
use tortie_client::server::{ApiKind, Place, Wanted, followed};
use tortie_model::{DecodeError, FieldError, Object, ObjectMeta, Resource};
use tortie_policy::{Cluster, Compat};

use super::{Session, block_on, failure};
use crate::output::{Failure, remark};

/// The kinds that stand for pods: on a server, the pods are there themselves.
const WORKLOADS: [(&str, &[&str]); 2] =
    [("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]), ("batch", &["jobs"])];

/// What a server has.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What policy is about.
    loaded: Loaded,
    /// What could not be read, which is not to be forgotten.
    unreadable: Vec<Unreadable>,
    /// What stands for pods.
    workloads: BTreeSet<Key>,
}

/// An object that could not be read.
#[derive(Debug)]
struct Unreadable {
    group: String,
    error: DecodeError,
}

/// Asks a server for everything that policy is about.
pub(crate) fn read(place: &Place) -> Result<State, Failure> {
    block_on(async {
        let session = Session::open(place, None).await?;
        let mut state = State::default();
        for followed in followed() {
            state.take(&session, &followed.wanted()).await?;
        }
        let mut standing = State::default();
        for (group, plurals) in WORKLOADS {
            for plural in plurals {
                let same = |kind: &ApiKind| kind.group == group && kind.plural == *plural;
                if let Some(served) = session.kinds.iter().find(|served| same(&served.kind)) {
                    standing.take(&session, &served.kind.clone().into()).await?;
                }
            }
        }
        state.workloads = standing.loaded.resources.iter().map(Key::of).collect();
        Ok(state)
    })
}

impl State {
    /// Takes in all objects of a kind, if the server has it.
    async fn take(&mut self, session: &Session, wanted: &Wanted) -> Result<(), Failure> {
        let place = format_args!("live state: {}", wanted.kind.plural);
        let list = session.server.list_wanted(wanted).await;
        let Some(list) = list.map_err(|error| failure(place, &error))? else { return Ok(()) };
        for (document, object) in list.items.into_iter().enumerate() {
            let origin = Origin { file: session.server.url().to_owned(), document };
            match tortie_model::decode(object) {
                Ok(resources) => {
                    self.loaded.origins.extend(resources.iter().map(|_| origin.clone()));
                    self.loaded.resources.extend(resources);
                }
                Err(errors) => self.unreadable.extend(errors.into_iter().map(|error| {
                    let group = wanted.kind.group.clone();
                    Unreadable { group, error }
                })),
            }
        }
        Ok(())
    }

    /// The cluster as its agents see it. What cannot be enforced as written denies, and is told on
    /// standard error.
    pub(crate) fn cluster(&self, compat: Compat) -> Cluster {
        let cluster = self.mended(compat);
        for invalid in cluster.invalid() {
            if let Some(resource) = self.loaded.resources.get(invalid.resource) {
                let ObjectMeta { namespace, name, .. } = resource.metadata();
                tell(&resource.kind, namespace.as_deref(), name, &invalid.error);
            }
        }
        for Unreadable { error: DecodeError { kind, namespace, name, errors }, .. } in
            &self.unreadable
        {
            errors.iter().for_each(|error| tell(kind, namespace.as_deref(), name, error));
        }
        cluster
    }

    fn mended(&self, compat: Compat) -> Cluster {
        let cluster = Cluster::build_mended(&self.loaded.resources, compat);
        cluster.with_undecodable(self.unreadable.iter().map(|unreadable| &unreadable.error))
    }

    /// The cluster as it would be with changes put over it. What is wrong with them is an error; what
    /// is wrong with the rest denies as it does now.
    pub(crate) fn changed(mut self, changes: Loaded, compat: Compat) -> Result<Cluster, Failure> {
        let put = self.put(changes);
        let invalid = Cluster::build_with(&self.loaded.resources, compat).err().unwrap_or_default();
        let wrong = invalid.into_iter().filter(|invalid| put.contains(&invalid.resource));
        let wrong: Vec<FileError> =
            wrong.map(|wrong| self.loaded.error(wrong.resource, wrong.error)).collect();
        if wrong.is_empty() { Ok(self.mended(compat)) } else { Err(wrong.into()) }
    }

    /// Puts changes over the resources, and says where they are then. What stands for pods that are
    /// there already changes nothing.
    fn put(&mut self, changes: Loaded) -> BTreeSet<usize> {
        let keys: Vec<Key> = self.loaded.resources.iter().map(Key::of).collect();
        let mut put = BTreeSet::new();
        for (resource, origin) in changes.resources.into_iter().zip(changes.origins) {
            let key = Key::of(&resource);
            if matches!(resource.object, Object::Workload(_)) && self.workloads.contains(&key) {
                continue;
            }
            self.unreadable.retain(|unreadable| !unreadable.is(&resource));
            let Loaded { resources, origins, .. } = &mut self.loaded;
            let known = keys.iter().position(|known| *known == key);
            put.insert(known.unwrap_or(resources.len()));
            match known.and_then(|at| resources.get_mut(at).zip(origins.get_mut(at))) {
                Some(place) => (*place.0, *place.1) = (resource, origin),
                None => {
                    resources.push(resource);
                    origins.push(origin);
                }
            }
        }
        put
    }
}

impl Unreadable {
    /// Whether it is the object of a resource.
    fn is(&self, resource: &Resource) -> bool {
        let metadata = resource.metadata();
        self.group == resource.group()
            && self.error.kind == resource.kind
            && self.error.name == metadata.name
            && self.error.namespace == metadata.namespace
    }
}

fn tell(kind: &str, namespace: Option<&str>, name: &str, error: &FieldError) {
    let namespace = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let (field, reason) = (&error.field, &error.reason);
    remark(format_args!("warning: {kind} {namespace}{name}: {field}: {reason}"));
}
