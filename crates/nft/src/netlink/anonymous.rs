//! The anonymous sets of a rule's criteria.

use crate::{Family, Match};

use super::entry::Entry;
use super::key::{Key, Unfit, ends};
use super::set::Shape;

/// An anonymous set.
#[derive(Debug)]
pub(super) struct Anonymous {
    pub(super) shape: Shape,
    pub(super) entries: Vec<Entry>,
}

impl Anonymous {
    /// The set that a criterion needs, if it needs one. `icmp` is the family whose ICMP it asks
    /// about.
    pub(super) fn of(criterion: &Match, icmp: Family) -> Result<Option<Self>, Unfit> {
        match criterion {
            Match::Nets { nets, .. } => match nets.as_slice() {
                [] => Err(Unfit::Empty),
                [_] => Ok(None),
                [first, ..] => {
                    let intervals = nets.iter().map(ends).collect();
                    Ok(Some(Self::intervals(Shape::nets(Family::of(first.addr())), intervals)))
                }
            },
            Match::Ports { ranges, .. } => match ranges.as_slice() {
                [] => Err(Unfit::Empty),
                [_] => Ok(None),
                ranges => {
                    let key = |port: u16| Key::of(&port.to_be_bytes());
                    let intervals = ranges.iter().map(|(a, b)| (key(*a), key(*b))).collect();
                    Ok(Some(Self::intervals(Shape::ports(), intervals)))
                }
            },
            Match::Icmp { not: true, kind, code: Some(code) } => {
                let key = Key::default().then(&[*kind]).then(&[*code]);
                Ok(Some(Self { shape: Shape::icmp(icmp), entries: vec![Entry::single(key)] }))
            }
            _ => Ok(None),
        }
    }

    /// A hash set if there are only single keys. The kernel takes intervals that touch, but nft joins
    /// them in anonymous sets, so that is what people see there.
    fn intervals(shape: Shape, mut intervals: Vec<(Key, Key)>) -> Self {
        intervals.sort_unstable();
        if intervals.iter().all(|(first, last)| first == last) {
            let entries = intervals.into_iter().map(|(key, _)| Entry::single(key)).collect();
            return Self { shape: shape.without_intervals(), entries };
        }
        let mut joined: Vec<(Key, Key)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match joined.last_mut() {
                Some((_, end)) if end.successor().is_none_or(|next| first <= next) => {
                    *end = last.max(*end);
                }
                _ => joined.push((first, last)),
            }
        }
        let entries = joined.into_iter().flat_map(|(a, b)| Entry::interval(a, b)).collect();
        Self { shape, entries }
    }
}
