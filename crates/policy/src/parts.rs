//! What a cluster is made of, for those who turn it into something else.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::{Account, Cluster, Labels, NetworkSet, Profile};

impl Cluster {
    /// All network sets.
    pub fn network_sets(&self) -> impl Iterator<Item = &Arc<NetworkSet>> {
        self.sets.iter()
    }

    /// Whether an address of a network set could not be read, so that any may be in it.
    pub fn is_unreadable(&self, set: &Arc<NetworkSet>) -> bool {
        self.unreadable_sets.iter().any(|unreadable| Arc::ptr_eq(unreadable, set))
    }

    /// All profiles, by name, those of namespaces and service accounts included.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.profiles.values()
    }

    /// The labels of all namespaces as selectors see them, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = (&SmolStr, &Labels)> {
        self.namespaces.iter()
    }

    /// The labels of all service accounts as selectors see them.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, &Labels)> {
        self.accounts.iter()
    }
}
