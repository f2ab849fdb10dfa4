//! Counters that outlive the rules that counted.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;
use std::sync::Arc;

use crate::{Counter, Origin};

use super::table::Table;

/// How many origins without a rule are remembered for what theirs had counted.
const REMEMBERED: usize = 65_536;

/// What rules had counted that are gone, by what they stood for.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<Arc<Origin>, Counter>);

impl Tally {
    /// An origin, shared with all others that are the same.
    pub(super) fn share(&mut self, origin: Arc<Origin>) -> Arc<Origin> {
        if let Some((shared, _)) = self.0.get_key_value(&origin) {
            return Arc::clone(shared);
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|origin, _| Arc::strong_count(origin) > 1);
        }
        self.0.insert(Arc::clone(&origin), Counter::default());
        origin
    }

    /// A rule is gone, or counts from the beginning again, that had counted so much.
    pub(super) fn retire(&mut self, origin: &Arc<Origin>, counter: Counter) {
        *self.0.entry(Arc::clone(origin)).or_default() += counter;
    }

    /// What all rules have counted, those that are gone included.
    pub(super) fn sums(&self, table: &Table) -> BTreeMap<Origin, Counter> {
        let mut sums: HashMap<&Origin, Counter> =
            self.0.iter().map(|(origin, counter)| (&**origin, *counter)).collect();
        for (origin, counter) in table.seen() {
            *sums.entry(origin).or_default() += counter;
        }
        sums.into_iter().map(|(origin, counter)| (origin.clone(), counter)).collect()
    }
}

impl AddAssign for Counter {
    fn add_assign(&mut self, other: Counter) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}
