//! Which rules of a chain stay where they are.

use std::collections::{HashMap, VecDeque};

/// For each new rule the position of the old one that it is, ascending: a longest common subsequence
/// if no rule is there twice, and a common subsequence in any case.
pub(super) fn align(old: &[u64], new: &[u64]) -> Vec<Option<usize>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b);
    let tail = tail.count();
    let shift = old.len() - tail;
    let between = |keys: &[u64]| keys.get(head..keys.len() - tail).unwrap_or_default().to_vec();
    let middle = pairs(&between(old), &between(new));
    let kept = longest_ascending(&middle);
    let middle = kept.into_iter().map(|place| place.map(|place| place + head));
    let first = (0..head).map(Some);
    first.chain(middle).chain((shift..old.len()).map(Some)).collect()
}

/// For each new rule the position of an old one that is the same, each used once.
fn pairs(old: &[u64], new: &[u64]) -> Vec<Option<usize>> {
    let mut places: HashMap<u64, VecDeque<usize>> = HashMap::new();
    for (place, key) in old.iter().enumerate() {
        places.entry(*key).or_default().push_back(place);
    }
    new.iter().map(|key| places.get_mut(key)?.pop_front()).collect()
}

/// Keeps as many numbers as possible such that those that are left ascend.
fn longest_ascending(numbers: &[Option<usize>]) -> Vec<Option<usize>> {
    // `ends` has, for each length, the least number that a sequence of that length ends with.
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; numbers.len()];
    for (index, number) in numbers.iter().enumerate() {
        let Some(number) = *number else { continue };
        let length = ends.partition_point(|(end, _)| *end < number);
        if let Some(slot) = before.get_mut(index) {
            *slot = length.checked_sub(1).and_then(|l| ends.get(l)).map(|(_, index)| *index);
        }
        match ends.get_mut(length) {
            Some(end) => *end = (number, index),
            None => ends.push((number, index)),
        }
    }
    let mut kept = vec![None; numbers.len()];
    let mut next = ends.last().map(|(_, index)| *index);
    while let Some(index) = next {
        if let (Some(slot), Some(number)) = (kept.get_mut(index), numbers.get(index)) {
            *slot = *number;
        }
        next = before.get(index).copied().flatten();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_common_subsequence_stays() {
        type Case<'c> = (&'c [u64], &'c [u64], &'c [Option<usize>]);
        let cases: &[Case<'_>] = &[
            (&[], &[1], &[None]),
            (&[1, 2, 3], &[1, 2, 3], &[Some(0), Some(1), Some(2)]),
            (&[1, 2, 3], &[1, 3], &[Some(0), Some(2)]),
            (&[1, 2, 3], &[1, 4, 2, 3], &[Some(0), None, Some(1), Some(2)]),
            (&[1, 2, 3, 4], &[4, 1, 2, 3], &[None, Some(0), Some(1), Some(2)]),
            (&[9, 5, 9], &[5, 9], &[Some(1), Some(2)]),
            (&[7, 7], &[7, 7, 7], &[Some(0), Some(1), None]),
        ];
        for (old, new, want) in cases {
            assert_eq!(align(old, new), *want, "{old:?} {new:?}");
        }
    }

    #[test]
    fn what_stays_is_the_same_and_in_order() {
        let mut state = 7_u64;
        let mut number = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        for _ in 0..2_000 {
            let old: Vec<_> = (0..number(9)).map(|_| number(6)).collect();
            let new: Vec<_> = (0..number(9)).map(|_| number(6)).collect();
            let places = align(&old, &new);
            assert_eq!(places.len(), new.len());
            let kept: Vec<_> = places.iter().flatten().collect();
            assert!(kept.is_sorted_by(|a, b| a < b), "{old:?} {new:?} {places:?}");
            for (place, key) in places.iter().zip(&new) {
                assert!(place.is_none_or(|place| old[place] == *key), "{old:?} {new:?}");
            }
        }
    }
}
