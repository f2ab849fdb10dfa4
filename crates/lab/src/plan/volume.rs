//! Volumes of a pod and where its containers see them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tortie_model::{Container, FieldError, IntOrString};

/// Permission bits of a Secret's files when nothing is said.
const DEFAULT_MODE: u32 = 0o644;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumePlan {
    /// Name, unique in the pod.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) source: VolumeSource,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum VolumeSource {
    /// The keys of a Secret of the pod's namespace.
    Secret(Chosen),
    /// The keys of a ConfigMap of the pod's namespace.
    ConfigMap(Chosen),
    /// Nothing at first.
    EmptyDir,
}

/// Which keys of a Secret or ConfigMap become which files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Chosen {
    /// The name of the Secret or ConfigMap.
    pub(crate) name: String,
    /// Chosen keys; all, under their own names, if there is no list.
    pub(crate) items: Option<Vec<Item>>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Whether the pod may start without it, or without a key.
    pub(crate) optional: bool,
}

/// One key as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Item {
    /// The key.
    pub(crate) key: String,
    /// The file, relative to the volume.
    pub(crate) path: String,
    /// Permission bits; the volume's if absent.
    #[serde(default, deserialize_with = "mode")]
    pub(crate) mode: Option<u32>,
}

/// Where a volume appears in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MountPlan {
    /// The volume.
    pub(crate) volume: String,
    /// Absolute path in the container.
    pub(crate) path: String,
    /// A file or directory of the volume, instead of all of it.
    pub(crate) sub_path: Option<String>,
    /// Whether the container may not write.
    pub(crate) read_only: bool,
}

/// A volume, as written, as far as the lab knows its kinds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    name: String,
    secret: Option<Value>,
    config_map: Option<Value>,
    empty_dir: Option<Value>,
}

/// The fields of a Secret or ConfigMap in a volume, as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Source {
    secret_name: Option<String>,
    name: Option<String>,
    items: Option<Vec<Item>>,
    #[serde(default, deserialize_with = "mode")]
    default_mode: Option<u32>,
    #[serde(default)]
    optional: bool,
}

/// Permission bits: a number, or the text that YAML 1.2 makes of `0400`, which is octal to those
/// who write manifests.
fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let bits = match Option::<IntOrString>::deserialize(from)? {
        None => return Ok(None),
        Some(IntOrString::Int(bits)) => u32::try_from(bits).ok(),
        Some(IntOrString::Text(text)) => {
            text.strip_prefix('0').and_then(|octal| u32::from_str_radix(octal, 8).ok())
        }
    };
    let bits = bits.filter(|bits| *bits <= 0o777);
    bits.map(Some).ok_or_else(|| D::Error::custom("permission bits must be 0 to 0777"))
}

/// Writes the permission bits of a document's volumes as the numbers they are to an API server.
pub(crate) fn number_modes(document: &mut Value) {
    for volumes in ["/spec/volumes", "/spec/template/spec/volumes"] {
        let volumes = document.pointer_mut(volumes).and_then(Value::as_array_mut);
        for volume in volumes.into_iter().flatten() {
            for source in ["secret", "configMap"] {
                let Some(source) = volume.get_mut(source) else { continue };
                number(source, "defaultMode");
                let items = source.get_mut("items").and_then(Value::as_array_mut);
                items.into_iter().flatten().for_each(|item| number(item, "mode"));
            }
        }
    }
}

fn number(fields: &mut Value, name: &str) {
    let Some(value) = fields.get_mut(name) else { return };
    if value.is_string()
        && let Ok(Some(bits)) = mode(value.clone())
    {
        *value = bits.into();
    }
}

/// Plans a volume, as written; `field` is its path in the document.
pub(crate) fn plan(field: &str, volume: &Value) -> Result<VolumePlan, FieldError> {
    let written: Written = serde_json::from_value(volume.clone())
        .map_err(|error| FieldError::new(field, error.to_string()))?;
    if !super::is_label(&written.name) {
        let reason = format!("`{}` is not a DNS label", written.name);
        return Err(FieldError::new(format!("{field}.name"), reason));
    }
    let source = match (&written.secret, &written.config_map, &written.empty_dir) {
        (Some(secret), None, None) => {
            VolumeSource::Secret(chosen(&format!("{field}.secret"), "secretName", secret)?)
        }
        (None, Some(config), None) => {
            VolumeSource::ConfigMap(chosen(&format!("{field}.configMap"), "name", config)?)
        }
        (None, None, Some(_)) => VolumeSource::EmptyDir,
        _ => {
            let reason = format!(
                "volume `{}`: only `secret`, `configMap` and `emptyDir` volumes exist in the lab",
                written.name
            );
            return Err(FieldError::new(field, reason));
        }
    };
    Ok(VolumePlan { name: written.name, source })
}

/// Reads a Secret's or ConfigMap's fields, of which `key` has its name.
fn chosen(field: &str, key: &str, source: &Value) -> Result<Chosen, FieldError> {
    let written: Source = serde_json::from_value(source.clone())
        .map_err(|error| FieldError::new(field, error.to_string()))?;
    for item in written.items.iter().flatten() {
        if !is_relative(&item.path) {
            let reason = format!("`{}` must be relative, without `..`", item.path);
            return Err(FieldError::new(format!("{field}.items"), reason));
        }
    }
    let name = match (written.secret_name, written.name) {
        (Some(name), None) if key == "secretName" => name,
        (None, Some(name)) if key == "name" => name,
        _ => {
            return Err(FieldError::new(format!("{field}.{key}"), "is required, and nothing else"));
        }
    };
    Ok(Chosen {
        name,
        items: written.items,
        mode: written.default_mode.unwrap_or(DEFAULT_MODE),
        optional: written.optional,
    })
}

/// Plans the mounts of a container; `field` is its path in the document.
pub(crate) fn mounts(
    field: &str,
    container: &Container,
    volumes: &[VolumePlan],
) -> Result<Vec<MountPlan>, FieldError> {
    let planned = container.volume_mounts.iter().enumerate().map(|(index, mount)| {
        let fail = |what: &str, reason: String| {
            Err(FieldError::new(format!("{field}.volumeMounts[{index}].{what}"), reason))
        };
        let Some(volume) = volumes.iter().find(|v| v.name == mount.name) else {
            return fail("name", format!("the pod has no volume `{}`", mount.name));
        };
        if let Some(reason) = bad_mount_path(&mount.mount_path) {
            return fail("mountPath", format!("`{}` {reason}", mount.mount_path));
        }
        if let Some(sub) = mount.sub_path.as_deref().filter(|sub| !is_relative(sub)) {
            return fail("subPath", format!("`{sub}` must be relative, without `..`"));
        }
        Ok(MountPlan {
            volume: volume.name.clone(),
            path: mount.mount_path.clone(),
            sub_path: mount.sub_path.clone(),
            read_only: mount.read_only || volume.source != VolumeSource::EmptyDir,
        })
    });
    planned.collect()
}

/// The directories of a container that are the machine's own, read-only.
const OCCUPIED: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/dev"];

fn bad_mount_path(path: &str) -> Option<&'static str> {
    let inside =
        |dir: &&str| path.strip_prefix(*dir).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    match path.strip_prefix('/') {
        None => Some("must be absolute"),
        Some("") => Some("must not be the root"),
        Some(rest) if !is_relative(rest) => Some("must not have `.`, `..` or empty parts"),
        Some(_) if OCCUPIED.iter().any(inside) => {
            Some("lies in a directory the lab shares read-only with this machine")
        }
        Some(_) => None,
    }
}

/// Whether a path stays where it is put.
fn is_relative(path: &str) -> bool {
    path.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(value: Value) -> Result<VolumePlan, FieldError> {
        plan("spec.volumes[0]", &value)
    }

    #[test]
    fn volumes() {
        let plan = volume(json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 256,
            "items": [{"key": "a", "path": "x/a.pem", "mode": "0440"}]}}));
        let VolumeSource::Secret(secret) = plan.unwrap().source else { panic!("no secret") };
        assert_eq!((secret.mode, secret.optional), (0o400, false));
        let item = &secret.items.unwrap()[0];
        assert_eq!((&*item.path, item.mode), ("x/a.pem", Some(0o440)));
        assert_eq!(
            volume(json!({"name": "v", "emptyDir": {}})).unwrap().source,
            VolumeSource::EmptyDir
        );
        let config = volume(json!({"name": "v", "configMap": {"name": "c"}})).unwrap().source;
        assert!(matches!(config, VolumeSource::ConfigMap(chosen) if chosen.name == "c"));
        for (value, want) in [
            (json!({"name": "v", "hostPath": {}}), "only `secret`"),
            (json!({"name": "v", "configMap": {}}), "configMap.name: is required"),
            (
                json!({"name": "v", "secret": {"secretName": "s", "defaultMode": "rw"}}),
                "permission bits",
            ),
            (json!({"name": "../v", "emptyDir": {}}), "DNS label"),
            (json!({"name": "v", "secret": {"name": "s"}}), "secretName: is required"),
            (
                json!({"name": "v", "secret": {"secretName": "s",
                    "items": [{"key": "a", "path": "../a"}]}}),
                "relative",
            ),
        ] {
            let error = volume(value).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn octal_text_becomes_a_number() {
        let mut document = json!({"spec": {"template": {"spec": {"volumes": [
            {"secret": {"defaultMode": "0400", "items": [{"mode": "0440"}, {"mode": 7}]}}]}}}});
        number_modes(&mut document);
        let secret = &document["spec"]["template"]["spec"]["volumes"][0]["secret"];
        assert_eq!(*secret, json!({"defaultMode": 256, "items": [{"mode": 288}, {"mode": 7}]}));
    }

    #[test]
    fn mount_paths() {
        for (path, good) in [
            ("/etc/certs", true),
            ("/data/", true),
            ("/usrlocal", true),
            ("data", false),
            ("/", false),
            ("/a/../b", false),
            ("/a//b", false),
            ("/usr", false),
            ("/usr/share/x", false),
            ("/proc/x", false),
        ] {
            assert_eq!(bad_mount_path(path).is_none(), good, "{path}");
        }
    }
}
