//! Texts kept once each, so that labels are compared as numbers.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use smol_str::SmolStr;

/// A text, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Atom(u32);

impl Atom {
    /// One bit of 64, by which texts that differ are mostly told apart.
    pub(crate) fn bit(self) -> u64 {
        1 << (self.0 % 64)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// All texts in use, and some that are not any more until they are swept out.
#[derive(Default)]
pub(crate) struct Interner {
    texts: Vec<Option<SmolStr>>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Texts that were in use at the last sweep.
    swept: usize,
}

/// Sweeping is not worth it for fewer texts.
const FEW: usize = 4096;

impl Interner {
    /// The number of a text, a new one if need be.
    pub(crate) fn intern(&mut self, text: &str) -> Atom {
        if let Some(atom) = self.find(text) {
            return atom;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            u32::try_from(self.texts.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.texts.get_mut(number as usize) {
            *slot = Some(text.into());
        }
        let hash = self.hasher.hash_one(text);
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.table.insert_unique(hash, number, |other| hasher.hash_one(text_of(texts, *other)));
        Atom(number)
    }

    fn find(&self, text: &str) -> Option<Atom> {
        let same = |number: &u32| text_of(&self.texts, *number) == text;
        self.table.find(self.hasher.hash_one(text), same).map(|number| Atom(*number))
    }

    /// The text of a number.
    pub(crate) fn text(&self, atom: Atom) -> &SmolStr {
        const EMPTY: &SmolStr = &SmolStr::new_static("");
        self.texts.get(atom.index()).and_then(Option::as_ref).unwrap_or(EMPTY)
    }

    /// Whether more texts came since the last sweep than were there then.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.table.len() > 2 * self.swept + FEW
    }

    /// Forgets the texts that are not in use. `mark` calls its argument with each that is.
    pub(crate) fn sweep(&mut self, mark: impl FnOnce(&mut dyn FnMut(Atom))) {
        let mut used = vec![false; self.texts.len()];
        mark(&mut |atom| {
            if let Some(used) = used.get_mut(atom.index()) {
                *used = true;
            }
        });
        self.table.retain(|number| used.get(*number as usize) == Some(&true));
        for (number, (text, used)) in (0..).zip(self.texts.iter_mut().zip(used)) {
            if !used && text.take().is_some() {
                self.free.push(number);
            }
        }
        self.swept = self.table.len();
    }
}

fn text_of(texts: &[Option<SmolStr>], number: u32) -> &str {
    texts.get(number as usize).and_then(Option::as_deref).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_forgotten_texts_are_used_again() {
        let mut interner = Interner::default();
        let (a, b) = (interner.intern("a"), interner.intern("b"));
        assert_eq!(interner.intern("a"), a);
        assert_ne!(a, b);
        interner.sweep(|used| used(b));
        assert_eq!(interner.text(b), "b");
        let c = interner.intern("c");
        assert_eq!((c, interner.text(c).as_str()), (a, "c"));
        assert_eq!(interner.intern("b"), b);
    }
}
