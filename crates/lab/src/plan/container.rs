//! What one container runs: command, environment, files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tortie_model::{Container, EnvVar, FieldError, ObjectMeta};

use super::image::ImageMap;
use super::volume::{MountPlan, VolumePlan, mounts};

/// Where a container looks for programs, as in most images.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerPlan {
    /// Name, unique in the pod.
    pub(crate) name: String,
    /// Image, as written.
    pub(crate) image: String,
    /// The program, by its absolute path, and its arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Working directory.
    pub(crate) directory: String,
    /// Where volumes appear.
    pub(crate) mounts: Vec<MountPlan>,
    /// TCP ports it declares.
    pub(crate) ports: Vec<u16>,
}

/// What a container may refer to.
pub(crate) struct Surroundings<'a> {
    /// The pod.
    pub(crate) pod: &'a ObjectMeta,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its service account.
    pub(crate) account: &'a str,
    /// Its addresses, IPv4 first.
    pub(crate) addresses: &'a [IpAddr],
    /// Its volumes.
    pub(crate) volumes: &'a [VolumePlan],
    /// What stands for images.
    pub(crate) images: &'a ImageMap,
    /// Finds a program of this machine by name or absolute path.
    pub(crate) find: &'a dyn Fn(&str) -> Option<PathBuf>,
    /// The value of a key of a Secret of the pod's namespace.
    pub(crate) secret: &'a dyn Fn(&str, &str) -> Option<String>,
    /// The value of a key of a ConfigMap of the pod's namespace.
    pub(crate) config: &'a dyn Fn(&str, &str) -> Option<String>,
}

/// Plans a container; `field` is its path in the document.
pub(crate) fn plan(
    field: &str,
    container: &Container,
    around: &Surroundings<'_>,
) -> Result<ContainerPlan, FieldError> {
    let image = around.images.find(&container.image);
    if image.is_none() && container.command.is_empty() {
        return Err(no_image(field, container, around.images));
    }
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
        ("HOSTNAME".to_owned(), around.pod.name.clone()),
    ]);
    let defaults = image.map(|image| image.env.as_slice()).unwrap_or_default();
    for variable in defaults.iter().chain(&container.env) {
        let value = value(variable, around)
            .map_err(|reason| FieldError::new(format!("{field}.env.{}", variable.name), reason))?;
        if let Some(value) = value {
            let value = expand(&value, &env);
            env.insert(variable.name.clone(), value);
        }
    }
    let words = command(container, image.map(|i| (i.command.as_slice(), i.args.as_slice())));
    let mut argv: Vec<String> = words.iter().map(|word| expand(word, &env)).collect();
    if let Some(program) = argv.first_mut() {
        *program = find(field, container, program, around)?;
    }
    Ok(ContainerPlan {
        name: container.name.clone(),
        image: container.image.clone(),
        argv,
        env,
        directory: container.working_dir.clone().unwrap_or_else(|| "/".to_owned()),
        mounts: mounts(field, container, around.volumes)?,
        ports: tcp_ports(container),
    })
}

/// Kubernetes' rule: a container's command replaces the image's command and arguments, its
/// arguments alone replace the image's arguments.
fn command<'a>(
    container: &'a Container,
    image: Option<(&'a [String], &'a [String])>,
) -> Vec<&'a String> {
    let (entry, defaults) = image.unwrap_or_default();
    let (entry, defaults) = match container.command.as_slice() {
        [] => (entry, defaults),
        own => (own, &[][..]),
    };
    let args = if container.args.is_empty() { defaults } else { &container.args };
    entry.iter().chain(args).collect()
}

fn no_image(field: &str, container: &Container, images: &ImageMap) -> FieldError {
    let (name, image) = (&container.name, &container.image);
    let reason = format!("container `{name}`: no local command stands for image `{image}`");
    let error = FieldError::new(format!("{field}.image"), reason);
    match images.known().as_slice() {
        [] => error.hint(
            "add a document of kind `ImageMap` to the manifests, or give one with `--images FILE`",
        ),
        known => error.hint(format!("the image map has {}", known.join(", "))),
    }
}

fn find(
    field: &str,
    container: &Container,
    program: &str,
    around: &Surroundings<'_>,
) -> Result<String, FieldError> {
    let found = (around.find)(program).and_then(|path| path.into_os_string().into_string().ok());
    found.ok_or_else(|| {
        let (name, image) = (&container.name, &container.image);
        let reason = format!(
            "container `{name}` (image `{image}`): program `{program}` is not on this machine"
        );
        let error = FieldError::new(format!("{field}.command"), reason);
        match crate::programs::package(program) {
            Some(hint) => error.hint(hint),
            None => error.hint("install it, or map the image to another command"),
        }
    })
}

fn tcp_ports(container: &Container) -> Vec<u16> {
    let tcp = container.ports.iter().filter(|p| p.protocol.as_deref().unwrap_or("TCP") == "TCP");
    tcp.filter_map(|p| u16::try_from(p.container_port).ok()).collect()
}

/// The value of a variable; none if it is optional and absent.
fn value(variable: &EnvVar, around: &Surroundings<'_>) -> Result<Option<String>, String> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(variable.value.clone().unwrap_or_default()));
    };
    let text = |pointer: &str| source.pointer(pointer).and_then(Value::as_str);
    if let Some(path) = text("/fieldRef/fieldPath") {
        return field_value(path, around)
            .map(Some)
            .ok_or_else(|| format!("valueFrom.fieldRef: `{path}` is not known here"));
    }
    for (field, what, find) in
        [("secretKeyRef", "Secret", around.secret), ("configMapKeyRef", "ConfigMap", around.config)]
    {
        let part = |name: &str| text(&format!("/{field}/{name}"));
        if let (Some(name), Some(key)) = (part("name"), part("key")) {
            let optional = source.pointer(&format!("/{field}/optional")).and_then(Value::as_bool);
            return match find(name, key) {
                None if optional != Some(true) => {
                    Err(format!("valueFrom.{field}: no key `{key}` in a {what} `{name}`"))
                }
                found => Ok(found),
            };
        }
    }
    let known = "`fieldRef`, `secretKeyRef` and `configMapKeyRef`";
    Err(format!("valueFrom: only {known} are supported in the lab"))
}

fn field_value(path: &str, around: &Surroundings<'_>) -> Option<String> {
    let addresses = || around.addresses.iter().map(ToString::to_string);
    let keyed = |map: &BTreeMap<String, String>, prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        Some(map.get(key).cloned().unwrap_or_default())
    };
    match path {
        "metadata.name" => Some(around.pod.name.clone()),
        "metadata.namespace" => Some(around.namespace.to_owned()),
        "spec.serviceAccountName" => Some(around.account.to_owned()),
        "spec.nodeName" => Some(super::NODE_NAME.to_owned()),
        "status.podIP" => addresses().next(),
        "status.podIPs" => Some(addresses().collect::<Vec<_>>().join(",")),
        "status.hostIP" => Some(super::address::NODE_V4.to_string()),
        _ => keyed(&around.pod.labels, "metadata.labels['")
            .or_else(|| keyed(&around.pod.annotations, "metadata.annotations['")),
    }
}

/// Replaces `$(NAME)` by variables defined so far; `$$` is a dollar sign, and what names no
/// variable stays, as in Kubernetes.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((value, after)) =
            reference.and_then(|(name, after)| Some((env.get(name)?, after)))
        {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, want) in [
            ("", ""),
            ("plain", "plain"),
            ("http://$(A):2379/$(A)", "http://1:2379/1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $( $", "$A $( $"),
        ] {
            assert_eq!(expand(text, &env), want, "{text}");
        }
    }

    fn surroundings<R>(
        container: Value,
        then: impl FnOnce(&Surroundings<'_>, &Container) -> R,
    ) -> R {
        let raw = serde_json::json!({"apiVersion": "tortie.dev/v1", "kind": "ImageMap",
            "metadata": {"name": "m"},
            "images": [{"image": "i", "command": ["entry"], "args": ["one"],
                        "env": [{"name": "A", "value": "image"}, {"name": "B", "value": "b"}]}]});
        let mut images = ImageMap::default();
        images.add(&tortie_model::decode(raw).unwrap().remove(0), "/bin").unwrap();
        let pod = ObjectMeta {
            name: "p-0".into(),
            labels: BTreeMap::from([("app".into(), "x".into())]),
            ..ObjectMeta::default()
        };
        let around = Surroundings {
            pod: &pod,
            namespace: "ns",
            account: "acct",
            addresses: &["10.65.0.2".parse().unwrap()],
            volumes: &[],
            images: &images,
            find: &|name| (name != "missing").then(|| format!("/usr/bin/{name}").into()),
            secret: &|name, key| (name == "s" && key == "k").then(|| "v".to_owned()),
            config: &|_, _| None,
        };
        then(&around, &serde_json::from_value(container).unwrap())
    }

    fn planned(container: Value) -> Result<ContainerPlan, FieldError> {
        surroundings(container, |around, container| plan("spec.containers[0]", container, around))
    }

    #[test]
    fn command_and_arguments_follow_kubernetes() {
        for (own, want) in [
            (serde_json::json!({}), "/usr/bin/entry one"),
            (serde_json::json!({"args": ["two"]}), "/usr/bin/entry two"),
            (serde_json::json!({"command": ["own"]}), "/usr/bin/own"),
            (serde_json::json!({"command": ["own"], "args": ["$(A)"]}), "/usr/bin/own image"),
        ] {
            let mut container = serde_json::json!({"name": "c", "image": "i:1"});
            container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            assert_eq!(planned(container).unwrap().argv.join(" "), want);
        }
    }

    #[test]
    fn environment() {
        let from = |source: Value| serde_json::json!({"name": "X", "valueFrom": source});
        let plan = planned(serde_json::json!({"name": "c", "image": "i", "env": [
            {"name": "A", "value": "own"},
            {"name": "C", "value": "$(A)-$(B)"},
            from(serde_json::json!({"fieldRef": {"fieldPath": "status.podIP"}})),
        ]}));
        let env = plan.unwrap().env;
        let get = |name: &str| env.get(name).map(String::as_str);
        assert_eq!(get("C"), Some("own-b"));
        assert_eq!(get("X"), Some("10.65.0.2"));
        assert_eq!(get("PATH"), Some(PATH));
        for (source, want) in [
            (serde_json::json!({"fieldRef": {"fieldPath": "metadata.labels['app']"}}), Ok("x")),
            (serde_json::json!({"fieldRef": {"fieldPath": "metadata.uid"}}), Err("metadata.uid")),
            (serde_json::json!({"secretKeyRef": {"name": "s", "key": "k"}}), Ok("v")),
            (serde_json::json!({"secretKeyRef": {"name": "s", "key": "no"}}), Err("no key `no`")),
            (
                serde_json::json!({"configMapKeyRef": {"name": "c", "key": "k"}}),
                Err("a ConfigMap `c`"),
            ),
            (serde_json::json!({"resourceFieldRef": {}}), Err("supported")),
        ] {
            let container = serde_json::json!({"name": "c", "image": "i", "env": [from(source)]});
            match (planned(container), want) {
                (Ok(plan), Ok(want)) => assert_eq!(plan.env["X"], want),
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{error}");
                    assert!(error.field.ends_with("env.X"), "{error}");
                }
                (got, want) => panic!("{got:?} {want:?}"),
            }
        }
    }

    #[test]
    fn mistakes_name_container_and_image() {
        let error = planned(serde_json::json!({"name": "c", "image": "other"})).unwrap_err();
        assert_eq!(error.field, "spec.containers[0].image");
        assert!(error.reason.contains("`c`") && error.reason.contains("`other`"), "{error}");
        assert_eq!(error.hint.as_deref(), Some("the image map has i"));
        let error = planned(serde_json::json!({"name": "c", "image": "i", "command": ["missing"]}))
            .unwrap_err();
        assert!(error.reason.contains("`missing`"), "{error}");
    }
}
