//! Kinds as data: from these tables come routes, discovery, OpenAPI and Tables.

mod built_in;
mod cells;
mod defined;
mod registry;

use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;
use tortie_store::Resource;

pub(crate) use cells::age;
pub(crate) use defined::from_definition;
pub(crate) use registry::Registry;

/// How a cell of `kubectl get` is found.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// At a JSONPath, without the braces.
    Path(SmolStr),
    /// Worked out.
    Of(fn(&Value, OffsetDateTime) -> Value),
}

/// A column of `kubectl get`.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: SmolStr,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub(crate) kind: SmolStr,
    pub(crate) description: SmolStr,
    /// Above 0, only `-o wide` shows it.
    pub(crate) priority: i64,
    pub(crate) cell: Cell,
}

/// Which verbs a resource has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbs {
    /// It is stored.
    All,
    /// A question in the shape of a resource: it is answered and forgotten.
    Create,
}

impl Verbs {
    /// As discovery says them.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Verbs::All => {
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            }
            Verbs::Create => &["create"],
        }
    }
}

/// One version of one resource.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: SmolStr,
    pub(crate) version: SmolStr,
    pub(crate) plural: SmolStr,
    pub(crate) singular: SmolStr,
    pub(crate) kind: SmolStr,
    pub(crate) list_kind: SmolStr,
    pub(crate) short: Vec<SmolStr>,
    pub(crate) categories: Vec<SmolStr>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Verbs,
    /// Whether `status` is written apart.
    pub(crate) status: bool,
    /// Whether there is a `scale`.
    pub(crate) scale: bool,
    pub(crate) columns: Vec<Column>,
    /// Fields by which lists may be asked for, beside name and namespace.
    pub(crate) selectable: Vec<SmolStr>,
    /// What `explain` says of it.
    pub(crate) schema: Option<Arc<Value>>,
    /// Whether Kubernetes has it built in, so that strategic merge patches have a meaning.
    pub(crate) built_in: bool,
    /// Whether the same objects are, or were, served in other versions, too.
    pub(crate) many_versions: bool,
    /// Where its objects are.
    pub(crate) resource: Resource,
}

impl Kind {
    /// As objects say it: `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// As messages say it: `pods`, `tiers.projectcalico.org`.
    pub(crate) fn qualified(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// As messages say it: `Pod`, `Tier.projectcalico.org`.
    pub(crate) fn qualified_kind(&self) -> String {
        qualified(&self.kind, &self.group)
    }

    /// Whether it is this kind of this group.
    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Its verbs, as discovery says them. Namespaces go one by one.
    pub(crate) fn verbs(&self) -> impl Iterator<Item = &'static str> {
        let one_by_one = self.is("", "Namespace");
        let names = self.verbs.names().iter().copied();
        names.filter(move |verb| !(one_by_one && *verb == "deletecollection"))
    }

    /// Its subresources, with their kind, group version and verbs.
    pub(crate) fn subresources(&self) -> Vec<Subresource> {
        let mut all = Vec::new();
        let own = |name| Subresource {
            name,
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            verbs: &["get", "patch", "update"],
        };
        if self.status {
            all.push(own("status"));
        }
        if self.scale {
            let (group, version, kind) = ("autoscaling".into(), "v1".into(), "Scale".into());
            all.push(Subresource { group, version, kind, ..own("scale") });
        }
        if self.is("", "Pod") {
            all.push(Subresource { verbs: &["get"], ..own("log") });
            all.push(Subresource {
                kind: "PodExecOptions".into(),
                verbs: &["create", "get"],
                ..own("exec")
            });
            let (group, kind) = ("policy".into(), "Eviction".into());
            all.push(Subresource { group, kind, verbs: &["create"], ..own("eviction") });
        }
        if self.is("", "ServiceAccount") {
            let (group, kind) = ("authentication.k8s.io".into(), "TokenRequest".into());
            all.push(Subresource { group, kind, verbs: &["create"], ..own("token") });
        }
        all
    }
}

/// A part of a resource with a path of its own.
#[derive(Debug)]
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    pub(crate) group: SmolStr,
    pub(crate) version: SmolStr,
    pub(crate) kind: SmolStr,
    pub(crate) verbs: &'static [&'static str],
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// `group/version`, or the version alone for the core group.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
