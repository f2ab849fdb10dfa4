//! Where a request goes.

use std::sync::Arc;

use crate::kinds::{Kind, Registry};
use crate::query::decoded;
use crate::status::Status;

/// An object, or the objects, that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    /// Absent for cluster-wide kinds, and for lists of all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    /// Whether only a pod's node can answer.
    pub(crate) fn is_of_node(&self) -> bool {
        const PARTS: [&str; 4] = ["log", "exec", "attach", "portforward"];
        self.kind.is("", "Pod") && self.subresource.as_deref().is_some_and(|p| PARTS.contains(&p))
    }
}

/// A path below `/api` or `/apis`.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources(String, String),
    /// Below that.
    Target(Target),
}

impl Path {
    /// Reads a path. Nothing is said of whether there is such an object.
    pub(crate) fn parse(path: &str, registry: &Registry) -> Result<Path, Status> {
        let parts =
            path.trim_matches('/').split('/').map(decoded).collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["api"] => Ok(Path::CoreVersions),
            ["apis"] => Ok(Path::Groups),
            ["apis", group] => Ok(Path::Group((*group).to_owned())),
            ["api", version] => Ok(Path::Resources(String::new(), (*version).to_owned())),
            ["apis", group, version] => {
                Ok(Path::Resources((*group).to_owned(), (*version).to_owned()))
            }
            ["api", version, rest @ ..] => target("", version, rest, registry),
            ["apis", group, version, rest @ ..] => target(group, version, rest, registry),
            _ => Err(Status::no_such_path()),
        }
    }
}

fn target(group: &str, version: &str, rest: &[&str], registry: &Registry) -> Result<Path, Status> {
    let core = group.is_empty();
    let (namespace, rest) = match rest {
        // A namespace is an object as well; these are its own parts.
        ["namespaces", _, "status" | "finalize"] if core => (None, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, subresource] => (plural, Some(*name), Some(*subresource)),
        _ => return Err(Status::no_such_path()),
    };
    let kind = registry.find(group, version, plural).ok_or_else(Status::no_such_path)?.clone();
    // One object of a namespaced kind is in a namespace; nothing else is.
    if kind.namespaced != namespace.is_some() && (namespace.is_some() || name.is_some()) {
        return Err(Status::no_such_path());
    }
    let is_no_name = |one: Option<&str>| one.is_some_and(|one| ["", ".", ".."].contains(&one));
    if is_no_name(namespace) || is_no_name(name) {
        return Err(Status::no_such_path());
    }
    Ok(Path::Target(Target {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_objects() {
        let registry = Registry::built_in();
        let cases = [
            ("/api/v1/pods", "pods - - -"),
            ("/api/v1/namespaces/a/pods/b/status", "pods a b status"),
            ("/api/v1/namespaces/a", "namespaces - a -"),
            ("/api/v1/namespaces/a/status", "namespaces - a status"),
            ("/apis/projectcalico.org/v3/tiers/t", "tiers - t -"),
            ("/apis/apps/v1/namespaces/a%62/deployments", "deployments ab - -"),
        ];
        for (path, expected) in cases {
            let Ok(Path::Target(target)) = Path::parse(path, &registry) else { panic!("{path}") };
            let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            let found = [&target.namespace, &target.name, &target.subresource].map(or).join(" ");
            assert_eq!(format!("{} {found}", target.kind.plural), expected);
        }
        for bad in [
            "/",
            "/api/v2/pods",
            "/api/v1/pods/x",
            "/apis/projectcalico.org/v3/namespaces/a/tiers",
            "/api/v1/namespaces//pods",
            "/api/v1/namespaces/../secrets",
            "/api/v1/namespaces/%2e%2e/secrets",
            "/api/v1/namespaces/a/pods/b/c/d",
            "/api/v1/%ff",
        ] {
            let refused = Path::parse(bad, &registry).expect_err(bad);
            assert!(refused.code().is_client_error());
        }
    }
}
