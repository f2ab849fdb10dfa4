//! Bodies for fuzzing, each a property that must hold for any bytes. Tests run them on random input,
//! and the target in `fuzz/` under libFuzzer.

use ipnet::IpNet;

use crate::{Element, Family, Members, SetKind};

use super::constants::{element, message};
use super::decode::{Attributes, messages};
use super::encode::{Header, Messages};
use super::entry::entries;
use super::found::{Raw, elements};
use super::read::anything;

const KINDS: [SetKind; 11] = [
    SetKind::Address(Family::V4),
    SetKind::Address(Family::V6),
    SetKind::Net(Family::V4),
    SetKind::Net(Family::V6),
    SetKind::AddressPort(Family::V4),
    SetKind::AddressPort(Family::V6),
    SetKind::InterfaceAddress(Family::V4),
    SetKind::InterfaceAddress(Family::V6),
    SetKind::InterfaceNet(Family::V4),
    SetKind::InterfaceNet(Family::V6),
    SetKind::Dispatch,
];

/// Reads the bytes as the kernel's answers, and takes each for anything it may be. What is read of a
/// list of elements is written and read back as it was.
pub fn answers(data: &[u8]) {
    for message in messages(data) {
        anything(&message);
        for kind in KINDS {
            let (found, _) = read(kind, message.payload.get(4..).unwrap_or_default());
            round_trip(kind, &found);
        }
    }
}

/// Writes elements of each kind, chosen by the bytes, and reads them back.
pub fn sets(data: &[u8]) {
    for kind in KINDS {
        let chosen = data.chunks(24).filter_map(|bytes| choose(kind, bytes)).collect();
        round_trip(kind, &apart(chosen));
    }
}

fn read(kind: SetKind, attributes: &[u8]) -> (Members, bool) {
    let list = Attributes(attributes).nested(element::LIST);
    let mut raw: Vec<Raw> = list.map(|(_, body)| Raw::read(Attributes(body))).collect();
    raw.sort_unstable();
    elements(kind, raw)
}

fn round_trip(kind: SetKind, wanted: &Members) {
    let all: Vec<Element> = wanted.iter().collect();
    // Names that are none, and nets of the other family, cannot be written.
    let Ok(entries) = entries(kind, &all) else { return };
    let mut written = Messages::default();
    let kind_of_message = message::NEW_ELEMENT;
    let header = Header { kind: kind_of_message, flags: 0, sequence: 0, family: 0, resource: 0 };
    written.message(header, |body| {
        body.nest(element::LIST, |list| entries.iter().for_each(|entry| entry.write(list)));
    });
    // An attribute is no longer than its 16 bits of length can say.
    if written.len() > usize::from(u16::MAX) {
        return;
    }
    for message in messages(written.bytes()) {
        let (found, strange) = read(kind, message.payload.get(4..).unwrap_or_default());
        assert!(found == *wanted && !strange, "{kind:?}: {wanted:?} became {found:?}");
    }
}

fn choose(kind: SetKind, bytes: &[u8]) -> Option<Element> {
    let (family, rest) = match kind {
        SetKind::Address(family)
        | SetKind::Net(family)
        | SetKind::AddressPort(family)
        | SetKind::InterfaceAddress(family)
        | SetKind::InterfaceNet(family) => (family, bytes),
        SetKind::Dispatch => (Family::V4, bytes),
    };
    let (address, rest) = match family {
        Family::V4 => {
            let (four, rest) = rest.split_first_chunk::<4>()?;
            (std::net::IpAddr::from(*four), rest)
        }
        Family::V6 => {
            let (sixteen, rest) = rest.split_first_chunk::<16>()?;
            (std::net::IpAddr::from(*sixteen), rest)
        }
    };
    let ([length, protocol, high, low], _) = rest.split_first_chunk::<4>()?;
    let whole = IpNet::from(address);
    let net = IpNet::new(address, length % (whole.max_prefix_len() + 1)).ok()?.trunc();
    let name = format!("if{protocol}").into();
    Some(match kind {
        SetKind::Address(_) => Element::Net(whole),
        SetKind::Net(_) => Element::Net(net),
        SetKind::AddressPort(_) => {
            Element::AddressPort(address, *protocol, u16::from_be_bytes([*high, *low]))
        }
        SetKind::InterfaceAddress(_) => Element::InterfaceNet(name, whole),
        SetKind::InterfaceNet(_) => Element::InterfaceNet(name, net),
        SetKind::Dispatch => Element::Dispatch(name, format!("chain{high}").into()),
    })
}

/// Elements that a set can have beside each other.
fn apart(chosen: Vec<Element>) -> Members {
    let mut apart: Vec<Element> = Vec::new();
    for element in chosen {
        if apart.iter().all(|other| !meet(other, &element)) {
            apart.push(element);
        }
    }
    apart.into_iter().collect()
}

fn meet(one: &Element, other: &Element) -> bool {
    match (one, other) {
        (Element::Net(a), Element::Net(b)) => a.contains(b) || b.contains(a),
        (Element::Dispatch(a, _), Element::Dispatch(b, _)) => a == b,
        (a, b) => a == b,
    }
}
