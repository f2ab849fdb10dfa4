//! What objects are called: the resource they belong to, their namespace, their name.

use std::fmt;

use smol_str::SmolStr;

/// How the core group, whose name is empty, is written in paths.
const CORE: &str = "core";

/// The longest segment of a key in bytes: that of a Kubernetes name.
const MAX_SEGMENT: usize = 253;

/// A part of a key that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} `{}` {reason}", text.escape_debug())]
pub struct InvalidKey {
    part: &'static str,
    text: SmolStr,
    reason: &'static str,
}

fn segment(part: &'static str, text: &str) -> Result<SmolStr, InvalidKey> {
    let reason = if text.is_empty() {
        "is empty"
    } else if text.len() > MAX_SEGMENT {
        "is longer than 253 bytes"
    } else if text.contains(|c: char| c == '/' || c.is_control()) {
        "contains `/` or a control character"
    } else {
        return Ok(text.into());
    };
    Err(InvalidKey { part, text: text.chars().take(MAX_SEGMENT).collect(), reason })
}

/// A kind of objects by its API group and plural, such as `apps/deployments`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    group: SmolStr,
    plural: SmolStr,
}

impl Resource {
    /// A resource; the core group's name is empty.
    ///
    /// # Errors
    /// When a part is not one segment of a path, or the group is called `core`.
    pub fn new(group: &str, plural: &str) -> Result<Resource, InvalidKey> {
        let plural = segment("plural", plural)?;
        let group = match group {
            "" => SmolStr::default(),
            CORE => {
                let reason = "is written as the empty string";
                return Err(InvalidKey { part: "group", text: CORE.into(), reason });
            }
            _ => segment("group", group)?,
        };
        Ok(Resource { group, plural })
    }

    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The plural under which the API serves it.
    pub fn plural(&self) -> &str {
        &self.plural
    }
}

/// As in paths: `apps/deployments`, `core/pods`.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { CORE } else { &self.group };
        write!(f, "{group}/{}", self.plural)
    }
}

/// The name of one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    resource: Resource,
    namespace: Option<SmolStr>,
    name: SmolStr,
}

impl Key {
    /// A key; objects of the cluster have no namespace.
    ///
    /// # Errors
    /// When the namespace or the name is not one segment of a path.
    pub fn new(resource: Resource, namespace: Option<&str>, name: &str) -> Result<Key, InvalidKey> {
        let namespace = namespace.map(|text| segment("namespace", text)).transpose()?;
        Ok(Key { resource, namespace, name: segment("name", name)? })
    }

    /// The resource that the object belongs to.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The namespace, if the object is in one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The name. What others wrote to etcd may have any, an empty one or one with `/` included.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the object is, in every engine; lists are in the byte order of paths.
    pub(crate) fn path(&self) -> String {
        self.to_string()
    }

    /// The key of a path: what follows the resource is a name, or a namespace and a name. Any
    /// remainder is taken, so that nothing that lies in a store is passed over.
    pub(crate) fn from_path(path: &str) -> Option<Key> {
        let mut parts = path.splitn(4, '/');
        let (group, plural, first) = (parts.next()?, parts.next()?, parts.next()?);
        let group = match group {
            "" => return None,
            CORE => "",
            group => group,
        };
        let resource = Resource { group: group.into(), plural: plural.into() };
        let (namespace, name) = match parts.next() {
            Some(name) => (Some(first.into()), name),
            None => (None, first),
        };
        Some(Key { resource, namespace, name: name.into() })
    }
}

/// As a path: `core/pods/default/web`, `core/namespaces/default`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.resource, self.name),
            None => write!(f, "{}/{}", self.resource, self.name),
        }
    }
}

/// What is listed or watched: a resource, or its objects in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    resource: Resource,
    namespace: Option<SmolStr>,
}

impl Scope {
    /// All objects of a resource.
    pub fn all(resource: Resource) -> Scope {
        Scope { resource, namespace: None }
    }

    /// The objects of a resource in a namespace.
    ///
    /// # Errors
    /// When the namespace is not one segment of a path.
    pub fn namespaced(resource: Resource, namespace: &str) -> Result<Scope, InvalidKey> {
        Ok(Scope { resource, namespace: Some(segment("namespace", namespace)?) })
    }

    /// The resource.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Whether an object is in it.
    pub fn contains(&self, key: &Key) -> bool {
        let namespace = self.namespace.is_none() || self.namespace == key.namespace;
        namespace && self.resource == key.resource
    }

    /// What the paths of its objects begin with.
    pub(crate) fn prefix(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/{namespace}/", self.resource),
            None => format!("{}/", self.resource),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, plural: &str) -> Resource {
        Resource::new(group, plural).unwrap()
    }

    #[test]
    fn paths_lead_back_to_keys() {
        let pods = resource("", "pods");
        let cases = [
            (Key::new(pods.clone(), Some("default"), "web").unwrap(), "core/pods/default/web"),
            (Key::new(resource("", "nodes"), None, "n1").unwrap(), "core/nodes/n1"),
            (Key::new(resource("a.b", "cs"), None, "d").unwrap(), "a.b/cs/d"),
        ];
        for (key, path) in cases {
            assert_eq!(key.path(), path);
            assert_eq!(Key::from_path(path), Some(key));
        }
        for strange in ["a/b/", "a/b/c/", "a/b//", "a/b/c/d/e"] {
            assert_eq!(Key::from_path(strange).unwrap().path(), strange);
        }
        assert_eq!((Key::from_path("a/b"), Key::from_path("//x")), (None, None));
    }

    #[test]
    fn what_is_no_segment_is_refused() {
        let pods = || resource("", "pods");
        let cases = [
            (
                Resource::new("core", "pods").map(|_| ()),
                "group `core` is written as the empty string",
            ),
            (Resource::new("", "").map(|_| ()), "plural `` is empty"),
            (Key::new(pods(), Some(""), "x").map(|_| ()), "namespace `` is empty"),
            (
                Key::new(pods(), None, "a/b").map(|_| ()),
                "name `a/b` contains `/` or a control character",
            ),
            (
                Key::new(pods(), None, "a\0").map(|_| ()),
                "name `a\\0` contains `/` or a control character",
            ),
            (
                Scope::namespaced(pods(), "\n").map(|_| ()),
                "namespace `\\n` contains `/` or a control character",
            ),
        ];
        for (result, message) in cases {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        assert!(
            Key::new(pods(), None, &"x".repeat(254)).is_err()
                && Key::new(pods(), None, &"x".repeat(253)).is_ok()
        );
    }

    #[test]
    fn scopes_contain_what_their_prefix_begins() {
        let pods = resource("", "pods");
        let web = Key::new(pods.clone(), Some("default"), "web").unwrap();
        let scopes = [
            (Scope::all(pods.clone()), true),
            (Scope::namespaced(pods.clone(), "default").unwrap(), true),
            (Scope::namespaced(pods, "def").unwrap(), false),
            (Scope::all(resource("", "pod")), false),
        ];
        for (scope, within) in scopes {
            assert_eq!(scope.contains(&web), within, "{scope:?}");
            assert_eq!(web.path().starts_with(&scope.prefix()), within, "{scope:?}");
        }
    }
}
