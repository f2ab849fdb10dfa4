//! Elements of sets as the kernel has them.
//!
//! In an interval set without concatenation, an interval is two elements: its first key, and behind
//! its last one an element that says that it has ended. At the end of the key space there is none.

use smol_str::SmolStr;

use crate::{Element, Family, SetKind};

use super::constants::{data, element};
use super::encode::Messages;
use super::key::{Key, Unfit, ends};

/// What nft notes at the first key of an interval that has no end (`NFTNL_UDATA_SET_ELEM_FLAGS`:
/// `SET_ELEM_F_INTERVAL_OPEN`).
const OPEN: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [1, 4, a, b, c, d]
};

/// One element of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// The last key of an interval of a concatenation.
    pub(super) last: Option<Key>,
    /// Whether an interval ends before this key.
    pub(super) end: bool,
    /// Whether the interval that begins here has no end.
    pub(super) open: bool,
    /// The chain that a verdict map goes to.
    pub(super) goto: Option<SmolStr>,
}

impl Entry {
    fn plain(key: Key) -> Self {
        Self { key, last: None, end: false, open: false, goto: None }
    }

    /// The entries of the keys from one to another.
    pub(super) fn interval(first: Key, last: Key) -> impl Iterator<Item = Entry> {
        let end = last.successor().map(|key| Self { end: true, ..Self::plain(key) });
        let first = Self { open: end.is_none(), ..Self::plain(first) };
        [Some(first), end].into_iter().flatten()
    }

    /// The entry of a key without interval.
    pub(super) fn single(key: Key) -> Self {
        Self::plain(key)
    }

    /// Writes it as an item of a list.
    pub(super) fn write(&self, messages: &mut Messages) {
        messages.nest(super::constants::LIST_ELEMENT, |item| {
            if self.end {
                item.u32(element::FLAGS, element::INTERVAL_END);
            }
            item.nest(element::KEY, |key| key.attribute(data::VALUE, self.key.bytes()));
            if let Some(last) = &self.last {
                item.nest(element::KEY_END, |key| key.attribute(data::VALUE, last.bytes()));
            }
            if let Some(chain) = &self.goto {
                item.nest(element::DATA, |value| write_verdict(value, data::GOTO, Some(chain)));
            }
            if self.open {
                item.attribute(element::USERDATA, &OPEN);
            }
        });
    }
}

/// Writes a verdict as data.
pub(super) fn write_verdict(messages: &mut Messages, code: i32, chain: Option<&str>) {
    messages.nest(data::VERDICT, |verdict| {
        verdict.attribute(data::CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            verdict.text(data::CHAIN, chain);
        }
    });
}

/// The entries of elements of a set, in the order in which the kernel takes them fastest.
pub(super) fn entries(kind: SetKind, elements: &[Element]) -> Result<Vec<Entry>, Unfit> {
    let mut entries = Vec::with_capacity(elements.len() * if interval(kind) { 2 } else { 1 });
    for element in elements {
        push(&mut entries, kind, element)?;
    }
    if interval(kind) {
        // Where two intervals touch, one ends before the other begins.
        entries.sort_unstable_by_key(|entry| (entry.key, !entry.end));
    }
    Ok(entries)
}

fn interval(kind: SetKind) -> bool {
    matches!(kind, SetKind::Net(_))
}

fn push(entries: &mut Vec<Entry>, kind: SetKind, element: &Element) -> Result<(), Unfit> {
    match (kind, element) {
        (SetKind::Address(family), Element::Net(net))
            if family == Family::of(net.addr()) && net.prefix_len() == net.max_prefix_len() =>
        {
            entries.push(Entry::plain(Key::address(net.addr())));
        }
        (SetKind::Net(family), Element::Net(net)) if family == Family::of(net.addr()) => {
            let (first, last) = ends(net);
            entries.extend(Entry::interval(first, last));
        }
        (SetKind::AddressPort(family), Element::AddressPort(address, protocol, port))
            if family == Family::of(*address) =>
        {
            let key = Key::address(*address).then(&[*protocol]).then(&port.to_be_bytes());
            entries.push(Entry::plain(key));
        }
        (SetKind::InterfaceAddress(family), Element::InterfaceNet(name, net))
            if family == Family::of(net.addr()) && net.prefix_len() == net.max_prefix_len() =>
        {
            let key = Key::interface(name)?.then(Key::address(net.addr()).bytes());
            entries.push(Entry::plain(key));
        }
        (SetKind::InterfaceNet(family), Element::InterfaceNet(name, net))
            if family == Family::of(net.addr()) =>
        {
            let [first, last] = [ends(net).0, ends(net).1];
            let name = Key::interface(name)?;
            let last = Some(name.then(last.bytes()));
            entries.push(Entry { last, ..Entry::plain(name.then(first.bytes())) });
        }
        (SetKind::Dispatch, Element::Dispatch(name, chain)) => {
            let goto = Some(chain.clone());
            entries.push(Entry { goto, ..Entry::plain(Key::interface(name)?) });
        }
        _ => return Err(Unfit::Element(crate::text::element(element), kind)),
    }
    Ok(())
}
