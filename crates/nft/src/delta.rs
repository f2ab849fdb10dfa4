//! What changed of a ruleset.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::Element;

/// The way from one ruleset to the next, whose contents it refers to by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Sets that are new, with all their elements.
    pub new_sets: BTreeSet<SmolStr>,
    /// Sets that were there and are still: elements that joined and left.
    pub elements: BTreeMap<SmolStr, Elements>,
    /// Sets that are gone.
    pub gone_sets: BTreeSet<SmolStr>,
    /// Chains that are new, or whose rules are others.
    pub chains: BTreeSet<SmolStr>,
    /// Chains that are gone.
    pub gone_chains: BTreeSet<SmolStr>,
}

/// Elements that joined and left a set, none in both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements {
    /// Not there before.
    pub added: BTreeSet<Element>,
    /// There before.
    pub removed: BTreeSet<Element>,
}

impl Delta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }
}
