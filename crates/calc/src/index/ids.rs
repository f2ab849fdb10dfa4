//! Sets of small numbers.

/// Members of a list beyond which a set is kept as bits.
const MANY: usize = 4096;

/// A set of numbers that are dense on the whole: the ids of a slab.
#[derive(Debug, Clone, Default)]
pub(crate) enum IdSet {
    /// None or one.
    #[default]
    None,
    /// A single one, without memory of its own: most labels are unique.
    One(u32),
    /// In order.
    Few(Vec<u32>),
    /// A bit each.
    Many(Box<Bits>),
}

/// A bit for each number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    fn slot(&mut self, id: u32) -> (&mut u64, u64) {
        let word = id as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        #[expect(clippy::indexing_slicing, reason = "there are more words than that")]
        (&mut self.words[word], 1 << (id % 64))
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let words = (0u32..).zip(self.words.iter().copied());
        words.filter(|(_, word)| *word != 0).flat_map(|(index, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 64 + bit)
        })
    }
}

impl IdSet {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            IdSet::None => 0,
            IdSet::One(_) => 1,
            IdSet::Few(list) => list.len(),
            IdSet::Many(bits) => bits.len,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a number; false if it was there.
    pub(crate) fn insert(&mut self, id: u32) -> bool {
        match self {
            IdSet::None => *self = IdSet::One(id),
            IdSet::One(one) if *one == id => return false,
            IdSet::One(one) => *self = IdSet::Few(vec![id.min(*one), id.max(*one)]),
            IdSet::Few(list) => {
                let Err(place) = list.binary_search(&id) else { return false };
                if list.len() < MANY {
                    list.insert(place, id);
                } else {
                    let mut bits = Bits { len: list.len() + 1, ..Bits::default() };
                    for id in list.iter().chain([&id]) {
                        let (word, bit) = bits.slot(*id);
                        *word |= bit;
                    }
                    *self = IdSet::Many(Box::new(bits));
                }
            }
            IdSet::Many(bits) => {
                let (word, bit) = bits.slot(id);
                if *word & bit != 0 {
                    return false;
                }
                *word |= bit;
                bits.len += 1;
            }
        }
        true
    }

    /// Removes a number; false if it was not there.
    pub(crate) fn remove(&mut self, id: u32) -> bool {
        match self {
            IdSet::One(one) if *one == id => *self = IdSet::None,
            IdSet::None | IdSet::One(_) => return false,
            IdSet::Few(list) => {
                let Ok(place) = list.binary_search(&id) else { return false };
                list.remove(place);
                if let [one] = list.as_slice() {
                    *self = IdSet::One(*one);
                }
            }
            IdSet::Many(bits) => {
                let (word, bit) = bits.slot(id);
                if *word & bit == 0 {
                    return false;
                }
                *word &= !bit;
                bits.len -= 1;
                if bits.len <= MANY / 2 {
                    *self = IdSet::Few(bits.iter().collect());
                }
            }
        }
        true
    }

    /// The numbers in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (list, bits) = match self {
            IdSet::None => (&[][..], None),
            IdSet::One(one) => (std::slice::from_ref(one), None),
            IdSet::Few(list) => (list.as_slice(), None),
            IdSet::Many(bits) => (&[][..], Some(bits)),
        };
        list.iter().copied().chain(bits.into_iter().flat_map(|bits| bits.iter()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn agrees_with_a_set_of_the_library() {
        let (mut ids, mut expected) = (IdSet::default(), BTreeSet::new());
        let mut random = 1u32;
        for step in 0..60_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = (random >> 8) % 9_000;
            let grows = step < 30_000 || id.is_multiple_of(7);
            if grows {
                assert_eq!(ids.insert(id), expected.insert(id));
            } else {
                assert_eq!(ids.remove(id), expected.remove(&id));
            }
            assert_eq!(ids.len(), expected.len());
            if step % 1_000 == 0 {
                assert!(ids.iter().eq(expected.iter().copied()), "{step}");
            }
        }
        for id in expected {
            assert!(ids.remove(id));
        }
        assert!(ids.is_empty());
    }
}
