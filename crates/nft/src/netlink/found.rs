//! Elements of sets as they are read back.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Element, Members, SetKind};

use super::constants::{data, element};
use super::decode::{Attributes, text};
use super::key::INTERFACE;

/// One element of the kernel's. Ordered by key, an end before a beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Raw {
    key: Vec<u8>,
    begins: bool,
    last: Option<Vec<u8>>,
    goto: Option<String>,
    /// Whether it is like none we write.
    strange: bool,
}

impl Raw {
    /// Reads an element's attributes.
    pub(super) fn read(attributes: Attributes<'_>) -> Self {
        let value = |kind| attributes.nested(kind).bytes(data::VALUE).map(<[u8]>::to_vec);
        let flags = attributes.u32(element::FLAGS).unwrap_or_default();
        let verdict = attributes.nested(element::DATA).nested(data::VERDICT);
        let goto = verdict.i32(data::CODE) == Some(data::GOTO);
        let goto = verdict.text(data::CHAIN).filter(|_| goto).map(str::to_owned);
        let strange = flags & element::CATCH_ALL != 0
            || attributes.bytes(element::TIMEOUT).is_some()
            || (attributes.bytes(element::DATA).is_some() && goto.is_none());
        Self {
            key: value(element::KEY).unwrap_or_default(),
            begins: flags & element::INTERVAL_END == 0,
            last: value(element::KEY_END),
            goto,
            strange,
        }
    }

    fn element(&self, kind: SetKind) -> Option<Element> {
        if self.strange {
            return None;
        }
        match kind {
            SetKind::Address(_) => Some(Element::Net(address(&self.key)?.into())),
            SetKind::AddressPort(_) => self.address_port(),
            SetKind::InterfaceAddress(_) | SetKind::InterfaceNet(_) => self.interface_net(),
            SetKind::Dispatch => {
                let chain = self.goto.as_deref()?;
                Some(Element::Dispatch(text(&self.key)?.into(), chain.into()))
            }
            // Pairs of elements.
            SetKind::Net(_) => None,
        }
    }

    fn address_port(&self) -> Option<Element> {
        let (rest, port) = self.key.split_last_chunk::<4>()?;
        let (rest, protocol) = rest.split_last_chunk::<4>()?;
        let ([high, low, ..], [protocol, ..]) = (port, protocol);
        let port = u16::from_be_bytes([*high, *low]);
        Some(Element::AddressPort(address(rest)?, *protocol, port))
    }

    fn interface_net(&self) -> Option<Element> {
        let (name, first) = self.key.split_at_checked(INTERFACE)?;
        let last = match &self.last {
            Some(last) => last.strip_prefix(name)?,
            None => first,
        };
        Some(Element::InterfaceNet(text(name)?.into(), net(first, Some(last))?))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// The net from one address to another, or to the last one there is; nothing if it is none.
fn net(first: &[u8], last: Option<&[u8]>) -> Option<IpNet> {
    let first = address(first)?;
    let bits = |net: &IpNet| net.max_prefix_len();
    let whole = IpNet::from(first);
    let last = match last {
        Some(last) => address(last)?,
        None => IpNet::new(first, 0).ok()?.broadcast(),
    };
    let same = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return None,
    };
    let length = u8::try_from(same).ok()?.min(bits(&whole));
    let net = IpNet::new(first, length).ok()?;
    (net.network() == first && net.broadcast() == last).then_some(net)
}

/// The elements of a set, sorted before, and whether there are others that cannot be said.
pub(super) fn elements(kind: SetKind, raw: Vec<Raw>) -> (Members, bool) {
    if !matches!(kind, SetKind::Net(_)) {
        let elements: Members = raw.iter().filter_map(|raw| raw.element(kind)).collect();
        let strange = elements.len() != raw.len();
        return (elements, strange);
    }
    let mut elements = Members::default();
    let mut strange = false;
    let mut open: Option<Raw> = None;
    for raw in raw {
        let begun =
            if raw.begins { open.replace(raw) } else { close(&mut open, &raw, &mut elements) };
        // An interval that was not closed, or is no net.
        strange |= begun.is_some();
    }
    if let Some(raw) = open {
        let net = net(&raw.key, None).filter(|_| !raw.strange);
        strange |= net.is_none();
        elements.extend(net.map(Element::Net));
    }
    (elements, strange)
}

/// Ends an interval. Returns its beginning if it is none of ours. An end without beginning is what
/// nft puts at the beginning of the key space.
fn close(open: &mut Option<Raw>, end: &Raw, elements: &mut Members) -> Option<Raw> {
    let raw = open.take()?;
    let net = predecessor(&end.key).and_then(|last| net(&raw.key, Some(&last)));
    match net.filter(|_| !raw.strange) {
        Some(net) => {
            elements.insert(Element::Net(net));
            None
        }
        None => Some(raw),
    }
}

fn predecessor(key: &[u8]) -> Option<Vec<u8>> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (previous, underflow) = byte.overflowing_sub(1);
        *byte = previous;
        if !underflow {
            return Some(key);
        }
    }
    None
}
