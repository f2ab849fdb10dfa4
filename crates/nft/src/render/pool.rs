//! Values of which there are many that are the same, kept once.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// How many values are kept without looking whether they are still used.
const FEW: usize = 1_024;

/// Shares equal values. Those that nobody uses any more are forgotten now and then.
#[derive(Debug)]
pub(super) struct Pool<T> {
    values: HashSet<Arc<T>>,
    /// With how many values it is looked which of them are used.
    limit: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool { values: HashSet::new(), limit: FEW }
    }
}

impl<T: Eq + Hash> Pool<T> {
    /// The value, shared with all others that are the same.
    pub(super) fn share(&mut self, value: impl Into<Arc<T>> + Borrow<T>) -> Arc<T> {
        if let Some(shared) = self.values.get(value.borrow()) {
            return Arc::clone(shared);
        }
        if self.values.len() >= self.limit {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.limit = FEW.max(2 * self.values.len());
        }
        let shared = value.into();
        self.values.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let mut pool = Pool::default();
        let kept: Vec<_> = (0..10).map(|n| pool.share(n)).collect();
        assert!(kept.iter().all(|value| Arc::ptr_eq(value, &pool.share(**value))));
        for n in 0..10 * FEW {
            pool.share(n);
        }
        assert!(pool.values.len() <= FEW, "{}", pool.values.len());
        assert!(kept.iter().all(|value| Arc::ptr_eq(value, &pool.share(**value))));
    }
}
