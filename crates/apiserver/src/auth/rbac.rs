//! Roles, bindings, and what they allow: pure functions of what the store holds.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use super::caller::Caller;
use crate::object::text;

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<SmolStr>,
    pub(crate) groups: Vec<SmolStr>,
    pub(crate) resources: Vec<SmolStr>,
    /// Empty means every name.
    pub(crate) names: Vec<SmolStr>,
    /// Paths that are no resources.
    pub(crate) urls: Vec<SmolStr>,
}

/// What somebody wants to do to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Deed<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// With its subresource, as in `pods/exec`.
    pub(crate) resource: &'a str,
    /// Absent for cluster-wide kinds, and for all namespaces.
    pub(crate) namespace: Option<&'a str>,
    /// Empty for all names.
    pub(crate) name: &'a str,
}

fn words(value: &Value, field: &str) -> Vec<SmolStr> {
    let list = value.get(field).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(SmolStr::new).collect()
}

fn lists(list: &[SmolStr], word: &str) -> bool {
    list.iter().any(|one| one == "*" || one == word)
}

impl Rule {
    /// Reads a rule; what cannot be read grants nothing.
    pub(crate) fn read(value: &Value) -> Rule {
        Rule {
            verbs: words(value, "verbs"),
            groups: words(value, "apiGroups"),
            resources: words(value, "resources"),
            names: words(value, "resourceNames"),
            urls: words(value, "nonResourceURLs"),
        }
    }

    /// All resources.
    pub(crate) fn everything() -> Rule {
        let all = || vec![SmolStr::new_static("*")];
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() }
    }

    /// All paths that are no resources.
    pub(crate) fn every_path() -> Rule {
        let all = || vec![SmolStr::new_static("*")];
        Rule { verbs: all(), urls: all(), ..Rule::default() }
    }

    /// Whether it names a resource; `*/scale` names this part of each.
    fn names_resource(&self, resource: &str) -> bool {
        let part = resource.split_once('/').map(|(_, part)| part);
        self.resources.iter().any(|one| {
            one == "*"
                || one == resource
                || one.strip_prefix("*/").is_some_and(|one| Some(one) == part)
        })
    }

    /// Whether it allows something.
    pub(crate) fn allows(&self, deed: &Deed<'_>) -> bool {
        lists(&self.verbs, deed.verb)
            && lists(&self.groups, deed.group)
            && self.names_resource(deed.resource)
            && (self.names.is_empty() || self.names.iter().any(|name| name == deed.name))
    }

    /// Whether it allows a path that is no resource.
    pub(crate) fn allows_path(&self, verb: &str, path: &str) -> bool {
        lists(&self.verbs, verb)
            && self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => url == path,
            })
    }

    /// The smallest grants that it is made of.
    fn grants(&self) -> Vec<Rule> {
        let one = |word: &SmolStr| vec![word.clone()];
        let mut grants = Vec::new();
        for verb in &self.verbs {
            for url in &self.urls {
                grants.push(Rule { verbs: one(verb), urls: one(url), ..Rule::default() });
            }
            for group in &self.groups {
                for resource in &self.resources {
                    let (verbs, groups) = (one(verb), one(group));
                    let (resources, names) = (one(resource), self.names.clone());
                    grants.push(Rule { verbs, groups, resources, names, urls: Vec::new() });
                }
            }
        }
        grants
    }

    /// Whether everything that a smallest grant allows is allowed by this.
    fn covers(&self, grant: &Rule) -> bool {
        let all = |own: &[SmolStr], other: &[SmolStr]| other.iter().all(|word| lists(own, word));
        let begins = |own: &SmolStr, url: &SmolStr| {
            own == url || own.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
        };
        let named = |name: &SmolStr| self.names.contains(name);
        let names =
            self.names.is_empty() || (!grant.names.is_empty() && grant.names.iter().all(named));
        let covered = if grant.urls.is_empty() {
            let resource = |one: &SmolStr| self.names_resource(one);
            all(&self.groups, &grant.groups) && grant.resources.iter().all(resource) && names
        } else {
            grant.urls.iter().all(|url| self.urls.iter().any(|own| begins(own, url)))
        };
        covered && all(&self.verbs, &grant.verbs)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { verbs, groups, resources, names, urls } = self;
        if !urls.is_empty() {
            return write!(f, "verbs {verbs:?} nonResourceURLs {urls:?}");
        }
        write!(f, "verbs {verbs:?} apiGroups {groups:?} resources {resources:?}")?;
        if names.is_empty() { Ok(()) } else { write!(f, " resourceNames {names:?}") }
    }
}

/// What of some rules other rules do not allow.
pub(crate) fn beyond<'a>(held: &[&Rule], wanted: impl IntoIterator<Item = &'a Rule>) -> Vec<Rule> {
    let grants = wanted.into_iter().flat_map(Rule::grants);
    grants.filter(|grant| !held.iter().any(|own| own.covers(grant))).collect()
}

/// A role, by its namespace (none for cluster roles) and its name.
pub(crate) type Id = (Option<SmolStr>, SmolStr);

/// A role as it is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Role {
    rules: Vec<Rule>,
    labels: HashMap<SmolStr, SmolStr>,
    /// Label selectors of the cluster roles whose rules it has, too.
    aggregates: Vec<Value>,
}

impl Role {
    pub(crate) fn read(document: &Value) -> Role {
        let list = |pointer: &str| document.pointer(pointer).and_then(Value::as_array);
        let labels = document.pointer("/metadata/labels").and_then(Value::as_object);
        Role {
            rules: list("/rules").into_iter().flatten().map(Rule::read).collect(),
            labels: labels
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.into(), value.as_str()?.into())))
                .collect(),
            aggregates: list("/aggregationRule/clusterRoleSelectors").cloned().unwrap_or_default(),
        }
    }

    fn is_selected(&self, selector: &Value) -> bool {
        let label = |key: &str| self.labels.get(key).map(SmolStr::as_str);
        let pairs = selector.get("matchLabels").and_then(Value::as_object);
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        if pairs.is_none() && expressions.is_none() {
            return false; // Kubernetes takes all roles: too much to give for a slip
        }
        let pair = |(key, value): (&String, &Value)| label(key) == value.as_str();
        let expression = |one: &Value| {
            let (found, values) = (label(text(one, "/key")), words(one, "values"));
            let listed = found.is_some_and(|found| values.iter().any(|value| value == found));
            match text(one, "/operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        };
        pairs.into_iter().flatten().all(pair) && expressions.into_iter().flatten().all(expression)
    }
}

/// Who is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    User(SmolStr),
    Group(SmolStr),
}

/// A binding as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    /// Where it holds; everywhere if absent.
    namespace: Option<SmolStr>,
    pub(crate) role: Id,
    bound: Vec<Bound>,
}

impl Binding {
    pub(crate) fn read(document: &Value) -> Binding {
        let namespace = text(document, "/metadata/namespace");
        let namespace = Some(SmolStr::new(namespace)).filter(|one| !one.is_empty());
        let own = match text(document, "/roleRef/kind") {
            "ClusterRole" => None,
            // No role is in a namespace without a name.
            _ => Some(namespace.clone().unwrap_or_default()),
        };
        let subjects = document.get("subjects").and_then(Value::as_array).into_iter().flatten();
        let bound = |subject: &Value| {
            let name = text(subject, "/name");
            match text(subject, "/kind") {
                "User" => Some(Bound::User(name.into())),
                "Group" => Some(Bound::Group(name.into())),
                "ServiceAccount" => {
                    let given = text(subject, "/namespace");
                    let of = if given.is_empty() { namespace.as_deref()? } else { given };
                    Some(Bound::User(format!("system:serviceaccount:{of}:{name}").into()))
                }
                _ => None,
            }
        };
        let role = (own, text(document, "/roleRef/name").into());
        let bound = subjects.filter_map(bound).collect();
        Binding { namespace, role, bound }
    }
}

/// All roles and bindings at one moment.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    rules: HashMap<Id, Arc<[Rule]>>,
    bindings: HashMap<Bound, Vec<(Option<SmolStr>, Id)>>,
}

impl Roles {
    pub(crate) fn new<'a>(
        roles: &HashMap<Id, Arc<Role>>,
        bindings: impl IntoIterator<Item = &'a Binding>,
    ) -> Roles {
        let cluster: Vec<(&Id, &Arc<Role>)> =
            roles.iter().filter(|((namespace, _), _)| namespace.is_none()).collect();
        let rules = roles.iter().map(|(id, role)| {
            let mut found = Vec::new();
            gather(id, role, &cluster, &mut HashSet::new(), &mut found);
            (id.clone(), found.into())
        });
        let mut all = Roles { rules: rules.collect(), bindings: HashMap::new() };
        for binding in bindings {
            for bound in &binding.bound {
                let held = all.bindings.entry(bound.clone()).or_default();
                held.push((binding.namespace.clone(), binding.role.clone()));
            }
        }
        all
    }

    /// Whether there is a role.
    pub(crate) fn has(&self, id: &Id) -> bool {
        self.rules.contains_key(id)
    }

    /// The rules of a role; none if there is no such role.
    pub(crate) fn of_role(&self, id: &Id) -> &[Rule] {
        self.rules.get(id).map_or(&[], |rules| rules)
    }

    /// The rules that somebody holds: everywhere, and in a namespace if one is given.
    pub(crate) fn held(&self, caller: &Caller, namespace: Option<&str>) -> Vec<&Rule> {
        let user = std::iter::once(Bound::User(caller.user.clone()));
        let bound = user.chain(caller.groups.iter().cloned().map(Bound::Group));
        let bindings = bound.filter_map(|bound| self.bindings.get(&bound)).flatten();
        let here = bindings.filter(|(only, _)| only.is_none() || only.as_deref() == namespace);
        here.flat_map(|(_, role)| self.of_role(role)).collect()
    }

    /// Whether somebody may do something.
    pub(crate) fn allow(&self, caller: &Caller, deed: &Deed<'_>) -> bool {
        let held = || self.held(caller, deed.namespace);
        caller.is_master() || held().iter().any(|rule| rule.allows(deed))
    }

    /// Whether somebody may ask for a path that is no resource.
    pub(crate) fn allow_path(&self, caller: &Caller, verb: &str, path: &str) -> bool {
        let held = || self.held(caller, None);
        caller.is_master() || held().iter().any(|rule| rule.allows_path(verb, path))
    }
}

/// The rules of a role, and of the cluster roles that it selects, and of those that they select.
fn gather(
    id: &Id,
    role: &Role,
    cluster: &[(&Id, &Arc<Role>)],
    seen: &mut HashSet<Id>,
    found: &mut Vec<Rule>,
) {
    if !seen.insert(id.clone()) {
        return;
    }
    for rule in &role.rules {
        if !found.contains(rule) {
            found.push(rule.clone());
        }
    }
    for (other, one) in cluster {
        if role.aggregates.iter().any(|selector| one.is_selected(selector)) {
            gather(other, one, cluster, seen, found);
        }
    }
}

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;
