//! The state of a server, for questions about policy.

use std::collections::BTreeSet;

use serde_json::json;
use tortie_calc::Key;
use tortie_client::files::{FileError, Loaded, Origin};
use tortie_client::server::{ApiKind, Place, Wanted};
use tortie_model::{DecodeError, Object, Resource};
use tortie_policy::{Cluster, Compat};

use super::{Session, block_on, failure};
use crate::output::{Failure, warn};

/// The kinds that stand for pods: on a server, the pods are there themselves.
const WORKLOADS: [(&str, &[&str]); 2] =
    [("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]), ("batch", &["jobs"])];

/// What a server has.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What policy is about.
    loaded: Loaded,
    /// What could not be read, which is not to be forgotten.
    unreadable: Vec<DecodeError>,
    /// What stands for pods.
    workloads: BTreeSet<Key>,
}

/// Asks a server for everything that policy is about.
pub(crate) fn read(place: &Place) -> Result<State, Failure> {
    block_on(async {
        let session = Session::open(place, None).await?;
        let mut state = State::default();
        for followed in tortie_agent::source::followed() {
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
                Err(errors) => self.unreadable.extend(errors),
            }
        }
        Ok(())
    }

    /// The cluster as its agents see it. What cannot be enforced as written denies, and is told on
    /// standard error.
    pub(crate) fn cluster(&self, compat: Compat) -> Cluster {
        let stand_ins: Vec<Resource> = self.unreadable.iter().filter_map(stand_in).collect();
        let resources = self.loaded.resources.iter().chain(&stand_ins);
        let cluster = Cluster::build_mended(resources, compat);
        let known = cluster.invalid().iter().filter(|i| i.resource < self.loaded.resources.len());
        let known: Vec<FileError> =
            known.map(|i| self.loaded.error(i.resource, i.error.clone())).collect();
        warn(&known);
        self.unreadable.iter().for_each(tell);
        cluster
    }

    /// The resources with changes put over them. What stands for pods that are there already changes
    /// nothing.
    pub(crate) fn changed(mut self, changes: Loaded) -> Loaded {
        let keys: Vec<Key> = self.loaded.resources.iter().map(Key::of).collect();
        for (resource, origin) in changes.resources.into_iter().zip(changes.origins) {
            let key = Key::of(&resource);
            if matches!(resource.object, Object::Workload(_)) && self.workloads.contains(&key) {
                continue;
            }
            let known = keys.iter().position(|known| *known == key);
            let Loaded { resources, origins, .. } = &mut self.loaded;
            match known.and_then(|at| resources.get_mut(at).zip(origins.get_mut(at))) {
                Some(place) => (*place.0, *place.1) = (resource, origin),
                None => {
                    resources.push(resource);
                    origins.push(origin);
                }
            }
        }
        self.loaded
    }
}

/// A policy that denies as one does of which nothing can be read but its name: one whose selector
/// makes no sense. Nothing for other kinds.
fn stand_in(error: &DecodeError) -> Option<Resource> {
    let kind = match error.kind.as_str() {
        "GlobalNetworkPolicy" | "ClusterNetworkPolicy" => "GlobalNetworkPolicy",
        "NetworkPolicy" => "NetworkPolicy",
        _ => return None,
    };
    let document = json!({
        "apiVersion": "projectcalico.org/v3", "kind": kind,
        "metadata": {"name": error.name, "namespace": error.namespace},
        "spec": {"selector": "unreadable =", "types": ["Ingress", "Egress"]},
    });
    tortie_model::decode(document).ok()?.pop()
}

fn tell(error: &DecodeError) {
    let DecodeError { kind, namespace, name, errors } = error;
    let namespace = namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    for error in errors {
        eprintln!("warning: {kind} {namespace}{name}: {}: {}", error.field, error.reason);
    }
}
