//! The members of one IP set, and what has changed since they were last told.

use hashbrown::HashMap;

use crate::Member;

/// Members with the number of those who put them there.
#[derive(Debug, Default)]
pub(crate) struct Members {
    counts: HashMap<Member, u32>,
    /// Members that came or went, and whether they were there when the set was last told.
    touched: HashMap<Member, bool>,
    /// Whether changes are noted: not before the set was told as a whole.
    told: bool,
}

impl Members {
    /// One more puts a member there.
    pub(crate) fn add(&mut self, member: Member) {
        let count = self.counts.entry(member).or_default();
        *count += 1;
        if *count == 1 && self.told {
            self.touched.entry(member).or_insert(false);
        }
    }

    /// One of those who put a member there does not any more.
    pub(crate) fn remove(&mut self, member: Member) {
        let Some(count) = self.counts.get_mut(&member) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.counts.remove(&member);
        if self.told {
            self.touched.entry(member).or_insert(true);
        }
    }

    /// Makes the members exactly these, put there by one each.
    pub(crate) fn replace(&mut self, members: impl Iterator<Item = Member>) {
        let new: HashMap<Member, u32> = members.map(|member| (member, 1)).collect();
        let gone: Vec<Member> =
            self.counts.keys().filter(|member| !new.contains_key(*member)).copied().collect();
        gone.into_iter().for_each(|member| self.remove(member));
        for member in new.into_keys() {
            if !self.counts.contains_key(&member) {
                self.add(member);
            }
        }
    }

    /// All members in order; from now on changes are noted.
    pub(crate) fn tell(&mut self) -> Vec<Member> {
        self.told = true;
        self.touched.clear();
        let mut all: Vec<Member> = self.counts.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// Those that came and those that went since the last time, in order.
    pub(crate) fn changes(&mut self) -> (Vec<Member>, Vec<Member>) {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (member, was) in self.touched.drain() {
            match (was, self.counts.contains_key(&member)) {
                (false, true) => added.push(member),
                (true, false) => removed.push(member),
                _ => {}
            }
        }
        added.sort_unstable();
        removed.sort_unstable();
        (added, removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8) -> Member {
        Member::address([10, 0, 0, n].into())
    }

    #[test]
    fn changes_are_net_and_counted() {
        let mut members = Members::default();
        members.add(member(1));
        members.add(member(2));
        assert_eq!(members.tell(), [member(1), member(2)]);
        // An address that moves from one to another never leaves.
        members.add(member(1));
        members.remove(member(1));
        members.remove(member(2));
        members.add(member(2));
        members.add(member(3));
        members.remove(member(3));
        assert_eq!(members.changes(), (vec![], vec![]));
        members.remove(member(1));
        members.add(member(4));
        assert_eq!(members.changes(), (vec![member(4)], vec![member(1)]));
        members.replace([member(4), member(5)].into_iter());
        assert_eq!(members.changes(), (vec![member(5)], vec![member(2)]));
    }
}
