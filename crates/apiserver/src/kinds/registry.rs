//! All kinds that are served at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use super::{Kind, built_in, from_definition};
use crate::standing;

/// The kinds, immutable; a new definition makes a new registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    /// Groups in the order of their first kind, kinds in the order of the tables.
    kinds: Vec<Arc<Kind>>,
    by_path: HashMap<(SmolStr, SmolStr, SmolStr), Arc<Kind>>,
}

impl Registry {
    /// The kinds that are always there.
    pub(crate) fn built_in() -> Registry {
        let mut registry = Registry::default();
        built_in::all().for_each(|kind| registry.add(kind));
        let definitions = tortie_model::crd::all();
        let kinds = definitions.iter().filter_map(|crd| from_definition(crd).ok()).flatten();
        for mut kind in kinds {
            standing::add_column(&mut kind);
            registry.add(kind);
        }
        registry
    }

    /// These, and the kinds of definitions. What is there already stays as it is.
    pub(crate) fn with_definitions<'a>(
        &self,
        definitions: impl IntoIterator<Item = &'a Value>,
    ) -> Registry {
        let mut registry = self.clone();
        let kinds = definitions.into_iter().filter_map(|crd| from_definition(crd).ok()).flatten();
        // Versions come and go, and what was written in one is shown in another.
        kinds.for_each(|kind| registry.add(Kind { many_versions: true, ..kind }));
        registry
    }

    fn add(&mut self, kind: Kind) {
        let path = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        if !self.by_path.contains_key(&path) {
            let kind = Arc::new(kind);
            self.kinds.push(kind.clone());
            self.by_path.insert(path, kind);
        }
    }

    /// The kind at a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_path.get(&(group.into(), version.into(), plural.into()))
    }

    /// The kind that objects name.
    pub(crate) fn of_object(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is = |one: &&Arc<Kind>| one.is(group, kind) && one.version == version;
        self.kinds.iter().find(is)
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// Groups with their versions, those that clients prefer first.
    pub(crate) fn groups(&self) -> Vec<(SmolStr, Vec<SmolStr>)> {
        let mut groups: Vec<(SmolStr, Vec<SmolStr>)> = Vec::new();
        for kind in &self.kinds {
            let versions = match groups.iter_mut().find(|(group, _)| *group == kind.group) {
                Some((_, versions)) => versions,
                None => {
                    groups.push((kind.group.clone(), Vec::new()));
                    match groups.last_mut() {
                        Some((_, versions)) => versions,
                        None => continue,
                    }
                }
            };
            if !versions.contains(&kind.version) {
                versions.push(kind.version.clone());
            }
        }
        for (_, versions) in &mut groups {
            versions.sort_by_key(|version| std::cmp::Reverse(rank(version)));
        }
        groups
    }

    /// The kinds of a group version.
    pub(crate) fn of_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Kind>> {
        self.kinds.iter().filter(move |kind| kind.group == group && kind.version == version)
    }

    /// One kind for each resource that is stored.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let mut seen = std::collections::HashSet::new();
        let stored = self.kinds.iter().filter(|kind| kind.verbs == super::Verbs::All);
        stored.filter(move |kind| seen.insert(kind.resource.clone()))
    }
}

/// How stable a version is, and how new: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`.
fn rank(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse().unwrap_or(0);
    let rest = version.strip_prefix('v').unwrap_or_default();
    for (stability, word) in [(1, "alpha"), (2, "beta")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return (stability, number(major), number(minor));
        }
    }
    (if rest.is_empty() { 0 } else { 3 }, number(rest), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_within_a_group() {
        let registry = Registry::built_in();
        assert!(registry.find("projectcalico.org", "v3", "globalnetworkpolicies").is_some());
        assert!(registry.of_object("apps/v1", "Deployment").is_some());
        for kind in registry.kinds() {
            for other in registry.kinds() {
                let same = kind.group == other.group && kind.version == other.version;
                let clash = kind.plural == other.plural
                    || kind.kind == other.kind
                    || kind.short.iter().any(|short| other.short.contains(short));
                assert!(!same || !clash || kind.kind == other.kind, "{kind:?} {other:?}");
            }
        }
    }
}
