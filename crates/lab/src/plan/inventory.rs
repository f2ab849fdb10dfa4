//! What pods may refer to, by kind: images, identities, Secrets and ConfigMaps, and what the ingress
//! gateway serves.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tortie_model::{FieldError, Object, Resource, Secret};

use super::gateway::Ingress;
use super::image::ImageMap;
use super::volume::{Chosen, VolumeSource};
use super::{Account, certificate_secret, namespace_of};

/// The keys of a Secret with a certificate.
const CERTIFICATE_KEYS: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];

/// The contents of a Secret or ConfigMap by key.
pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// Contents by namespace and name.
type ByName = BTreeMap<(String, String), Contents>;

/// What there is around pods.
#[derive(Default)]
pub(crate) struct Inventory {
    /// What stands for images.
    pub(crate) images: ImageMap,
    /// What the ingress gateway serves.
    pub(crate) ingress: Ingress,
    /// Service accounts. Each has, or will have, a Secret with its certificate.
    pub(crate) accounts: BTreeSet<Account>,
    secrets: ByName,
    configs: ByName,
}

impl Inventory {
    /// Takes one resource, by its position; kinds that pods do not refer to are passed over.
    ///
    /// # Errors
    /// If it holds what the lab cannot use.
    pub(crate) fn add(
        &mut self,
        position: usize,
        resource: &Resource,
        bin_dir: &str,
    ) -> Result<(), FieldError> {
        let metadata = resource.metadata();
        let (namespace, name) = (namespace_of(metadata).to_owned(), metadata.name.clone());
        match &resource.object {
            Object::ServiceAccount(_) => {
                self.accounts.insert(Account { namespace, name });
            }
            Object::Secret(secret) => {
                self.secrets.insert((namespace, name), secret_contents(secret)?);
            }
            Object::Foreign(_) if ImageMap::is_one(resource) => {
                self.images.add(resource, bin_dir)?;
            }
            Object::Foreign(_) if is_config(resource) => {
                self.configs.insert((namespace, name), config_contents(&resource.raw)?);
            }
            Object::Foreign(_) => self.ingress.add(position, resource)?,
            _ => {}
        }
        Ok(())
    }

    /// The value of a key of a Secret, if it is text.
    pub(super) fn secret_text(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        text_of(&self.secrets, namespace, name, key)
    }

    /// The value of a key of a ConfigMap, if it is text.
    pub(super) fn config_text(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        text_of(&self.configs, namespace, name, key)
    }

    /// What a volume of a pod of this namespace shows; nothing for one that shows nothing.
    pub(crate) fn contents<'a>(
        &'a self,
        namespace: &str,
        source: &'a VolumeSource,
    ) -> Option<(&'a Chosen, Option<&'a Contents>)> {
        let (all, chosen) = match source {
            VolumeSource::Secret(chosen) => (&self.secrets, chosen),
            VolumeSource::ConfigMap(chosen) => (&self.configs, chosen),
            VolumeSource::EmptyDir => return None,
        };
        Some((chosen, all.get(&(namespace.to_owned(), chosen.name.clone()))))
    }

    /// What a volume lacks, if anything.
    pub(super) fn lacks(&self, namespace: &str, source: &VolumeSource) -> Option<String> {
        let (chosen, contents) = self.contents(namespace, source)?;
        let name = &chosen.name;
        let what = match source {
            VolumeSource::Secret(_) => "Secret",
            _ => "ConfigMap",
        };
        let keys: Vec<&str> = match contents {
            Some(contents) => contents.keys().map(String::as_str).collect(),
            None if what == "Secret" && self.is_certificate(namespace, name) => {
                CERTIFICATE_KEYS.to_vec()
            }
            None if chosen.optional => return None,
            None => return Some(format!("namespace `{namespace}` has no {what} `{name}`")),
        };
        let mut wanted = chosen.items.iter().flatten().map(|item| item.key.as_str());
        let absent = wanted.find(|key| !keys.contains(key))?;
        (!chosen.optional).then(|| format!("{what} `{name}` has no key `{absent}`"))
    }

    /// Whether the lab makes this Secret itself, for a service account.
    fn is_certificate(&self, namespace: &str, name: &str) -> bool {
        let mut accounts = self.accounts.iter().filter(|a| a.namespace == namespace);
        accounts.any(|account| certificate_secret(&account.name) == name)
    }
}

fn text_of(all: &ByName, namespace: &str, name: &str, key: &str) -> Option<String> {
    let contents = all.get(&(namespace.to_owned(), name.to_owned()))?;
    String::from_utf8(contents.get(key)?.clone()).ok()
}

fn is_config(resource: &Resource) -> bool {
    resource.group().is_empty() && resource.kind == "ConfigMap"
}

fn secret_contents(secret: &Secret) -> Result<Contents, FieldError> {
    let data = secret.data.iter().map(|(key, text)| decoded("data", key, text));
    let mut contents: Contents = data.collect::<Result<_, _>>()?;
    let plain = secret.string_data.iter();
    contents.extend(plain.map(|(key, text)| (key.clone(), text.clone().into_bytes())));
    check_keys("data", contents)
}

fn config_contents(config: &Value) -> Result<Contents, FieldError> {
    let texts = |field: &str| {
        let entries = config.get(field).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
    };
    let binary = texts("binaryData").map(|(key, text)| decoded("binaryData", &key, &text));
    let mut contents: Contents = binary.collect::<Result<_, _>>()?;
    contents.extend(texts("data").map(|(key, text)| (key, text.into_bytes())));
    check_keys("data", contents)
}

fn decoded(field: &str, key: &str, text: &str) -> Result<(String, Vec<u8>), FieldError> {
    let bytes = STANDARD.decode(text);
    let bytes = bytes.map_err(|_| FieldError::new(format!("{field}.{key}"), "is not base64"))?;
    Ok((key.to_owned(), bytes))
}

/// Keys become names of files.
fn check_keys(field: &str, contents: Contents) -> Result<Contents, FieldError> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let odd = |key: &&String| {
        key.is_empty() || *key == "." || key.starts_with("..") || !key.chars().all(safe)
    };
    match contents.keys().find(odd) {
        Some(key) => Err(FieldError::new(format!("{field}.{key}"), "is no name for a file")),
        None => Ok(contents),
    }
}
