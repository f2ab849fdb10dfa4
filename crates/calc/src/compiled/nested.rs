//! Ranges of which each two are nested or apart, such as nets: which of them hold a key.

/// Lists of numbers under ranges of keys. A lookup is one binary search, and one step more for each
/// range around the innermost.
#[derive(Debug, Clone, Default)]
pub(super) struct Nested<K> {
    /// First keys, ascending; of equal ones the wider range comes first.
    firsts: Box<[K]>,
    /// Last keys.
    lasts: Box<[K]>,
    /// The narrowest range around each, by position; `NONE` for outermost ranges.
    parents: Box<[u32]>,
    /// Where each range's list ends in `values`; it begins where the one before ends.
    ends: Box<[u32]>,
    values: Box<[u32]>,
}

const NONE: u32 = u32::MAX;

impl<K: Copy + Ord> Nested<K> {
    /// Puts ranges together: first key, last key, and a number. Equal ranges share a list, in which
    /// numbers keep their order.
    pub(super) fn new(mut ranges: Vec<(K, K, u32)>) -> Nested<K> {
        ranges.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        let (mut firsts, mut lasts, mut parents, mut ends, mut values) =
            (Vec::<K>::new(), Vec::<K>::new(), Vec::new(), Vec::new(), Vec::new());
        let mut around: Vec<u32> = Vec::new();
        for (first, last, value) in ranges {
            if firsts.last() != Some(&first) || lasts.last() != Some(&last) {
                let past = |outer: &u32| lasts.get(*outer as usize).is_none_or(|l| *l < first);
                while around.last().is_some_and(past) {
                    around.pop();
                }
                parents.push(around.last().copied().unwrap_or(NONE));
                around.push(position(firsts.len()));
                firsts.push(first);
                lasts.push(last);
                ends.push(position(values.len()));
            }
            values.push(value);
            if let Some(end) = ends.last_mut() {
                *end = position(values.len());
            }
        }
        Nested {
            firsts: firsts.into(),
            lasts: lasts.into(),
            parents: parents.into(),
            ends: ends.into(),
            values: values.into(),
        }
    }

    /// The lists of all ranges that hold a key, the narrowest first.
    pub(super) fn lists(&self, key: K) -> Lists<'_> {
        let mut at = position(self.firsts.partition_point(|first| *first <= key)).wrapping_sub(1);
        while self.lasts.get(at as usize).is_some_and(|last| *last < key) {
            at = self.parent(at);
        }
        Lists { parents: &self.parents, ends: &self.ends, values: &self.values, at }
    }

    fn parent(&self, at: u32) -> u32 {
        self.parents.get(at as usize).copied().unwrap_or(NONE)
    }
}

/// Positions fit: there are fewer than 2^32 rules, sets and ranges.
fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

/// The lists under the ranges that hold a key.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lists<'n> {
    parents: &'n [u32],
    ends: &'n [u32],
    values: &'n [u32],
    at: u32,
}

impl<'n> Iterator for Lists<'n> {
    type Item = &'n [u32];

    fn next(&mut self) -> Option<&'n [u32]> {
        let at = self.at as usize;
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        self.at = self.parents.get(at).copied().unwrap_or(NONE);
        self.values.get(start.unwrap_or(0) as usize..end as usize)
    }
}

/// A range of ports as ranges of a power of two, each at a multiple of its size: of these each two
/// are nested or apart.
pub(super) fn blocks(first: u16, last: u16) -> impl Iterator<Item = (u16, u16)> {
    let (mut next, last) = (u32::from(first), u32::from(last));
    std::iter::from_fn(move || {
        if next > last {
            return None;
        }
        let aligned = if next == 0 { 16 } else { next.trailing_zeros().min(16) };
        let fitting = (last - next + 1).ilog2();
        let (start, size) = (next, 1 << aligned.min(fitting));
        next += size;
        Some((u16::try_from(start).ok()?, u16::try_from(start + size - 1).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_ranges_that_hold_a_key(
            ranges in prop::collection::vec((any::<u16>(), any::<u16>()), 0..12),
            keys in prop::collection::vec(any::<u16>(), 8),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            let numbered = ranges.iter().zip(0..);
            let blocks = numbered.flat_map(|((a, b), n)| blocks(*a, *b).map(move |(a, b)| (a, b, n)));
            let nested = Nested::new(blocks.collect());
            let ends = ranges.iter().flat_map(|(a, b)| [*a, *b]);
            for key in keys.into_iter().chain(ends) {
                let mut found: Vec<u32> = nested.lists(key).flatten().copied().collect();
                found.sort_unstable();
                let holding = ranges.iter().zip(0u32..).filter(|((a, b), _)| (*a..=*b).contains(&key));
                prop_assert_eq!(found, holding.map(|(_, n)| n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn few_blocks_make_a_range() {
        assert_eq!(blocks(0, 65535).collect::<Vec<_>>(), [(0, 65535)]);
        assert_eq!(blocks(80, 80).collect::<Vec<_>>(), [(80, 80)]);
        assert_eq!(blocks(1, 6).collect::<Vec<_>>(), [(1, 1), (2, 3), (4, 5), (6, 6)]);
        assert_eq!(blocks(1, 65534).count(), 30);
        assert_eq!(Nested::<u16>::default().lists(7).count(), 0);
    }
}
