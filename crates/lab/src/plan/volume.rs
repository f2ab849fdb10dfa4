//! Volumes of a pod and where its containers see them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tortie_model::{Container, FieldError, IntOrString, Volume};

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
    Secret(SecretVolume),
    /// Nothing at first.
    EmptyDir,
}

/// Which keys of a Secret become which files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretVolume {
    /// The Secret's name.
    pub(crate) secret: String,
    /// Chosen keys; all, under their own names, if there is no list.
    pub(crate) items: Option<Vec<Item>>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Whether the pod may start without the Secret, or without a key.
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

/// A Secret's fields in a volume, as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretSource {
    secret_name: String,
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

/// Plans a volume; `field` is its path in the document.
pub(crate) fn plan(field: &str, volume: &Volume) -> Result<VolumePlan, FieldError> {
    if !super::is_label(&volume.name) {
        let reason = format!("`{}` is not a DNS label", volume.name);
        return Err(FieldError::new(format!("{field}.name"), reason));
    }
    let source = match (&volume.secret, &volume.empty_dir) {
        (Some(secret), None) => VolumeSource::Secret(secret_volume(field, secret)?),
        (None, Some(_)) => VolumeSource::EmptyDir,
        _ => {
            let reason = format!(
                "volume `{}`: only `secret` and `emptyDir` volumes exist in the lab",
                volume.name
            );
            return Err(FieldError::new(field, reason));
        }
    };
    Ok(VolumePlan { name: volume.name.clone(), source })
}

fn secret_volume(field: &str, secret: &Value) -> Result<SecretVolume, FieldError> {
    let field = format!("{field}.secret");
    let written: SecretSource = serde_json::from_value(secret.clone())
        .map_err(|error| FieldError::new(&field, error.to_string()))?;
    for item in written.items.iter().flatten() {
        if !is_relative(&item.path) {
            let reason = format!("`{}` must be relative, without `..`", item.path);
            return Err(FieldError::new(format!("{field}.items"), reason));
        }
    }
    Ok(SecretVolume {
        secret: written.secret_name,
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
            read_only: mount.read_only || matches!(volume.source, VolumeSource::Secret(_)),
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
        plan("spec.volumes[0]", &serde_json::from_value(value).unwrap())
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
        for (value, want) in [
            (json!({"name": "v", "configMap": {}}), "only `secret`"),
            (
                json!({"name": "v", "secret": {"secretName": "s", "defaultMode": "rw"}}),
                "permission bits",
            ),
            (json!({"name": "../v", "emptyDir": {}}), "DNS label"),
            (json!({"name": "v", "secret": {"name": "s"}}), "unknown field `name`"),
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
