//! Labels of namespaces and service accounts, found by text.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::Labels;

use crate::State;

/// Namespaces with their service accounts.
#[derive(Debug, Default)]
pub(super) struct Identities(HashMap<SmolStr, Namespace>);

#[derive(Debug, Default)]
struct Namespace {
    labels: Option<Arc<Labels>>,
    accounts: HashMap<SmolStr, Arc<Labels>>,
}

impl Identities {
    pub(super) fn new(state: &State) -> Identities {
        let mut namespaces: HashMap<SmolStr, Namespace> = HashMap::new();
        for (name, labels) in &state.namespaces {
            namespaces.entry(name.clone()).or_default().labels = Some(Arc::clone(labels));
        }
        for (account, labels) in &state.accounts {
            let namespace = namespaces.entry(account.namespace.clone()).or_default();
            namespace.accounts.insert(account.name.clone(), Arc::clone(labels));
        }
        Identities(namespaces)
    }

    /// Whether it says the same as a state.
    pub(super) fn is_of(&self, state: &State) -> bool {
        let accounts: usize = self.0.values().map(|n| n.accounts.len()).sum();
        let namespaces = self.0.values().filter(|n| n.labels.is_some()).count();
        let same =
            |ours: Option<&Arc<Labels>>, labels| ours.is_some_and(|o| Arc::ptr_eq(o, labels));
        accounts == state.accounts.len()
            && namespaces == state.namespaces.len()
            && state.namespaces.iter().all(|(name, labels)| same(self.namespace(name), labels))
            && state
                .accounts
                .iter()
                .all(|(a, labels)| same(self.account(&a.namespace, &a.name), labels))
    }

    /// The labels of a namespace, if it is known.
    pub(super) fn namespace(&self, name: &str) -> Option<&Arc<Labels>> {
        self.0.get(name)?.labels.as_ref()
    }

    /// The labels of a service account, if it is known.
    pub(super) fn account(&self, namespace: &str, name: &str) -> Option<&Arc<Labels>> {
        self.0.get(namespace)?.accounts.get(name)
    }
}
