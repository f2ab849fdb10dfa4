//! Which kinds a server has, and finding one by what people call it.

use futures_util::future::try_join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::client::APIGroupDiscoveryList;
use serde_json::Value;

use super::call::Call;
use super::{Error, Server};

/// Discovery in two answers instead of one for each group; who does not know it sends the list of
/// groups instead.
const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// A kind, and where its objects are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKind {
    /// Such as `projectcalico.org`; empty for Kubernetes' core.
    pub group: String,
    /// Such as `v3`.
    pub version: String,
    /// Such as `NetworkPolicy`.
    pub kind: String,
    /// Such as `networkpolicies`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl ApiKind {
    /// `group/version`, or the version alone for Kubernetes' core: what a document has.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `NetworkPolicy.projectcalico.org`: for messages.
    pub fn name(&self) -> String {
        match self.group.as_str() {
            "" => self.kind.clone(),
            group => format!("{}.{group}", self.kind),
        }
    }
}

/// A text among an object's metadata, such as its `name`; empty if it has none.
pub fn metadata<'a>(object: &'a Value, field: &str) -> &'a str {
    let found = object.get("metadata").and_then(|metadata| metadata.get(field));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// A kind as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The kind.
    pub kind: ApiKind,
    /// Such as `networkpolicy`.
    pub singular: String,
    /// Such as `netpol`.
    pub short_names: Vec<String>,
    /// Groups of kinds it belongs to, such as `all`.
    pub categories: Vec<String>,
    /// What can be done with it, such as `list`.
    pub verbs: Vec<String>,
    /// Parts that are read and written by themselves, such as `status`.
    pub parts: Vec<String>,
}

/// The kinds of a server, in its order: a group's preferred version comes first.
#[derive(Debug, Clone, Default)]
pub struct Kinds(Vec<Served>);

impl Kinds {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Served> {
        self.0.iter()
    }

    /// Finds a kind by its kind, plural, singular or short name, in any case, alone or followed by
    /// its group (`netpol.projectcalico.org`), or version and group (`deployments.v1.apps`). If
    /// several are called so, the first one: short names give way to the others.
    pub fn find(&self, name: &str) -> Option<&Served> {
        let name = name.to_lowercase();
        let (word, place) = name.split_once('.').unwrap_or((&name, ""));
        let mut there = self.0.iter().filter(|served| is_in(&served.kind, place));
        let called = |served: &&Served| {
            let kind = &served.kind;
            [kind.kind.to_lowercase(), kind.plural.to_lowercase(), served.singular.to_lowercase()]
                .iter()
                .any(|own| own == word)
        };
        let short = |served: &&Served| served.short_names.iter().any(|own| own == word);
        there.clone().find(called).or_else(|| there.find(short))
    }

    /// The kind of a document, by its `apiVersion` and `kind`.
    pub fn of(&self, document: &Value) -> Option<&Served> {
        let text = |field| document.get(field).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        self.0.iter().find(|s| s.kind.kind == kind && s.kind.api_version() == version)
    }

    fn aggregated(mut self, list: APIGroupDiscoveryList) -> Kinds {
        for group in list.items {
            let name = group.metadata.and_then(|meta| meta.name).unwrap_or_default();
            for version in group.versions {
                let label = version.version.unwrap_or_default();
                for resource in version.resources {
                    let kind = ApiKind {
                        group: name.clone(),
                        version: label.clone(),
                        kind: resource.response_kind.and_then(|k| k.kind).unwrap_or_default(),
                        plural: resource.resource.unwrap_or_default(),
                        namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    };
                    let parts = resource.subresources.into_iter().filter_map(|s| s.subresource);
                    self.0.push(Served {
                        kind,
                        singular: resource.singular_resource.unwrap_or_default(),
                        short_names: resource.short_names,
                        categories: resource.categories,
                        verbs: resource.verbs,
                        parts: parts.collect(),
                    });
                }
            }
        }
        self
    }

    /// One group's version in the older form, where parts stand beside the kinds they belong to.
    fn version(&mut self, list: APIResourceList) {
        let (group, version) = match list.group_version.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", list.group_version.as_str()),
        };
        let first = self.0.len();
        for resource in list.resources {
            if let Some((plural, part)) = resource.name.split_once('/') {
                let mut whole = self.0.iter_mut().skip(first);
                if let Some(served) = whole.find(|served| served.kind.plural == plural) {
                    served.parts.push(part.to_owned());
                }
                continue;
            }
            self.0.push(Served {
                kind: ApiKind {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    kind: resource.kind,
                    plural: resource.name,
                    namespaced: resource.namespaced,
                },
                singular: resource.singular_name,
                short_names: resource.short_names.unwrap_or_default(),
                categories: resource.categories.unwrap_or_default(),
                verbs: resource.verbs,
                parts: Vec::new(),
            });
        }
    }
}

/// Whether `place`, in lower case, is empty, the kind's group, or its version and group.
fn is_in(kind: &ApiKind, place: &str) -> bool {
    let group = kind.group.to_lowercase();
    place.is_empty()
        || place == group
        || place.split_once('.').is_some_and(|(v, g)| v == kind.version && g == group)
        || (group.is_empty() && place == kind.version)
}

impl Server {
    /// Which kinds there are.
    ///
    /// # Errors
    /// As for every request.
    pub async fn kinds(&self) -> Result<Kinds, Error> {
        let core = self.discover("/api").await?;
        let groups = self.discover("/apis").await?;
        match (read(&core), read(&groups)) {
            (Some(core), Some(groups)) => Ok(Kinds::default().aggregated(core).aggregated(groups)),
            _ => self.kinds_one_by_one(&groups).await,
        }
    }

    async fn discover(&self, path: &str) -> Result<Value, Error> {
        self.call(Call::get(path.to_owned()).accept(AGGREGATED)).await
    }

    async fn kinds_one_by_one(&self, groups: &Value) -> Result<Kinds, Error> {
        let groups: APIGroupList = self.understood(groups.clone())?;
        let versions = groups.groups.into_iter().flat_map(|group| {
            let preferred = group.preferred_version.map(|v| v.group_version).unwrap_or_default();
            let mut versions: Vec<_> =
                group.versions.into_iter().map(|v| v.group_version).collect();
            versions.sort_by_key(|version| *version != preferred);
            versions.into_iter().map(|version| format!("/apis/{version}"))
        });
        let paths = std::iter::once("/api/v1".to_owned()).chain(versions);
        let lists = try_join_all(paths.map(|path| self.call(Call::get(path)))).await?;
        let mut kinds = Kinds::default();
        for list in lists {
            kinds.version(self.understood(list)?);
        }
        Ok(kinds)
    }
}

fn read(answer: &Value) -> Option<APIGroupDiscoveryList> {
    let kind = answer.get("kind").and_then(Value::as_str);
    let aggregated = kind == Some("APIGroupDiscoveryList");
    aggregated.then(|| serde_json::from_value(answer.clone()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(kind: &str, plural: &str, short: &[&str]) -> Value {
        json!({
            "name": plural, "kind": kind, "singularName": kind.to_lowercase(), "namespaced": true,
            "verbs": ["list"], "shortNames": short,
        })
    }

    fn kinds() -> Kinds {
        let mut kinds = Kinds::default();
        let lists = [
            (
                "v1",
                vec![
                    resource("Pod", "pods", &["po"]),
                    json!({
                        "name": "pods/log", "kind": "Pod", "singularName": "", "namespaced": true, "verbs": [],
                    }),
                ],
            ),
            (
                "networking.k8s.io/v1",
                vec![resource("NetworkPolicy", "networkpolicies", &["netpol"])],
            ),
            (
                "projectcalico.org/v3",
                vec![
                    resource("NetworkPolicy", "networkpolicies", &["cnp", "caliconetworkpolicy"]),
                    resource("Tier", "tiers", &["po"]),
                ],
            ),
            ("apps/v1", vec![resource("Deployment", "deployments", &["deploy"])]),
        ];
        for (version, resources) in lists {
            let list = json!({"groupVersion": version, "resources": resources});
            kinds.version(serde_json::from_value(list).unwrap());
        }
        kinds
    }

    #[test]
    fn a_kind_is_found_by_all_its_names() {
        let kinds = kinds();
        let found = |name| kinds.find(name).map(|s| (s.kind.group.as_str(), s.kind.kind.as_str()));
        for (name, want) in [
            ("pods", ("", "Pod")),
            ("PO", ("", "Pod")),
            ("pods.v1", ("", "Pod")),
            ("networkpolicy", ("networking.k8s.io", "NetworkPolicy")),
            ("NetworkPolicies.projectcalico.org", ("projectcalico.org", "NetworkPolicy")),
            ("cnp", ("projectcalico.org", "NetworkPolicy")),
            ("deployments.v1.apps", ("apps", "Deployment")),
            ("tier", ("projectcalico.org", "Tier")),
        ] {
            assert_eq!(found(name), Some(want), "{name}");
        }
        for name in ["", "pod.apps", "deployments.v2.apps", "nothing", "."] {
            assert_eq!(found(name), None, "{name}");
        }
        assert_eq!(kinds.find("pod").unwrap().parts, ["log"]);
        let document = json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy"});
        assert_eq!(kinds.of(&document).unwrap().kind.group, "projectcalico.org");
        assert!(kinds.of(&json!({"kind": "Pod"})).is_none());
    }
}
