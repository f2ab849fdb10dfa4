//! What a selector is matched against.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A map from label to value.
///
/// Implemented for the standard maps and for lists of pairs, in which the first pair with a label
/// counts.
pub trait Labels {
    /// The value of `label`, or `None` if the label is not there.
    fn get(&self, label: &str) -> Option<&str>;
}

impl<K: Borrow<str> + Ord, V: AsRef<str>> Labels for BTreeMap<K, V> {
    fn get(&self, label: &str) -> Option<&str> {
        self.get(label).map(AsRef::as_ref)
    }
}

impl<K: Borrow<str> + Eq + Hash, V: AsRef<str>, S: BuildHasher> Labels for HashMap<K, V, S> {
    fn get(&self, label: &str) -> Option<&str> {
        self.get(label).map(AsRef::as_ref)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for [(K, V)] {
    fn get(&self, label: &str) -> Option<&str> {
        self.iter().find(|(key, _)| key.as_ref() == label).map(|(_, value)| value.as_ref())
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> Labels for [(K, V); N] {
    fn get(&self, label: &str) -> Option<&str> {
        Labels::get(self.as_slice(), label)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for Vec<(K, V)> {
    fn get(&self, label: &str) -> Option<&str> {
        Labels::get(self.as_slice(), label)
    }
}

impl<T: Labels + ?Sized> Labels for &T {
    fn get(&self, label: &str) -> Option<&str> {
        (**self).get(label)
    }
}

impl<T: Labels + ?Sized> Labels for Box<T> {
    fn get(&self, label: &str) -> Option<&str> {
        (**self).get(label)
    }
}

impl<T: Labels + ?Sized> Labels for Arc<T> {
    fn get(&self, label: &str) -> Option<&str> {
        (**self).get(label)
    }
}
