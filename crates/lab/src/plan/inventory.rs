//! What the manifests hold, by kind, with what an API server and Istio would add.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tortie_mesh::identity::Workload;
use tortie_model::{FieldError, Object, Pod, Resource, Secret};
use tortie_policy::{asks_for_sidecars, expand_workload, service_account};

use super::gateway::{self, Ingress};
use super::image::ImageMap;
use super::volume::SecretVolume;
use super::{
    Account, PodId, SecretPlan, certificate_secret, documents, is_label, is_subdomain, namespace_of,
};

/// The keys of a Secret with a certificate.
const CERTIFICATE_KEYS: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];

/// A pod as given, with the position of the resource it comes from; the lab's own have none.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) id: PodId,
    pub(super) resource: Option<usize>,
    pub(super) pod: Pod,
    expanded: bool,
}

/// What there is to run, and around it.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// What stands for images.
    pub(super) images: ImageMap,
    /// What the ingress gateway serves.
    pub(super) ingress: Ingress,
    /// Pods, in the order of the manifests.
    pub(super) pods: Vec<Given>,
    /// Namespaces, as documents.
    pub(super) namespaces: BTreeMap<String, Value>,
    /// Those that ask for sidecars.
    pub(super) injected: BTreeSet<String>,
    /// Service accounts, as documents.
    pub(super) accounts: BTreeMap<Account, Value>,
    /// Secrets, by namespace and name.
    pub(super) secrets: BTreeMap<(String, String), SecretPlan>,
}

impl Inventory {
    /// Takes one resource, by its position.
    pub(super) fn add(&mut self, position: usize, resource: &Resource) -> Result<(), FieldError> {
        let metadata = resource.metadata();
        let (namespace, name) = (namespace_of(metadata).to_owned(), metadata.name.clone());
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
            Object::Service(_) => self.use_namespace(&namespace),
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
            namespace: namespace_of(&pod.metadata).to_owned(),
            name: pod.metadata.name.clone(),
        };
        if !is_label(&id.namespace) || !is_subdomain(&id.name) {
            return Err(FieldError::new("metadata.name", format!("`{id}` is no name for a pod")));
        }
        if pod.spec.host_network {
            let reason = "a pod on the node's own network has no place in the lab";
            return Err(FieldError::new("spec.hostNetwork", reason));
        }
        let given = Given { id, resource: Some(position), pod, expanded };
        match self.pods.iter_mut().find(|other| other.id == given.id) {
            Some(other) if other.expanded => *other = given,
            Some(_) => {}
            None => self.pods.push(given),
        }
        Ok(())
    }

    /// Adds the ingress gateway's pod, if there is anything for it to serve.
    pub(super) fn add_ingress_pod(&mut self) {
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
        self.pods.retain(|other| other.id != id);
        self.pods.push(Given { id, resource: None, pod, expanded: false });
    }

    /// The ingress gateway's Service, if there is one.
    pub(super) fn ingress_service(&self) -> Option<Resource> {
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

    /// Adds the namespaces and service accounts that are used but not given, and the account
    /// `default` of every namespace.
    ///
    /// # Errors
    /// If a name cannot be part of an identity.
    pub(super) fn settle(&mut self) -> Result<(), FieldError> {
        let used = self.pods.iter().map(|given| Account {
            namespace: given.id.namespace.clone(),
            name: service_account(&given.pod).to_owned(),
        });
        for account in used.chain(self.accounts.keys().cloned()).collect::<Vec<_>>() {
            self.use_namespace(&account.namespace);
            self.use_account(account);
        }
        for namespace in self.namespaces.keys().cloned().collect::<Vec<_>>() {
            self.use_account(Account { namespace, name: "default".to_owned() });
        }
        self.accounts.keys().try_for_each(|account| {
            Workload::new(&account.namespace, &account.name)
                .map(drop)
                .map_err(|error| FieldError::new("serviceAccount", error.to_string()))
        })
    }

    fn use_namespace(&mut self, name: &str) {
        if !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.to_owned(), documents::bare("Namespace", None, name));
        }
    }

    fn use_account(&mut self, account: Account) {
        let bare = documents::bare("ServiceAccount", Some(&account.namespace), &account.name);
        self.accounts.entry(account).or_insert(bare);
    }

    /// The value of a key of a Secret of the manifests, if it is text.
    pub(super) fn secret_text(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        let secret = self.secrets.get(&(namespace.to_owned(), name.to_owned()))?;
        String::from_utf8(secret.data.get(key)?.clone()).ok()
    }

    /// What a Secret volume lacks, if anything.
    pub(super) fn lacks(&self, namespace: &str, volume: &SecretVolume) -> Option<String> {
        let name = &volume.secret;
        let keys: Vec<&str> = match self.secrets.get(&(namespace.to_owned(), name.clone())) {
            Some(secret) => secret.data.keys().map(String::as_str).collect(),
            None if self.is_certificate(namespace, name) => CERTIFICATE_KEYS.to_vec(),
            None if volume.optional => return None,
            None => return Some(format!("namespace `{namespace}` has no Secret `{name}`")),
        };
        let mut wanted = volume.items.iter().flatten().map(|item| item.key.as_str());
        let absent = wanted.find(|key| !keys.contains(key))?;
        (!volume.optional).then(|| format!("Secret `{name}` has no key `{absent}`"))
    }

    /// Whether the lab makes this Secret itself, for a service account.
    fn is_certificate(&self, namespace: &str, name: &str) -> bool {
        let mut accounts = self.accounts.keys().filter(|a| a.namespace == namespace);
        accounts.any(|account| certificate_secret(&account.name) == name)
    }
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
