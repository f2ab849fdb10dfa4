//! From a pod, and what it refers to, to what the lab runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tortie_mesh::redirect::Redirect;
use tortie_model::{Container, FieldError, Pod, Resource, Service};
use tortie_policy::service_account;

use super::address::Link;
use super::container::{self, ContainerPlan, Surroundings};
use super::inventory::Inventory;
use super::proxy::images;
use super::{
    PodId, PodPlan, ProxyPlan, Restart, ServicePlan, is_label, is_subdomain, namespace_of, service,
    volume,
};

/// How long a pod may take to end when nothing is said, in seconds.
const GRACE: u64 = 30;

/// What the machine gives.
pub(crate) struct Machine<'a> {
    /// Tortie's executable; `${TORTIE_BIN_DIR}` is its directory.
    pub(crate) executable: &'a Path,
    /// Whether it has IPv6.
    pub(crate) v6: bool,
    /// Finds a program by name or absolute path.
    pub(crate) find: &'a dyn Fn(&str) -> Option<PathBuf>,
}

impl Machine<'_> {
    /// What `${TORTIE_BIN_DIR}` stands for.
    pub(crate) fn bin_dir(&self) -> String {
        self.executable.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned()
    }
}

/// Plans pods and Services among what there is.
pub(crate) struct Planner<'a> {
    /// The machine.
    pub(crate) machine: &'a Machine<'a>,
    /// What pods refer to.
    pub(crate) inventory: &'a Inventory,
}

/// What a pod's containers say of its Envoy.
enum Role {
    Plain,
    Sidecar,
    Gateway,
}

impl Planner<'_> {
    /// Plans a pod that has its sidecar's containers if it is to have a sidecar. `raw` is the
    /// document: its fields beyond those the lab knows count too.
    ///
    /// # Errors
    /// The first thing the lab cannot give it.
    pub(crate) fn pod(&self, pod: &Pod, raw: &Value, link: Link) -> Result<PodPlan, FieldError> {
        let id = pod_id(pod)?;
        refuse_unsupported(pod, raw)?;
        let role = role(pod);
        let (init, containers) = own_containers(pod);
        if containers.is_empty() && !matches!(role, Role::Gateway) {
            return Err(FieldError::new("spec.containers", "must not be empty"));
        }
        let mut plan = PodPlan {
            uid: text(raw, "/metadata/uid").to_owned(),
            labels: pod.metadata.labels.clone(),
            account: service_account(pod).to_owned(),
            link,
            restart: restart(pod)?,
            grace: raw
                .pointer("/spec/terminationGracePeriodSeconds")
                .and_then(Value::as_u64)
                .unwrap_or(GRACE),
            volumes: self.volumes(&id, raw)?,
            init: Vec::new(),
            containers: Vec::new(),
            named_ports: named_ports(pod),
            proxy: proxy(pod, &role)?,
            id,
        };
        plan.init = self.containers(&plan, pod, "spec.initContainers", &init)?;
        plan.containers = self.containers(&plan, pod, "spec.containers", &containers)?;
        Ok(plan)
    }

    fn volumes(&self, id: &PodId, raw: &Value) -> Result<Vec<volume::VolumePlan>, FieldError> {
        let volumes = raw.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
        let plan = |(index, given): (usize, &Value)| {
            let field = format!("spec.volumes[{index}]");
            let plan = volume::plan(&field, given)?;
            match self.inventory.lacks(&id.namespace, &plan.source) {
                Some(reason) => Err(FieldError::new(field, reason)),
                None => Ok(plan),
            }
        };
        volumes.enumerate().map(plan).collect()
    }

    fn containers(
        &self,
        plan: &PodPlan,
        pod: &Pod,
        field: &str,
        list: &[(usize, &Container)],
    ) -> Result<Vec<ContainerPlan>, FieldError> {
        let namespace = &plan.id.namespace;
        let around = Surroundings {
            pod: &pod.metadata,
            namespace,
            account: &plan.account,
            addresses: &plan.link.addresses,
            volumes: &plan.volumes,
            images: &self.inventory.images,
            find: self.machine.find,
            secret: &|name, key| self.inventory.secret_text(namespace, name, key),
            config: &|name, key| self.inventory.config_text(namespace, name, key),
        };
        let mut names = BTreeSet::new();
        let containers = list.iter().map(|(index, given)| {
            let field = format!("{field}[{index}]");
            if let Some(reason) = bad_container_name(&given.name, &mut names) {
                let reason = format!("`{}` {reason}", given.name);
                return Err(FieldError::new(format!("{field}.name"), reason));
            }
            container::plan(&field, given, &around)
        });
        containers.collect()
    }

    /// Plans a Service that has its addresses, or has none of its own.
    ///
    /// # Errors
    /// What the lab cannot give it.
    pub(crate) fn service(
        &self,
        resource: &Resource,
        given: &Service,
        pods: &[&PodPlan],
    ) -> Result<ServicePlan, FieldError> {
        let addresses = service::given_addresses(&resource.raw)?;
        self.service_at(resource, given, addresses, pods)
    }

    /// As [`Planner::service`], with these addresses.
    pub(super) fn service_at(
        &self,
        resource: &Resource,
        given: &Service,
        addresses: Vec<IpAddr>,
        pods: &[&PodPlan],
    ) -> Result<ServicePlan, FieldError> {
        service::plan(resource, given, addresses, pods, self.machine.v6)
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A pod's namespace and name.
pub(super) fn pod_id(pod: &Pod) -> Result<PodId, FieldError> {
    let (namespace, name) = (namespace_of(&pod.metadata).to_owned(), pod.metadata.name.clone());
    if is_label(&namespace) && is_subdomain(&name) {
        return Ok(PodId { namespace, name });
    }
    Err(FieldError::new("metadata.name", format!("`{namespace}/{name}` is no name for a pod")))
}

/// What would be different from what is written, if it were passed over.
fn refuse_unsupported(pod: &Pod, raw: &Value) -> Result<(), FieldError> {
    if pod.spec.host_network {
        let reason = "a pod on the node's own network has no place in the lab";
        return Err(FieldError::new("spec.hostNetwork", reason));
    }
    for field in ["hostPID", "hostIPC"] {
        if raw.pointer(&format!("/spec/{field}")) == Some(&Value::Bool(true)) {
            let reason = "a pod in the node's own namespaces has no place in the lab";
            return Err(FieldError::new(format!("spec.{field}"), reason));
        }
    }
    for list in ["initContainers", "containers"] {
        let all = raw.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        for (index, container) in all.into_iter().flatten().enumerate() {
            if let Some((field, reason)) = unsupported(container) {
                return Err(FieldError::new(format!("spec.{list}[{index}].{field}"), reason));
            }
        }
    }
    Ok(())
}

fn unsupported(container: &Value) -> Option<(&'static str, &'static str)> {
    let listed = |field: &str| {
        container.get(field).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    };
    let ours = text(container, "/image") == images::AUTHORIZER;
    if listed("envFrom") {
        Some(("envFrom", "only `env` is supported in the lab"))
    } else if listed("volumeDevices") {
        Some(("volumeDevices", "there are no block devices in the lab"))
    } else if !ours && text(container, "/restartPolicy") == "Always" {
        Some(("restartPolicy", "only the sidecar's own init container may run on in the lab"))
    } else {
        None
    }
}

fn role(pod: &Pod) -> Role {
    let has = |image: &str| pod.spec.containers.iter().any(|c| c.image == image);
    match (has(images::SIDECAR), has(images::GATEWAY)) {
        (true, _) => Role::Sidecar,
        (false, true) => Role::Gateway,
        (false, false) => Role::Plain,
    }
}

/// Containers with their positions.
type Listed<'a> = Vec<(usize, &'a Container)>;

/// The init containers and containers that are not parts of the lab's own.
fn own_containers(pod: &Pod) -> (Listed<'_>, Listed<'_>) {
    (without_ours(&pod.spec.init_containers), without_ours(&pod.spec.containers))
}

fn without_ours(list: &[Container]) -> Listed<'_> {
    let ours = [images::SIDECAR, images::AUTHORIZER, images::GATEWAY];
    list.iter().enumerate().filter(|(_, c)| !ours.contains(&c.image.as_str())).collect()
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

fn proxy(pod: &Pod, role: &Role) -> Result<Option<ProxyPlan>, FieldError> {
    match role {
        Role::Plain => Ok(None),
        Role::Gateway => Ok(Some(ProxyPlan::Gateway)),
        Role::Sidecar => {
            let annotations = pod.metadata.annotations.iter();
            let annotations = annotations.map(|(key, value)| (key.as_str(), value.as_str()));
            let redirect = Redirect::from_annotations(annotations)
                .map_err(|error| FieldError::new("metadata.annotations", error.to_string()))?;
            Ok(Some(ProxyPlan::Sidecar { redirect: redirect.ruleset() }))
        }
    }
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
