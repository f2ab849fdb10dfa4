//! From resources to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tortie_client::files::{FileError, Loaded};
use tortie_mesh::envoy::MutualTls;
use tortie_mesh::redirect::Redirect;
use tortie_model::{FieldError, Object, Pod, Resource};
use tortie_policy::{Cluster, has_sidecar, service_account};

use super::address::Link;
use super::container::{ContainerPlan, Surroundings};
use super::image::ImageMap;
use super::inventory::{Given, Inventory};
use super::service::ServicePlan;
use super::volume::VolumeSource;
use super::{
    Plan, PodPlan, ProxyPlan, Restart, container, documents, hosts, is_label, proxy, service,
    volume,
};

/// What a plan is made from.
pub(crate) struct Inputs<'a> {
    /// The manifests, with image maps among them.
    pub(crate) manifests: &'a Loaded,
    /// Image maps given apart; they come first.
    pub(crate) images: &'a Loaded,
    /// Tortie's executable; `${TORTIE_BIN_DIR}` is its directory.
    pub(crate) executable: &'a Path,
    /// Whether sidecars serve clients without a certificate.
    pub(crate) mtls: MutualTls,
    /// Whether the machine has IPv6.
    pub(crate) v6: bool,
    /// Finds a program by name or absolute path.
    pub(crate) find: &'a dyn Fn(&str) -> Option<PathBuf>,
}

/// Builds the plan of a lab.
///
/// # Errors
/// Everything wrong with the input.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Plan, Vec<FileError>> {
    let mut errors = Errors { manifests: inputs.manifests, found: Vec::new() };
    errors.of_policies();
    let inventory = inventory(inputs, &mut errors);
    let builder = Builder { inputs, inventory: &inventory };
    let mut pods = builder.pods(&mut errors);
    let services = builder.services(&pods, &mut errors);
    builder.fill(&mut pods, &services, &mut errors);
    if errors.found.is_empty() { Ok(builder.finish(pods, services)) } else { Err(errors.found) }
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

fn inventory(inputs: &Inputs<'_>, errors: &mut Errors<'_>) -> Inventory {
    let mut inventory = Inventory::default();
    let bin_dir = inputs.executable.parent().unwrap_or(Path::new("/")).to_string_lossy();
    for loaded in [inputs.images, inputs.manifests] {
        for (position, resource) in loaded.resources.iter().enumerate() {
            if ImageMap::is_one(resource)
                && let Err(error) = inventory.images.add(resource, &bin_dir)
            {
                errors.found.push(loaded.error(position, error));
            }
        }
    }
    for (position, resource) in inputs.manifests.resources.iter().enumerate() {
        let added = inventory.add(position, resource);
        errors.take(Some(position), added);
    }
    inventory.add_ingress_pod();
    let settled = inventory.settle();
    errors.take(None, settled);
    inventory
}

struct Builder<'a> {
    inputs: &'a Inputs<'a>,
    inventory: &'a Inventory,
}

impl Builder<'_> {
    fn resources(&self) -> &[Resource] {
        &self.inputs.manifests.resources
    }

    /// Pods with their links, but not yet what depends on all of them.
    fn pods(&self, errors: &mut Errors<'_>) -> Vec<PodPlan> {
        let given = self.inventory.pods.iter().enumerate();
        let plans = given.map(|(position, given)| (given.resource, self.pod(position, given)));
        plans.filter_map(|(resource, plan)| errors.take(resource, plan)).collect()
    }

    fn pod(&self, position: usize, given: &Given) -> Result<PodPlan, FieldError> {
        let Given { id, pod, resource, .. } = given;
        if pod.spec.containers.is_empty() && resource.is_some() {
            return Err(FieldError::new("spec.containers", "must not be empty"));
        }
        let link = Link::new(&id.namespace, &id.name, position, self.inputs.v6)
            .ok_or_else(|| FieldError::new("metadata.name", "the lab has no address left"))?;
        let volumes = pod.spec.volumes.iter().enumerate();
        let volumes = volumes.map(|(i, v)| volume::plan(&format!("spec.volumes[{i}]"), v));
        let injected = has_sidecar(pod, self.inventory.injected.contains(&id.namespace));
        Ok(PodPlan {
            id: id.clone(),
            labels: pod.metadata.labels.clone(),
            account: service_account(pod).to_owned(),
            link,
            restart: restart(pod)?,
            volumes: volumes.collect::<Result<_, _>>()?,
            init: Vec::new(),
            containers: Vec::new(),
            named_ports: named_ports(pod),
            hosts: String::new(),
            resolv_conf: hosts::resolv_conf(&id.namespace),
            proxy: if injected { Some(sidecar_to_be(pod)?) } else { None },
        })
    }

    fn services(&self, pods: &[PodPlan], errors: &mut Errors<'_>) -> Vec<ServicePlan> {
        let ingress = self.inventory.ingress_service();
        let given = self.resources().iter().enumerate().map(|(i, r)| (Some(i), r));
        let mut services = Vec::new();
        for (position, resource) in given.chain(ingress.iter().map(|r| (None, r))) {
            if let Object::Service(given) = &resource.object {
                let plan = service::plan(services.len(), resource, given, pods, self.inputs.v6);
                services.extend(errors.take(position, plan));
            }
        }
        services
    }

    /// What depends on all pods and Services: hosts files, containers, Envoys.
    fn fill(&self, pods: &mut [PodPlan], services: &[ServicePlan], errors: &mut Errors<'_>) {
        let all = pods.to_vec();
        for plan in pods {
            let Some(given) = self.inventory.pods.iter().find(|given| given.id == plan.id) else {
                continue;
            };
            let filled = self.fill_pod(plan, &given.pod, &all, services);
            errors.take(given.resource, filled);
            if given.resource.is_none()
                && let Err((position, error)) = self.fill_gateway(plan, services)
            {
                errors.add(position, error);
            }
        }
    }

    fn fill_pod(
        &self,
        plan: &mut PodPlan,
        pod: &Pod,
        pods: &[PodPlan],
        services: &[ServicePlan],
    ) -> Result<(), FieldError> {
        let (namespace, addresses) = (&plan.id.namespace, &plan.link.addresses);
        plan.hosts = hosts::hosts(namespace, &plan.id.name, addresses, services);
        self.check_volumes(plan)?;
        plan.init = self.containers(plan, pod, "spec.initContainers", &pod.spec.init_containers)?;
        plan.containers = self.containers(plan, pod, "spec.containers", &pod.spec.containers)?;
        if plan.has_sidecar() {
            let bootstrap = proxy::sidecar(plan, self.inputs.mtls, pods, services)
                .map_err(|reason| FieldError::new("sidecar", reason))?;
            if let Some(proxy) = &mut plan.proxy {
                proxy.bootstrap = bootstrap;
            }
        }
        Ok(())
    }

    /// The ingress gateway's Envoy. An error comes with the position of its resource.
    fn fill_gateway(
        &self,
        plan: &mut PodPlan,
        services: &[ServicePlan],
    ) -> Result<(), (Option<usize>, FieldError)> {
        let listeners = self.inventory.ingress.listeners(services);
        let listeners = listeners.map_err(|(position, error)| (Some(position), error))?;
        let bootstrap = proxy::gateway(plan, listeners)
            .map_err(|reason| (None, FieldError::new("ingress gateway", reason)))?;
        plan.proxy = Some(ProxyPlan { bootstrap, redirect: None });
        Ok(())
    }

    fn containers(
        &self,
        plan: &PodPlan,
        pod: &Pod,
        field: &str,
        list: &[tortie_model::Container],
    ) -> Result<Vec<ContainerPlan>, FieldError> {
        let namespace = &plan.id.namespace;
        let around = Surroundings {
            pod: &pod.metadata,
            namespace,
            account: &plan.account,
            addresses: &plan.link.addresses,
            volumes: &plan.volumes,
            images: &self.inventory.images,
            find: self.inputs.find,
            secret: &|name, key| self.inventory.secret_text(namespace, name, key),
        };
        let mut names = BTreeSet::new();
        let containers = list.iter().enumerate().map(|(index, given)| {
            let field = format!("{field}[{index}]");
            if let Some(reason) = bad_container_name(&given.name, &mut names) {
                let reason = format!("`{}` {reason}", given.name);
                return Err(FieldError::new(format!("{field}.name"), reason));
            }
            container::plan(&field, given, &around)
        });
        containers.collect()
    }

    /// Whether every Secret a pod mounts exists, with its keys.
    fn check_volumes(&self, plan: &PodPlan) -> Result<(), FieldError> {
        for (index, volume) in plan.volumes.iter().enumerate() {
            if let VolumeSource::Secret(secret) = &volume.source
                && let Some(reason) = self.inventory.lacks(&plan.id.namespace, secret)
            {
                return Err(FieldError::new(format!("spec.volumes[{index}].secret"), reason));
            }
        }
        Ok(())
    }

    fn finish(&self, pods: Vec<PodPlan>, services: Vec<ServicePlan>) -> Plan {
        let Inventory { namespaces, accounts, secrets, pods: given, ingress, .. } = self.inventory;
        let running = given.iter().filter_map(|given| {
            let plan = pods.iter().find(|plan| plan.id == given.id)?;
            Some(documents::pod(&given.pod, plan))
        });
        let around = namespaces.values().chain(accounts.values()).cloned();
        let cluster: Vec<Value> = around.chain(running).collect();
        let policies = self.resources().iter().filter(|resource| documents::is_policy(resource));
        let policies = policies.map(|resource| resource.raw.clone()).collect();
        Plan {
            cluster: documents::list(cluster),
            policies: documents::list(policies),
            accounts: accounts.keys().cloned().collect(),
            secrets: secrets.values().cloned().collect(),
            gateway_port: ingress.ports().first().copied(),
            pods,
            services,
            executable: self.inputs.executable.to_owned(),
            envoy: None,
            certificate_seconds: 0,
            rootless: false,
        }
    }
}

fn restart(pod: &Pod) -> Result<Restart, FieldError> {
    match pod.spec.restart_policy.as_deref() {
        None | Some("Always") => Ok(Restart::Always),
        Some("OnFailure") => Ok(Restart::OnFailure),
        Some("Never") => Ok(Restart::Never),
        Some(other) => {
            let reason = format!("`{other}` is none of `Always`, `OnFailure` and `Never`");
            Err(FieldError::new("spec.restartPolicy", reason))
        }
    }
}

/// A sidecar whose configuration must wait until all pods are known.
fn sidecar_to_be(pod: &Pod) -> Result<ProxyPlan, FieldError> {
    let annotations = pod.metadata.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let redirect = Redirect::from_annotations(annotations)
        .map_err(|error| FieldError::new("metadata.annotations", error.to_string()))?;
    Ok(ProxyPlan { bootstrap: Value::Null, redirect: Some(redirect.ruleset()) })
}

fn bad_container_name<'a>(name: &'a str, seen: &mut BTreeSet<&'a str>) -> Option<&'static str> {
    match name {
        "istio-proxy" | "tortie-authz" => Some("is the name of a part of the sidecar"),
        _ if !is_label(name) => Some("is not a DNS label"),
        _ => (!seen.insert(name)).then_some("is the name of another container of the pod"),
    }
}

fn named_ports(pod: &Pod) -> BTreeMap<String, u16> {
    let ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
    ports.filter_map(|p| Some((p.name.clone()?, u16::try_from(p.container_port).ok()?))).collect()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
