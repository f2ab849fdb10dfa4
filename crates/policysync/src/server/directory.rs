//! A map that many readers follow, each at its own pace, without anything being kept for them: an
//! entry knows when it last changed, and a reader how far it has read.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Removals that are remembered. Who has missed older ones starts over.
const MAX_GONE: usize = 1 << 16;

/// The map. Versions grow with every change of it.
#[derive(Debug)]
pub(super) struct Directory<K, V> {
    entries: HashMap<K, (V, u64)>,
    /// Keys by the version of their last change.
    order: BTreeMap<u64, K>,
    /// Keys that were removed, by when.
    gone: BTreeMap<u64, K>,
    gone_at: HashMap<K, u64>,
    /// Removals up to here are forgotten.
    floor: u64,
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    entries: u64,
    gone: u64,
}

impl Cursor {
    /// For a reader that knows of nothing yet, at a version.
    pub(super) fn new(version: u64) -> Cursor {
        Cursor { entries: 0, gone: version }
    }

    /// Lets all entries be read again. Who had none cannot have missed a removal, either, and
    /// starts afresh.
    pub(super) fn rewind(&mut self, had_none: bool, fresh: Cursor) {
        if had_none {
            *self = fresh;
        }
        self.entries = 0;
    }
}

/// A reader has missed removals that are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lagging;

impl<K, V> Default for Directory<K, V> {
    fn default() -> Self {
        Directory {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            gone: BTreeMap::new(),
            gone_at: HashMap::new(),
            floor: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Directory<K, V> {
    /// Puts an entry in, or another in its place. The version is larger than any before.
    pub(super) fn insert(&mut self, key: K, value: V, version: u64) {
        if let Some(gone) = self.gone_at.remove(&key) {
            self.gone.remove(&gone);
        }
        if let Some((_, old)) = self.entries.insert(key.clone(), (value, version)) {
            self.order.remove(&old);
        }
        self.order.insert(version, key);
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K, version: u64) {
        let Some((_, old)) = self.entries.remove(key) else { return };
        self.order.remove(&old);
        self.gone.insert(version, key.clone());
        self.gone_at.insert(key.clone(), version);
        if self.gone.len() > MAX_GONE
            && let Some((version, key)) = self.gone.pop_first()
        {
            self.gone_at.remove(&key);
            self.floor = version;
        }
    }

    /// Up to `most` changes behind the cursor, which moves on. Fewer than that are all.
    pub(super) fn read(
        &self,
        cursor: &mut Cursor,
        most: usize,
    ) -> Result<Vec<(K, Option<V>)>, Lagging> {
        if cursor.gone < self.floor {
            return Err(Lagging);
        }
        let mut changes = Vec::new();
        for (version, key) in self.gone.range(cursor.gone + 1..).take(most) {
            changes.push((key.clone(), None));
            cursor.gone = *version;
        }
        for (version, key) in self.order.range(cursor.entries + 1..).take(most - changes.len()) {
            let value = self.entries.get(key).map(|(value, _)| value.clone());
            changes.push((key.clone(), value));
            cursor.entries = *version;
        }
        Ok(changes)
    }

    /// Whether there are changes behind a cursor.
    pub(super) fn has_news(&self, cursor: &Cursor) -> bool {
        let last = |map: &BTreeMap<u64, K>| map.last_key_value().map_or(0, |(version, _)| *version);
        last(&self.order) > cursor.entries
            || last(&self.gone) > cursor.gone
            || cursor.gone < self.floor
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whenever a reader reads, and in whatever portions, it ends with what there is.
        #[test]
        fn readers_end_with_what_there_is(
            steps in prop::collection::vec((0..8u8, any::<bool>(), 0..4usize), 1..60),
        ) {
            let mut directory = Directory::default();
            let mut cursor = Cursor::new(0);
            let mut copy = BTreeMap::new();
            let mut take = |directory: &Directory<u8, u64>, most| {
                let changes = directory.read(&mut cursor, most).unwrap();
                let count = changes.len();
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(copy.insert(key, value)),
                        None => drop(copy.remove(&key)),
                    }
                }
                (count, copy.clone())
            };
            for (version, (key, insert, most)) in (1..).zip(steps) {
                match insert {
                    true => directory.insert(key, version, version),
                    false => directory.remove(&key, version),
                }
                take(&directory, most);
            }
            while take(&directory, 3).0 > 0 {}
            let (_, copy) = take(&directory, 1);
            let all: BTreeMap<_, _> = directory.entries.iter().map(|(k, (v, _))| (*k, *v)).collect();
            prop_assert_eq!(copy, all);
        }
    }

    #[test]
    fn removals_are_forgotten_in_the_end() {
        let mut directory = Directory::default();
        let slow = Cursor::new(0);
        let mut version = 0;
        for key in 0..=u32::try_from(MAX_GONE).unwrap() {
            directory.insert(key, (), version + 1);
            directory.remove(&key, version + 2);
            version += 2;
        }
        assert_eq!(directory.gone.len(), MAX_GONE);
        assert_eq!(directory.gone_at.len(), MAX_GONE);
        assert!(directory.has_news(&slow));
        assert_eq!(directory.read(&mut { slow }, 1), Err(Lagging));
        let mut current = Cursor::new(version);
        assert!(!directory.has_news(&current));
        assert_eq!(directory.read(&mut current, 1), Ok(Vec::new()));
    }
}
