//! Manifests, checked before anything is started.
//!
//! Workloads stand for pods named `<name>-0` and so on here; when the lab runs, its controllers make
//! pods of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tortie_client::files::{FileError, Loaded};
use tortie_mesh::identity::Workload;
use tortie_model::{FieldError, Object, Pod, Resource};
use tortie_policy::{Cluster, asks_for_sidecars, expand_workload, has_sidecar, service_account};

use super::address::Addresses;
use super::image::ImageMap;
use super::planner::pod_id;
use super::volume::number_modes;
use super::{
    Account, Inventory, Machine, Planner, PodId, PodPlan, cluster_addresses, namespace_of, service,
};

/// Manifests that the lab can run.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The documents for the API server, in order: first the namespaces and service accounts that
    /// are used but not given.
    pub(crate) documents: Vec<Value>,
    /// Whether anything needs an Envoy.
    pub(crate) needs_envoy: bool,
    /// The pods, by the names they have in a check.
    #[cfg(test)]
    pub(crate) pods: Vec<PodPlan>,
    /// The Services.
    #[cfg(test)]
    pub(crate) services: Vec<super::ServicePlan>,
}

/// Checks manifests, with image maps given apart, which come first.
///
/// # Errors
/// Everything wrong with them.
pub(crate) fn check(
    machine: &Machine<'_>,
    manifests: &Loaded,
    images: &Loaded,
) -> Result<Checked, Vec<FileError>> {
    let mut errors = Errors { manifests, found: Vec::new() };
    errors.of_policies();
    let mut given = Given::default();
    let mut inventory = Inventory::default();
    for (position, resource) in images.resources.iter().enumerate() {
        if ImageMap::is_one(resource)
            && let Err(error) = inventory.add(position, resource, &machine.bin_dir())
        {
            errors.found.push(images.error(position, error));
        }
    }
    for (position, resource) in manifests.resources.iter().enumerate() {
        errors.take(Some(position), inventory.add(position, resource, &machine.bin_dir()));
        errors.take(Some(position), given.add(position, resource));
    }
    let missing = given.missing(&mut inventory);
    errors.take(None, check_accounts(&inventory));
    let planner = Planner { machine, inventory: &inventory };
    let pods = given.pods(&planner, &mut errors);
    let services = services(&manifests.resources, &planner, &pods, &mut errors);
    for (position, error) in inventory.ingress.listeners(&services).1 {
        errors.add(Some(position), error);
    }
    if !errors.found.is_empty() {
        return Err(errors.found);
    }
    let sidecars = given.pods.iter().any(|pod| given.is_injected(&pod.pod));
    // Expectations on flows may lie beside the manifests they are about.
    let stored = |r: &&Resource| !matches!(r.object, Object::PolicyTest(_));
    let given = manifests.resources.iter().filter(stored).map(|resource| resource.raw.clone());
    let documents = missing.into_iter().chain(given);
    let documents = documents.map(|mut document| {
        number_modes(&mut document);
        document
    });
    Ok(Checked {
        documents: documents.collect(),
        needs_envoy: sidecars || !inventory.ingress.ports().is_empty(),
        #[cfg(test)]
        pods,
        #[cfg(test)]
        services,
    })
}

/// What is wrong, gathered so that all of it is told at once.
struct Errors<'a> {
    manifests: &'a Loaded,
    found: Vec<FileError>,
}

impl Errors<'_> {
    /// Notes an error of a resource; one of something the lab made itself has no place. What was
    /// said of a field, or of one around it, is not said again.
    fn add(&mut self, resource: Option<usize>, error: FieldError) {
        let error = self.manifests.error(resource.unwrap_or(usize::MAX), error);
        let around = |other: &FileError| {
            (&other.file, other.document, &other.name) == (&error.file, error.document, &error.name)
                && error.field.starts_with(&other.field)
        };
        if !self.found.iter().any(around) {
            self.found.push(error);
        }
    }

    /// Keeps the value, or notes the error.
    fn take<T>(&mut self, resource: Option<usize>, result: Result<T, FieldError>) -> Option<T> {
        result.map_err(|error| self.add(resource, error)).ok()
    }

    /// The meaning of policies, and of what they select, is checked where it is defined.
    fn of_policies(&mut self) {
        let found = Cluster::build(&self.manifests.resources).err().into_iter().flatten();
        found.for_each(|invalid| self.add(Some(invalid.resource), invalid.error));
    }
}

/// A pod as given: itself, or what a workload stands for.
struct GivenPod {
    id: PodId,
    resource: usize,
    pod: Pod,
    raw: Value,
    expanded: bool,
}

/// Pods and namespaces of manifests.
#[derive(Default)]
struct Given {
    pods: Vec<GivenPod>,
    namespaces: BTreeMap<String, bool>,
    /// Namespaces of anything.
    used: BTreeSet<String>,
}

impl Given {
    fn add(&mut self, position: usize, resource: &Resource) -> Result<(), FieldError> {
        let metadata = resource.metadata();
        match &resource.object {
            Object::Namespace(_) => {
                self.namespaces.insert(metadata.name.clone(), asks_for_sidecars(metadata));
            }
            Object::Pod(pod) => {
                self.add_pod(position, (**pod).clone(), resource.raw.clone(), false)?;
            }
            Object::Workload(workload) => {
                let template = resource.raw.pointer("/spec/template").cloned().unwrap_or_default();
                for pod in expand_workload(&resource.kind, workload)? {
                    self.add_pod(position, pod, template.clone(), true)?;
                }
            }
            Object::Service(_) | Object::ServiceAccount(_) | Object::Secret(_) => {
                self.used.insert(namespace_of(metadata).to_owned());
            }
            _ => {}
        }
        self.used.extend(metadata.namespace.clone());
        Ok(())
    }

    /// A pod that is written out replaces one of a workload.
    fn add_pod(
        &mut self,
        resource: usize,
        pod: Pod,
        raw: Value,
        expanded: bool,
    ) -> Result<(), FieldError> {
        let id = pod_id(&pod)?;
        let given = GivenPod { id, resource, pod, raw, expanded };
        match self.pods.iter_mut().find(|other| other.id == given.id) {
            Some(other) if other.expanded => *other = given,
            Some(_) => {}
            None => self.pods.push(given),
        }
        Ok(())
    }

    /// The namespaces and service accounts that are used but not given, as documents. Whatever is
    /// used, and the account `default` of every namespace, is in the inventory then.
    fn missing(&mut self, inventory: &mut Inventory) -> Vec<Value> {
        let mut documents = Vec::new();
        let accounts: Vec<Account> = self.pods.iter().map(account).collect();
        self.used.extend(accounts.iter().map(|account| account.namespace.clone()));
        for name in &self.used {
            if !self.namespaces.contains_key(name) {
                documents.push(bare("Namespace", None, name));
                self.namespaces.insert(name.clone(), false);
            }
        }
        for namespace in self.namespaces.keys().cloned() {
            inventory.accounts.insert(Account { namespace, name: "default".to_owned() });
        }
        for account in accounts {
            if !inventory.accounts.contains(&account) {
                documents.push(bare("ServiceAccount", Some(&account.namespace), &account.name));
                inventory.accounts.insert(account);
            }
        }
        documents
    }

    fn is_injected(&self, pod: &Pod) -> bool {
        has_sidecar(pod, self.namespaces.get(namespace_of(&pod.metadata)) == Some(&true))
    }

    fn pods(&self, planner: &Planner<'_>, errors: &mut Errors<'_>) -> Vec<PodPlan> {
        let mut addresses = Addresses::new(planner.machine.v6);
        let mut plan = |given: &GivenPod| {
            let link = addresses
                .offer(&given.id.namespace, &given.id.name)
                .ok_or_else(|| FieldError::new("metadata.name", "the lab has no address left"))?;
            addresses.take(&link);
            let (mut pod, mut raw) = (given.pod.clone(), given.raw.clone());
            if self.is_injected(&pod) {
                crate::controllers::inject(&mut raw);
                pod.spec.containers.push(crate::controllers::sidecar_container());
            }
            planner.pod(&pod, &raw, link)
        };
        let plans = self.pods.iter().map(|given| (given.resource, plan(given)));
        plans.filter_map(|(resource, plan)| errors.take(Some(resource), plan)).collect()
    }
}

fn account(given: &GivenPod) -> Account {
    let name = service_account(&given.pod).to_owned();
    Account { namespace: given.id.namespace.clone(), name }
}

/// A namespace or service account that nobody wrote.
fn bare(kind: &str, namespace: Option<&str>, name: &str) -> Value {
    let mut metadata = json!({ "name": name });
    if let (Some(namespace), Some(metadata)) = (namespace, metadata.as_object_mut()) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})
}

/// Names of service accounts become parts of identities.
fn check_accounts(inventory: &Inventory) -> Result<(), FieldError> {
    inventory.accounts.iter().try_for_each(|account| {
        Workload::new(&account.namespace, &account.name)
            .map(drop)
            .map_err(|error| FieldError::new("serviceAccount", error.to_string()))
    })
}

fn services(
    resources: &[Resource],
    planner: &Planner<'_>,
    pods: &[PodPlan],
    errors: &mut Errors<'_>,
) -> Vec<super::ServicePlan> {
    let pods: Vec<&PodPlan> = pods.iter().collect();
    let mut taken = BTreeSet::new();
    let mut plans = Vec::new();
    for (position, resource) in resources.iter().enumerate() {
        if let Object::Service(given) = &resource.object {
            let families = service::families(&resource.raw, planner.machine.v6);
            let found = service::given_addresses(&resource.raw);
            let addresses = match errors.take(Some(position), found) {
                Some(given) if !given.is_empty() => given,
                _ if service::is_headless(given) => Vec::new(),
                _ => cluster_addresses(&families, &taken).unwrap_or_default(),
            };
            taken.extend(addresses.iter().copied());
            let plan = planner.service_at(resource, given, addresses, &pods);
            plans.extend(errors.take(Some(position), plan));
        }
    }
    plans
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
