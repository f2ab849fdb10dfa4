//! One IP set as its readers follow it: members in order, so that a large set can be sent in parts,
//! and the latest changes, so that a small change is sent as one.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Bound;

use tortie_calc::{Member, SetKind};

use crate::wire::MAX_MEMBERS;

/// Changes that are remembered of any set. A large set remembers more, up to a message's worth.
const MIN_CHANGES: usize = 1024;

/// Members of a part of a set that is not in use yet. It takes a fraction of a millisecond to make, so
/// that those who are told something next do not wait for it, and little of it is made for a reader
/// that stops reading.
const PART: usize = 512;

/// A set.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) kind: SetKind,
    members: BTreeSet<Member>,
    /// Which members changed, by version, the latest last.
    changes: VecDeque<(u64, Member)>,
    /// Changes up to here are forgotten.
    floor: u64,
    /// Of the last change.
    version: u64,
}

/// What a reader has of a set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// The version up to which it knows the members sent.
    version: u64,
    /// The last member sent, while not all of them have been.
    up_to: Option<Member>,
}

/// What a reader is to be sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Whether it replaces what the reader has.
    pub(super) first: bool,
    pub(super) added: Vec<Member>,
    pub(super) removed: Vec<Member>,
}

impl Part {
    /// How many members it is about.
    pub(super) fn len(&self) -> usize {
        self.added.len() + self.removed.len()
    }
}

impl Members {
    pub(super) fn new(
        kind: SetKind,
        members: impl IntoIterator<Item = Member>,
        version: u64,
    ) -> Members {
        let members = members.into_iter().collect();
        Members { kind, members, changes: VecDeque::new(), floor: version, version }
    }

    /// Takes in a change.
    pub(super) fn change(&mut self, added: Vec<Member>, removed: Vec<Member>, version: u64) {
        for member in added {
            if self.members.insert(member) {
                self.changes.push_back((version, member));
            }
        }
        for member in removed {
            if self.members.remove(&member) {
                self.changes.push_back((version, member));
            }
        }
        self.version = version;
        let most = (self.members.len() / 4).clamp(MIN_CHANGES, MAX_MEMBERS);
        while self.changes.len() > most {
            self.floor = self.changes.pop_front().map_or(self.floor, |(version, _)| version);
        }
    }

    /// Takes in all members anew: as a change, where the readers have the same kind of set.
    pub(super) fn replace(&mut self, kind: SetKind, members: Vec<Member>, version: u64) {
        if kind != self.kind {
            *self = Members::new(kind, members, version);
            return;
        }
        let members: BTreeSet<Member> = members.into_iter().collect();
        let added = members.difference(&self.members).copied().collect();
        let removed = self.members.difference(&members).copied().collect();
        self.change(added, removed, version);
    }

    /// Whether a reader lacks something.
    pub(super) fn has_news(&self, sent: Option<&Sent>) -> bool {
        sent.is_none_or(|sent| sent.up_to.is_some() || sent.version < self.version)
    }

    /// What a reader is to be sent next, and what it has then; nothing once it has all.
    pub(super) fn next(&self, sent: Option<Sent>) -> Option<(Part, Sent)> {
        match sent {
            Some(sent) if sent.version >= self.floor => match sent.up_to {
                Some(last) => Some(self.part(Some(last), PART, sent.version)),
                None if sent.version < self.version => Some(self.delta(sent.version)),
                None => None,
            },
            // What is in use is replaced at once, if one message can do that: not every reader waits
            // for the rest.
            Some(_) => Some(self.part(None, MAX_MEMBERS, self.version)),
            None => Some(self.part(None, PART, self.version)),
        }
    }

    /// At most so many of the members behind one.
    fn part(&self, behind: Option<Member>, most: usize, version: u64) -> (Part, Sent) {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.members.range((from, Bound::Unbounded)).copied();
        let added: Vec<Member> = rest.by_ref().take(most).collect();
        let up_to = rest.next().and(added.last().copied());
        (Part { first: behind.is_none(), added, removed: Vec::new() }, Sent { version, up_to })
    }

    fn delta(&self, version: u64) -> (Part, Sent) {
        let start = self.changes.partition_point(|(changed, _)| *changed <= version);
        let changed: HashSet<Member> =
            self.changes.range(start..).map(|(_, member)| *member).collect();
        let (added, removed) =
            changed.into_iter().partition(|member| self.members.contains(member));
        (Part { first: false, added, removed }, Sent { version: self.version, up_to: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u32) -> Member {
        Member::Net(std::net::IpAddr::from(n.to_be_bytes()).into())
    }

    fn set(members: std::ops::Range<u32>) -> Members {
        Members::new(SetKind::Net, members.map(member), 1)
    }

    /// A reader that takes in what it is sent.
    #[derive(Default)]
    struct Reader {
        sent: Option<Sent>,
        members: BTreeSet<Member>,
        parts: usize,
    }

    impl Reader {
        fn read(&mut self, set: &Members) -> bool {
            let Some((part, sent)) = set.next(self.sent) else { return false };
            assert!(set.has_news(self.sent.as_ref()));
            if part.first {
                self.members.clear();
            }
            self.members.extend(part.added);
            for member in part.removed {
                self.members.remove(&member);
            }
            self.parts += 1;
            self.sent = Some(sent);
            true
        }

        fn catch_up(&mut self, set: &Members) -> usize {
            self.parts = 0;
            while self.read(set) {}
            assert_eq!(self.members, set.members);
            assert!(!set.has_news(self.sent.as_ref()));
            self.parts
        }
    }

    #[test]
    fn a_small_change_is_sent_as_one() {
        let mut set = set(0..10);
        let mut reader = Reader::default();
        assert_eq!(reader.catch_up(&set), 1);
        set.change(vec![member(11), member(12)], vec![member(3)], 2);
        set.change(vec![member(3)], vec![member(11)], 3);
        assert_eq!(reader.catch_up(&set), 1);
        let expected = Part { first: false, added: vec![member(0)], removed: Vec::new() };
        set.change(vec![], vec![member(0)], 4);
        reader.catch_up(&set);
        set.change(vec![member(0)], vec![], 5);
        assert_eq!(set.next(reader.sent).map(|(part, _)| part), Some(expected));
    }

    #[test]
    fn a_large_set_comes_in_parts_and_may_change_meanwhile() {
        let mut set = set(0..200_000);
        let mut reader = Reader::default();
        assert!(reader.read(&set));
        // Before and behind what has been sent.
        set.change(vec![member(500_000)], vec![member(7), member(199_999)], 2);
        assert_eq!(reader.catch_up(&set), (200_000 - PART).div_ceil(PART) + 1);
    }

    #[test]
    fn who_missed_too_much_starts_over() {
        let mut set = set(0..10);
        let mut reader = Reader::default();
        reader.catch_up(&set);
        for n in 0..3000 {
            set.change(vec![member(100 + n)], vec![member(99 + n)], 2 + u64::from(n));
        }
        assert!(set.changes.len() <= MIN_CHANGES);
        assert!(set.next(reader.sent).is_some_and(|(part, _)| part.first));
        assert_eq!(reader.catch_up(&set), 1);
    }

    #[test]
    fn replacing_is_a_change_unless_the_kind_differs() {
        let mut set = set(0..10);
        let mut reader = Reader::default();
        reader.catch_up(&set);
        set.replace(SetKind::Net, (5..12).map(member).collect(), 2);
        assert!(
            set.next(reader.sent).is_some_and(|(part, _)| !part.first && part.added.len() == 2)
        );
        reader.catch_up(&set);
        set.replace(SetKind::AddressPort, Vec::new(), 3);
        assert!(set.next(reader.sent).is_some_and(|(part, _)| part.first));
        assert_eq!(reader.catch_up(&set), 1);
    }
}
