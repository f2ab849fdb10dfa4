//! Where objects lie in etcd: Calico's kinds where Calico keeps them, others beside them.

use std::sync::Arc;

use super::client::revision;
use super::wire::KeyValue;
use crate::{Key, Object, Resource, Scope};

/// The group whose kinds are Calico's.
const CALICO_GROUP: &str = "projectcalico.org";

/// A part of etcd's keys that is ours to read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// Calico's resources, as Calico's own programs have them.
    Calico,
    /// All other kinds.
    Own,
}

impl Root {
    /// Where a resource is.
    pub(super) fn of(resource: &Resource) -> Root {
        if resource.group() == CALICO_GROUP { Root::Calico } else { Root::Own }
    }

    /// What precedes the paths of its objects.
    fn before(self) -> &'static str {
        match self {
            Root::Calico => "/calico/resources/v3/",
            Root::Own => "/tortie/resources/",
        }
    }

    /// All its keys: the first, and the first that is not.
    pub(super) fn range(self) -> (Vec<u8>, Vec<u8>) {
        range(match self {
            Root::Calico => "/calico/resources/v3/projectcalico.org/".into(),
            Root::Own => self.before().into(),
        })
    }

    /// The object of a key, if it can be one: a name and a value, whatever they are. A name that
    /// is not UTF-8 is shown, but cannot be asked for.
    pub(super) fn object(self, found: &KeyValue) -> Option<Arc<Object>> {
        let path = found.key.strip_prefix(self.before().as_bytes())?;
        Some(Arc::new(Object {
            key: Key::from_path(&String::from_utf8_lossy(path))?,
            value: found.value.clone(),
            created: revision(found.create_revision),
            modified: revision(found.mod_revision),
        }))
    }
}

/// Etcd's key of an object.
pub(super) fn key(key: &Key) -> Vec<u8> {
    format!("{}{}", Root::of(key.resource()).before(), key.path()).into()
}

/// Etcd's keys of a scope: the first, and the first that is not.
pub(super) fn scope(scope: &Scope) -> (Vec<u8>, Vec<u8>) {
    range(format!("{}{}", Root::of(scope.resource()).before(), scope.prefix()))
}

/// All keys with a prefix. Prefixes end with `/`, which is followed by `0`.
fn range(prefix: String) -> (Vec<u8>, Vec<u8>) {
    let end = format!("{}0", prefix.strip_suffix('/').unwrap_or(&prefix));
    (prefix.into(), end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &'static [u8]) -> KeyValue {
        KeyValue { key: key.into(), value: "x".into(), create_revision: 3, mod_revision: 4 }
    }

    #[test]
    fn calicos_kinds_are_where_calico_has_them() {
        let cases = [
            (
                ("projectcalico.org", "networkpolicies", Some("ns")),
                "/calico/resources/v3/projectcalico.org/networkpolicies/ns/x",
            ),
            (
                ("projectcalico.org", "tiers", None),
                "/calico/resources/v3/projectcalico.org/tiers/x",
            ),
            (("", "pods", Some("ns")), "/tortie/resources/core/pods/ns/x"),
            (("", "namespaces", None), "/tortie/resources/core/namespaces/x"),
            (
                ("networking.k8s.io", "networkpolicies", Some("ns")),
                "/tortie/resources/networking.k8s.io/networkpolicies/ns/x",
            ),
        ];
        for ((group, plural, namespace), expected) in cases {
            let resource = Resource::new(group, plural).unwrap();
            let name = Key::new(resource.clone(), namespace, "x").unwrap();
            assert_eq!(String::from_utf8(key(&name)).unwrap(), expected);
            let object = Root::of(&resource).object(&found(expected.as_bytes())).unwrap();
            assert_eq!((&object.key, object.modified.get()), (&name, 4));
            let (start, end) = scope(&Scope::all(resource));
            assert!(start.as_slice() < expected.as_bytes() && expected.as_bytes() < &end[..]);
        }
    }

    #[test]
    fn nothing_in_place_is_passed_over() {
        let names: [(&[u8], &str); 4] = [
            (b"/calico/resources/v3/projectcalico.org/tiers/", ""),
            (b"/calico/resources/v3/projectcalico.org/tiers/a/", ""),
            (b"/calico/resources/v3/projectcalico.org/tiers/a/b/c", "b/c"),
            (b"/calico/resources/v3/projectcalico.org/tiers/\xff", "\u{fffd}"),
        ];
        for (key, name) in names {
            assert_eq!(Root::Calico.object(&found(key)).unwrap().key.name(), name);
        }
        assert!(
            Root::Calico.object(&found(b"/calico/resources/v3/projectcalico.org/tiers")).is_none()
        );
    }
}
