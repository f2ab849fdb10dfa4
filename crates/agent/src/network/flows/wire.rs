//! The messages of connection tracking (ctnetlink): read carefully, whatever they hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lengths of headers.
const MESSAGE: usize = 16;
const FAMILY: usize = 4;
const ATTRIBUTE: usize = 4;

/// Kinds of messages.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW: u16 = 0x100;
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;

/// Flags of requests.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;

/// Attributes of an entry.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const MASTER: u16 = 14;
const ZONE: u16 = 18;
/// Attributes of one direction of it.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
const DIRECTION_ZONE: u16 = 3;

/// What an attribute's kind has besides its number.
const KIND: u16 = 0x3fff;

/// A tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Of its first packet, as that was sent.
    pub(super) original: Ends,
    /// Of the answers to it.
    pub(super) reply: Ends,
    /// Number of the protocol.
    pub(super) protocol: u8,
    /// Type and code of its first packet, if it is ICMP.
    pub(super) icmp: Option<(u8, u8)>,
    /// Whether it belongs to another connection, which decided about it.
    pub(super) expected: bool,
    family: u8,
    /// The attributes that name this very entry.
    name: Vec<u8>,
}

/// Both ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ports: Option<(u16, u16)>,
}

/// A message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A connection that policy may be asked about.
    Entry(Entry),
    /// The end: an error of the system's, or 0.
    End(i32),
    /// Something else.
    Other,
}

/// Asks for all entries.
pub(super) fn dump_request(sequence: u32) -> Vec<u8> {
    request(GET, REQUEST | DUMP, sequence, 0, &[])
}

/// Asks to delete an entry.
pub(super) fn delete_request(sequence: u32, entry: &Entry) -> Vec<u8> {
    request(DELETE, REQUEST | ACK, sequence, entry.family, &entry.name)
}

fn request(kind: u16, flags: u16, sequence: u32, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(MESSAGE + FAMILY + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// The messages of a datagram, each with the number of the request it answers.
pub(super) fn answers(datagram: &[u8]) -> impl Iterator<Item = (u32, Answer)> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(number32(rest.get(0..4)?)).ok()?;
        let message = rest.get(..length).filter(|_| length >= MESSAGE)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number32(message.get(8..12)?), answer(message)))
    })
}

fn answer(message: &[u8]) -> Answer {
    let kind = message.get(4..6).map(number16);
    let body = message.get(MESSAGE..).unwrap_or_default();
    match kind {
        Some(DONE | ERROR) => {
            let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
            Answer::End(code.saturating_neg())
        }
        Some(NEW) => entry(body).map_or(Answer::Other, Answer::Entry),
        _ => Answer::Other,
    }
}

/// A connection; nothing if it belongs to a zone, which is somebody else's.
fn entry(body: &[u8]) -> Option<Entry> {
    let (family, attributes) = (*body.first()?, body.get(FAMILY..)?);
    let (mut original, mut reply, mut name) = (None, None, Vec::new());
    let mut expected = false;
    for (kind, whole, value) in each(attributes) {
        match kind {
            ORIGINAL => original = Some(direction(value)?),
            REPLY => reply = Some(direction(value)?),
            ZONE => return None,
            MASTER => expected = true,
            ID => {}
            _ => continue,
        }
        if kind == ORIGINAL || kind == ID {
            name.extend(whole);
            name.resize(name.len().next_multiple_of(4), 0);
        }
    }
    let ((original, protocol, icmp), (reply, _, _)) = (original?, reply?);
    Some(Entry { original, reply, protocol, icmp, expected, family, name })
}

/// One direction: both ends, the protocol, type and code.
type Direction = (Ends, u8, Option<(u8, u8)>);

fn direction(attributes: &[u8]) -> Option<Direction> {
    let (mut source, mut destination, mut protocol) = (None, None, None);
    let (mut ports, mut icmp) = ((None, None), (None, None));
    for (kind, _, value) in each(attributes) {
        match kind {
            ADDRESSES => {
                for (kind, _, value) in each(value) {
                    match kind {
                        1 | 3 => source = address(value),
                        2 | 4 => destination = address(value),
                        _ => {}
                    }
                }
            }
            PROTOCOL => {
                for (kind, _, value) in each(value) {
                    match kind {
                        1 => protocol = value.first().copied(),
                        2 => ports.0 = port(value),
                        3 => ports.1 = port(value),
                        5 | 8 => icmp.0 = value.first().copied(),
                        6 | 9 => icmp.1 = value.first().copied(),
                        _ => {}
                    }
                }
            }
            DIRECTION_ZONE => return None,
            _ => {}
        }
    }
    let ends = Ends { source: source?, destination: destination?, ports: ports.0.zip(ports.1) };
    Some((ends, protocol?, icmp.0.zip(icmp.1)))
}

/// Attributes: number, all of it, contents.
fn each(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(number16(rest.get(0..2)?));
        let whole = rest.get(..length).filter(|_| length >= ATTRIBUTE)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number16(whole.get(2..4)?) & KIND, whole, whole.get(ATTRIBUTE..)?))
    })
}

fn number16(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

fn number32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        16 => bytes.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn direction(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
        let addresses = [attribute(1, &source), attribute(2, &destination)].concat();
        let (from, to) = (ports.0.to_be_bytes(), ports.1.to_be_bytes());
        let protocol = [attribute(1, &[6]), attribute(2, &from), attribute(3, &to)].concat();
        [attribute(ADDRESSES, &addresses), attribute(PROTOCOL | 0x8000, &protocol)].concat()
    }

    fn message(more: &[u8]) -> Vec<u8> {
        let there = attribute(ORIGINAL, &direction([10, 0, 0, 1], [10, 96, 0, 1], (4000, 80)));
        let back = attribute(REPLY, &direction([10, 0, 0, 2], [10, 0, 0, 1], (8080, 4000)));
        let id = attribute(ID, &7_u32.to_be_bytes());
        request(NEW, 0, 3, 2, &[&there, &back, &id, more].concat())
    }

    #[test]
    fn entries_are_read_and_named() {
        let mut datagram = message(&[]);
        datagram.extend(request(DONE, 0, 3, 0, &[]));
        let found: Vec<_> = answers(&datagram).collect();
        let [(3, Answer::Entry(entry)), (3, Answer::End(0))] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(entry.original.ports, Some((4000, 80)));
        assert_eq!(
            (entry.reply.source.to_string(), entry.reply.ports),
            ("10.0.0.2".into(), Some((8080, 4000)))
        );
        assert_eq!(entry.protocol, 6);
        let delete = delete_request(9, entry);
        let kinds: Vec<_> = each(&delete[MESSAGE + FAMILY..]).map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [ORIGINAL, ID]);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let datagram = message(&attribute(ZONE, &[0, 1]));
        assert_eq!(answers(&datagram).collect::<Vec<_>>(), [(3, Answer::Other)]);
    }

    #[test]
    fn what_another_connection_brought_about_is_known_as_such() {
        for (more, expected) in [(attribute(MASTER, &[]), true), (Vec::new(), false)] {
            let datagram = message(&more);
            let found: Vec<_> = answers(&datagram).collect();
            let [(3, Answer::Entry(entry))] = &found[..] else { panic!("{found:?}") };
            assert_eq!(entry.expected, expected);
        }
    }

    #[test]
    fn nothing_that_is_cut_off_is_believed() {
        let whole = message(&[]);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            assert_eq!(answers(&cut).count(), 0);
            if length >= MESSAGE {
                cut[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
                assert!(answers(&cut).all(|(_, answer)| answer == Answer::Other || length > 120));
            }
        }
    }
}
