//! Keys of set elements, as the registers hold them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Bytes the kernel has for the name of an interface, the zero byte at its end included.
pub(super) const INTERFACE: usize = 16;

/// Why something cannot be said to the kernel at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("`{0}` is no name of an interface: it must have 1 to 15 bytes")]
    Interface(String),
    #[error("element `{0}` does not fit a set of kind {1:?}")]
    Element(String, crate::SetKind),
    #[error("a criterion names nothing to compare with")]
    Empty,
}

/// Up to two fields, each padded to four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Key {
    bytes: [u8; 2 * INTERFACE],
    length: usize,
}

impl Key {
    /// A key of one field as it is, without padding.
    pub(super) fn of(field: &[u8]) -> Self {
        let mut key = Self::default();
        key.append(field);
        key
    }

    /// The key of an address.
    pub(super) fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of(&v4.octets()),
            IpAddr::V6(v6) => Self::of(&v6.octets()),
        }
    }

    /// The key of an interface, padded with zeros.
    pub(super) fn interface(name: &str) -> Result<Self, Unfit> {
        if name.is_empty() || name.len() >= INTERFACE {
            return Err(Unfit::Interface(name.to_owned()));
        }
        let mut key = Self::of(name.as_bytes());
        key.length = INTERFACE;
        Ok(key)
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The key with one more field.
    pub(super) fn then(mut self, field: &[u8]) -> Self {
        self.length = self.length.next_multiple_of(4);
        self.append(field);
        self.length = self.length.next_multiple_of(4);
        self
    }

    /// What does not fit (nothing here does) is left out.
    fn append(&mut self, field: &[u8]) {
        let end = self.length + field.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(field);
            self.length = end;
        }
    }

    /// The next greater key of the same length, or nothing if it is the greatest.
    pub(super) fn successor(mut self) -> Option<Self> {
        for byte in self.bytes.get_mut(..self.length)?.iter_mut().rev() {
            let (next, overflow) = byte.overflowing_add(1);
            *byte = next;
            if !overflow {
                return Some(self);
            }
        }
        None
    }
}

/// First and last address of a net.
pub(super) fn ends(net: &IpNet) -> (Key, Key) {
    (Key::address(net.network()), Key::address(net.broadcast()))
}
