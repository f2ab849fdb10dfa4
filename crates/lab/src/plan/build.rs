//! From resources to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tortie_client::files::{FileError, Loaded};
use tortie_mesh::envoy::MutualTls;
use tortie_mesh::identity::Workload;
use tortie_mesh::redirect::Redirect;
use tortie_model::{FieldError, Object, Pod, Resource, Secret};
use tortie_policy::{Cluster, asks_for_sidecars, expand_workload, has_sidecar, service_account};

use super::address::Link;
use super::container::{ContainerPlan, Surroundings};
use super::gateway::Ingress;
use super::image::ImageMap;
use super::service::ServicePlan;
use super::volume::{SecretVolume, VolumePlan, VolumeSource};
use super::{
    Account, Plan, PodId, PodPlan, ProxyPlan, Restart, SecretPlan, certificate_secret, container,
    documents, gateway, hosts, is_label, is_subdomain, namespace_of, proxy, service, volume,
};

/// What a plan is made from.
pub(crate) struct Inputs<'a> {
    /// The manifests, with image maps among them.
    pub(crate) manifests: &'a Loaded,
    /// Image maps given apart; they come first.
    pub(crate) images: &'a Loaded,
    /// What `${TORTIE_BIN_DIR}` stands for.
    pub(crate) bin_dir: &'a Path,
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
    let mut builder = Builder::new(inputs);
    builder.check_policies();
    builder.read_images();
    builder.read_resources();
    builder.add_ingress_pod();
    builder.settle_accounts();
    let mut pods = builder.pods();
    let services = builder.services(&pods);
    builder.fill(&mut pods, &services);
    if builder.errors.is_empty() { Ok(builder.finish(pods, services)) } else { Err(builder.errors) }
}

/// A pod as given, with the position of the resource it comes from.
struct Given {
    resource: Option<usize>,
    pod: Pod,
    expanded: bool,
}

struct Builder<'a> {
    inputs: &'a Inputs<'a>,
    errors: Vec<FileError>,
    images: ImageMap,
    ingress: Ingress,
    pods: Vec<(PodId, Given)>,
    injected: BTreeSet<String>,
    namespaces: BTreeMap<String, Value>,
    accounts: BTreeMap<Account, Value>,
    secrets: BTreeMap<(String, String), SecretPlan>,
}

impl<'a> Builder<'a> {
    fn new(inputs: &'a Inputs<'a>) -> Self {
        Self {
            inputs,
            errors: Vec::new(),
            images: ImageMap::default(),
            ingress: Ingress::default(),
            pods: Vec::new(),
            injected: BTreeSet::new(),
            namespaces: BTreeMap::new(),
            accounts: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    fn resources(&self) -> &'a [Resource] {
        &self.inputs.manifests.resources
    }

    /// Notes an error of a resource; one of something the lab made itself has no place.
    fn error(&mut self, resource: Option<usize>, error: FieldError) {
        let position = resource.unwrap_or(usize::MAX);
        self.errors.push(self.inputs.manifests.error(position, error));
    }

    /// Keeps the value, or notes the error.
    fn take<T>(&mut self, resource: Option<usize>, result: Result<T, FieldError>) -> Option<T> {
        result.map_err(|error| self.error(resource, error)).ok()
    }

    /// The meaning of policies and of what they select is checked where it is defined.
    fn check_policies(&mut self) {
        let found = Cluster::build(self.resources()).err().into_iter().flatten();
        found.for_each(|invalid| self.error(Some(invalid.resource), invalid.error));
    }

    fn read_images(&mut self) {
        let bin_dir = self.inputs.bin_dir.to_string_lossy();
        for loaded in [self.inputs.images, self.inputs.manifests] {
            for (position, resource) in loaded.resources.iter().enumerate() {
                if ImageMap::is_one(resource)
                    && let Err(error) = self.images.add(resource, &bin_dir)
                {
                    self.errors.push(loaded.error(position, error));
                }
            }
        }
    }

    fn read_resources(&mut self) {
        for (position, resource) in self.resources().iter().enumerate() {
            let read = self.read(position, resource);
            self.take(Some(position), read);
        }
    }

    fn read(&mut self, position: usize, resource: &Resource) -> Result<(), FieldError> {
        let metadata = resource.metadata();
        let namespace = namespace_of(metadata).to_owned();
        let name = metadata.name.clone();
        match &resource.object {
            Object::Namespace(_) => {
                if asks_for_sidecars(metadata) {
                    self.injected.insert(name.clone());
                }
                self.namespaces.insert(name, resource.raw.clone());
            }
            Object::ServiceAccount(_) => {
                self.accounts.insert(Account { namespace, name }, resource.raw.clone());
            }
            Object::Secret(secret) => {
                let secret = read_secret(secret, &namespace)?;
                self.secrets.insert((namespace, name), secret);
            }
            Object::Pod(pod) => self.add_pod(position, (**pod).clone(), false)?,
            Object::Workload(workload) => {
                for pod in expand_workload(&resource.kind, workload)? {
                    self.add_pod(position, pod, true)?;
                }
            }
            Object::Foreign(_) => self.ingress.add(position, resource)?,
            _ => {}
        }
        Ok(())
    }

    /// A pod that is written out replaces one of a workload.
    fn add_pod(&mut self, position: usize, pod: Pod, expanded: bool) -> Result<(), FieldError> {
        let id = PodId {
            namespace: namespace_of(&pod.metadata).into(),
            name: pod.metadata.name.clone(),
        };
        if !is_label(&id.namespace) || !is_subdomain(&id.name) {
            return Err(FieldError::new("metadata.name", format!("`{id}` is no name for a pod")));
        }
        if pod.spec.host_network {
            let reason = "a pod on the node's own network has no place in the lab";
            return Err(FieldError::new("spec.hostNetwork", reason));
        }
        let given = Given { resource: Some(position), pod, expanded };
        match self.pods.iter_mut().find(|(other, _)| *other == id) {
            Some((_, other)) if other.expanded => *other = given,
            Some(_) => {}
            None => self.pods.push((id, given)),
        }
        Ok(())
    }

    fn add_ingress_pod(&mut self) {
        if self.ingress.ports().is_empty() {
            return;
        }
        let mut pod = Pod::default();
        pod.metadata.name = format!("{}-0", gateway::NAME);
        pod.metadata.namespace = Some(gateway::NAMESPACE.to_owned());
        pod.metadata.labels = gateway::LABELS.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        pod.spec.service_account_name = Some(gateway::ACCOUNT.to_owned());
        let id =
            PodId { namespace: gateway::NAMESPACE.to_owned(), name: pod.metadata.name.clone() };
        self.pods.retain(|(other, _)| *other != id);
        self.pods.push((id, Given { resource: None, pod, expanded: false }));
    }

    /// Namespaces and accounts that are used but not given exist; every namespace has the account
    /// `default`.
    fn settle_accounts(&mut self) {
        let used: Vec<Account> = self
            .pods
            .iter()
            .map(|(id, given)| Account {
                namespace: id.namespace.clone(),
                name: service_account(&given.pod).to_owned(),
            })
            .chain(self.accounts.keys().cloned())
            .collect();
        let services = self.resources().iter().filter(|r| matches!(r.object, Object::Service(_)));
        let homes = services.map(|service| namespace_of(service.metadata()).to_owned());
        for namespace in used.iter().map(|a| a.namespace.clone()).chain(homes) {
            let bare = || documents::bare("Namespace", None, &namespace);
            self.namespaces.entry(namespace.clone()).or_insert_with(bare);
        }
        let default = |namespace: &String| Account {
            namespace: namespace.clone(),
            name: "default".to_owned(),
        };
        for account in used.into_iter().chain(self.namespaces.keys().map(default)) {
            let bare = documents::bare("ServiceAccount", Some(&account.namespace), &account.name);
            self.accounts.entry(account).or_insert(bare);
        }
        for account in self.accounts.keys().cloned().collect::<Vec<_>>() {
            if let Err(error) = Workload::new(&account.namespace, &account.name) {
                self.error(None, FieldError::new("", error.to_string()));
            }
        }
    }

    /// Pods with their links, but not yet what depends on all of them.
    fn pods(&mut self) -> Vec<PodPlan> {
        let given = std::mem::take(&mut self.pods);
        let mut plans = Vec::new();
        for (position, (id, given)) in given.iter().enumerate() {
            let plan = self.pod(position, id, &given.pod);
            plans.extend(self.take(given.resource, plan));
        }
        self.pods = given;
        plans
    }

    fn pod(&self, position: usize, id: &PodId, pod: &Pod) -> Result<PodPlan, FieldError> {
        let link = Link::new(&id.namespace, &id.name, position, self.inputs.v6)
            .ok_or_else(|| FieldError::new("metadata.name", "the lab has no address left"))?;
        let volumes = pod.spec.volumes.iter().enumerate();
        let volumes = volumes.map(|(i, v)| volume::plan(&format!("spec.volumes[{i}]"), v));
        let restart = match pod.spec.restart_policy.as_deref() {
            None | Some("Always") => Restart::Always,
            Some("OnFailure") => Restart::OnFailure,
            Some("Never") => Restart::Never,
            Some(other) => {
                let reason = format!("`{other}` is none of `Always`, `OnFailure` and `Never`");
                return Err(FieldError::new("spec.restartPolicy", reason));
            }
        };
        let injected = has_sidecar(pod, self.injected.contains(&id.namespace));
        Ok(PodPlan {
            id: id.clone(),
            labels: pod.metadata.labels.clone(),
            account: service_account(pod).to_owned(),
            link,
            restart,
            volumes: volumes.collect::<Result<_, _>>()?,
            init: Vec::new(),
            containers: Vec::new(),
            named_ports: named_ports(pod),
            hosts: String::new(),
            resolv_conf: hosts::resolv_conf(&id.namespace),
            proxy: if injected { Some(sidecar_to_be(pod)?) } else { None },
        })
    }

    fn services(&mut self, pods: &[PodPlan]) -> Vec<ServicePlan> {
        let mut services: Vec<ServicePlan> = Vec::new();
        let ingress = self.ingress_service();
        let given = self.resources().iter().enumerate().map(|(i, r)| (Some(i), r));
        for (position, resource) in given.chain(ingress.iter().map(|r| (None, r))) {
            let Object::Service(given) = &resource.object else { continue };
            let plan = service::plan(services.len(), resource, given, pods, self.inputs.v6);
            services.extend(self.take(position, plan));
        }
        services
    }

    /// The Service of the ingress gateway.
    fn ingress_service(&self) -> Option<Resource> {
        let ports = self.ingress.ports();
        let ports: Vec<Value> = ports.iter().map(|p| serde_json::json!({"port": p})).collect();
        if ports.is_empty() {
            return None;
        }
        let labels: BTreeMap<_, _> = gateway::LABELS.into_iter().collect();
        let raw = serde_json::json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": gateway::NAME, "namespace": gateway::NAMESPACE},
            "spec": {"selector": labels, "ports": ports}});
        tortie_model::decode(raw).ok()?.pop()
    }

    /// What depends on all pods and Services: hosts files, containers, Envoys.
    fn fill(&mut self, pods: &mut [PodPlan], services: &[ServicePlan]) {
        let listeners = self.ingress.listeners(services);
        let listeners = match listeners {
            Ok(listeners) => listeners,
            Err((position, error)) => return self.error(Some(position), error),
        };
        let all = pods.to_vec();
        let given = std::mem::take(&mut self.pods);
        for plan in pods {
            let Some((_, given)) = given.iter().find(|(id, _)| *id == plan.id) else { continue };
            let filled = self.fill_pod(plan, &given.pod, &all, services);
            self.take(given.resource, filled);
            if given.resource.is_none() {
                let bootstrap = proxy::gateway(plan, listeners.clone());
                let bootstrap = bootstrap.map_err(|reason| FieldError::new("gateway", reason));
                let bootstrap = self.take(None, bootstrap).unwrap_or_default();
                plan.proxy = Some(ProxyPlan { bootstrap, redirect: None });
            }
        }
        self.pods = given;
    }

    fn fill_pod(
        &self,
        plan: &mut PodPlan,
        pod: &Pod,
        pods: &[PodPlan],
        services: &[ServicePlan],
    ) -> Result<(), FieldError> {
        let PodId { namespace, name } = &plan.id;
        plan.hosts = hosts::hosts(namespace, name, &plan.link.addresses, services);
        self.check_volumes(plan)?;
        plan.init = self.containers(plan, pod, "spec.initContainers")?;
        plan.containers = self.containers(plan, pod, "spec.containers")?;
        if plan.has_sidecar() {
            let bootstrap = proxy::sidecar(plan, self.inputs.mtls, pods, services)
                .map_err(|reason| FieldError::new("sidecar", reason))?;
            if let Some(proxy) = &mut plan.proxy {
                proxy.bootstrap = bootstrap;
            }
        }
        Ok(())
    }

    fn containers(
        &self,
        plan: &PodPlan,
        pod: &Pod,
        field: &str,
    ) -> Result<Vec<ContainerPlan>, FieldError> {
        let namespace = &plan.id.namespace;
        let around = Surroundings {
            pod: &pod.metadata,
            namespace,
            account: &plan.account,
            addresses: &plan.link.addresses,
            volumes: &plan.volumes,
            images: &self.images,
            find: self.inputs.find,
            secret: &|name, key| {
                let secret = self.secrets.get(&(namespace.clone(), name.to_owned()))?;
                String::from_utf8(secret.data.get(key)?.clone()).ok()
            },
        };
        let list = match field {
            "spec.initContainers" => &pod.spec.init_containers,
            _ => &pod.spec.containers,
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
        for (index, VolumePlan { source, .. }) in plan.volumes.iter().enumerate() {
            let VolumeSource::Secret(volume) = source else { continue };
            if let Some(reason) = self.missing(&plan.id.namespace, volume) {
                let field = format!("spec.volumes[{index}].secret");
                return Err(FieldError::new(field, reason));
            }
        }
        Ok(())
    }

    fn missing(&self, namespace: &str, volume: &SecretVolume) -> Option<String> {
        let name = &volume.secret;
        let keys: Vec<&str> = match self.secrets.get(&(namespace.to_owned(), name.clone())) {
            Some(secret) => secret.data.keys().map(String::as_str).collect(),
            None if self.is_certificate(namespace, name) => CERTIFICATE_KEYS.to_vec(),
            None if volume.optional => return None,
            None => return Some(format!("namespace `{namespace}` has no Secret `{name}`")),
        };
        let wanted = volume.items.iter().flatten().map(|item| item.key.as_str());
        let absent = wanted.filter(|key| !keys.contains(key)).next()?;
        (!volume.optional).then(|| format!("Secret `{name}` has no key `{absent}`"))
    }

    /// Whether the lab makes this Secret itself, for a service account.
    fn is_certificate(&self, namespace: &str, name: &str) -> bool {
        let mut accounts = self.accounts.keys().filter(|a| a.namespace == namespace);
        accounts.any(|account| certificate_secret(&account.name) == name)
    }

    fn finish(self, pods: Vec<PodPlan>, services: Vec<ServicePlan>) -> Plan {
        let running = pods.iter().filter_map(|plan| {
            let (_, given) = self.pods.iter().find(|(id, _)| *id == plan.id)?;
            Some(documents::pod(&given.pod, plan))
        });
        let cluster: Vec<Value> = self
            .namespaces
            .values()
            .cloned()
            .chain(self.accounts.values().cloned())
            .chain(running)
            .collect();
        let policies = documents::policy_documents(&self.inputs.manifests.resources);
        Plan {
            cluster: documents::list(cluster),
            policies: documents::list(policies.into_iter().map(|r| r.raw.clone()).collect()),
            accounts: self.accounts.into_keys().collect(),
            secrets: self.secrets.into_values().collect(),
            gateway_port: self.ingress.ports().first().copied(),
            pods,
            services,
            envoy: None,
            certificate_seconds: 0,
            rootless: false,
        }
    }
}

/// The keys of a Secret with a certificate.
const CERTIFICATE_KEYS: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];

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

fn read_secret(secret: &Secret, namespace: &str) -> Result<SecretPlan, FieldError> {
    let mut data = BTreeMap::new();
    for (key, text) in &secret.data {
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| FieldError::new(format!("data.{key}"), "is not base64"))?;
        data.insert(key.clone(), bytes);
    }
    let plain = secret.string_data.iter();
    data.extend(plain.map(|(key, text)| (key.clone(), text.clone().into_bytes())));
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let odd = |key: &&String| key.is_empty() || key.starts_with("..") || !key.chars().all(safe);
    if let Some(key) = data.keys().find(odd) {
        return Err(FieldError::new(format!("data.{key}"), "is no name for a file"));
    }
    Ok(SecretPlan {
        namespace: namespace.to_owned(),
        name: secret.metadata.name.clone(),
        type_: secret.type_.clone().unwrap_or_else(|| "Opaque".to_owned()),
        data,
    })
}
