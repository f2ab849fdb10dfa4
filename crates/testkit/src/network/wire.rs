//! Packets as they are on the wire: first ones of a flow, and answers to them.

use std::net::IpAddr;

/// Marks the end of a packet of ours, before its number.
const MAGIC: [u8; 4] = [0x7f, b'T', b'R', 0xb1];

/// Protocol numbers that have a form of their own.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// ICMP types that ask, with those that answer.
const ICMP_QUESTIONS: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];
/// The same of ICMPv6.
const ICMPV6_QUESTIONS: [(u8, u8); 2] = [(128, 129), (139, 140)];
/// ICMPv6 of neighbours and multicast listeners, which belongs to no connection.
const ICMPV6_UNTRACKED: [u8; 8] = [130, 131, 132, 133, 134, 135, 136, 143];

/// What tells one packet of a flow from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Sender.
    pub source: IpAddr,
    /// Receiver, of the same family.
    pub destination: IpAddr,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// Source and destination port, in protocols that have any.
    pub ports: (u16, u16),
    /// ICMP type and code.
    pub icmp: (u8, u8),
}

/// What a packet says beyond its addresses.
#[derive(Clone, Copy)]
enum Part {
    First,
    /// The answer to the packet of a number.
    Answer(u32),
}

impl Packet {
    /// Whether a flow may begin with it: connection tracking takes some ICMP types for answers or
    /// errors, and never for a first packet.
    pub fn may_be_first(&self) -> bool {
        let (kind, asks) = (self.icmp.0, self.answer_type().is_some());
        match self.protocol {
            ICMP => asks,
            ICMPV6 => asks || ICMPV6_UNTRACKED.contains(&kind),
            _ => true,
        }
    }

    /// Whether its protocol has ports.
    pub fn has_ports(protocol: u8) -> bool {
        [TCP, UDP, SCTP, UDPLITE].contains(&protocol)
    }

    /// Whether there is an answer to it.
    pub fn has_answer(&self) -> bool {
        match self.protocol {
            ICMP | ICMPV6 => self.answer_type().is_some(),
            _ => true,
        }
    }

    fn answer_type(&self) -> Option<u8> {
        let questions: &[(u8, u8)] = match self.protocol {
            ICMP => &ICMP_QUESTIONS,
            ICMPV6 => &ICMPV6_QUESTIONS,
            _ => &[],
        };
        questions.iter().find(|(question, _)| *question == self.icmp.0).map(|(_, answer)| *answer)
    }

    /// What connection tracking may know it by, whichever way it goes: two packets of one key are
    /// not to be told apart.
    pub(super) fn key(&self) -> (u8, [(IpAddr, u16); 2]) {
        let ports = match self.protocol {
            TCP | UDP | SCTP => self.ports,
            // UDP-Lite may be tracked without its ports. ICMP goes by an identifier of our choice.
            _ => (0, 0),
        };
        let mut ends = [(self.source, ports.0), (self.destination, ports.1)];
        ends.sort_unstable();
        (self.protocol, ends)
    }

    /// The first packet, with a number.
    pub(super) fn first(&self, number: u32) -> Vec<u8> {
        self.with_header(&self.transport(Part::First, number))
    }

    /// What whoever gets the packet of a number answers.
    pub(super) fn answer(&self, to: u32, number: u32) -> Vec<u8> {
        let turned = Packet {
            source: self.destination,
            destination: self.source,
            ports: (self.ports.1, self.ports.0),
            icmp: (self.answer_type().unwrap_or_default(), self.icmp.1),
            ..*self
        };
        turned.with_header(&turned.transport(Part::Answer(to), number))
    }

    fn transport(&self, part: Part, number: u32) -> Vec<u8> {
        let cookie = [MAGIC, number.to_be_bytes()].concat();
        let mut bytes = match self.protocol {
            TCP => self.tcp(part, number),
            UDP | UDPLITE => [self.port_bytes(), vec![0, 16, 0, 0]].concat(),
            ICMP | ICMPV6 => self.icmp(part, number),
            SCTP => self.sctp(part, number),
            _ => Vec::new(),
        };
        bytes.extend(cookie);
        self.put_checksum(&mut bytes);
        bytes
    }

    fn port_bytes(&self) -> Vec<u8> {
        [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat()
    }

    /// SYN, or SYN and ACK.
    fn tcp(&self, part: Part, number: u32) -> Vec<u8> {
        let (acknowledged, flags) = match part {
            Part::First => (0, 0x02),
            Part::Answer(to) => (to.wrapping_add(1), 0x12),
        };
        let mut bytes = self.port_bytes();
        bytes.extend(number.to_be_bytes());
        bytes.extend(u32::to_be_bytes(acknowledged));
        bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes
    }

    /// The identifier is the number of the first packet, so that each is a flow of its own.
    fn icmp(&self, part: Part, number: u32) -> Vec<u8> {
        let asked = match part {
            Part::First => number,
            Part::Answer(to) => to,
        };
        let [_, _, high, low] = asked.to_be_bytes();
        vec![self.icmp.0, self.icmp.1, 0, 0, high, low, 0, 1]
    }

    /// INIT or INIT ACK, whose last parameter, of no known type, is what comes behind.
    fn sctp(&self, part: Part, number: u32) -> Vec<u8> {
        let (tag, chunk) = match part {
            Part::First => (0, 1),
            Part::Answer(to) => (to, 2),
        };
        let mut bytes = self.port_bytes();
        bytes.extend(u32::to_be_bytes(tag));
        bytes.extend([0; 4]);
        bytes.extend([chunk, 0, 0, 32]);
        bytes.extend(number.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 1, 0, 1]);
        bytes.extend(number.to_be_bytes());
        bytes.extend([0xbf, 0xff, 0, 12]);
        bytes
    }

    fn put_checksum(&self, bytes: &mut [u8]) {
        let (at, sum): (usize, Vec<u8>) = match self.protocol {
            TCP => (16, self.checksum(bytes, true)),
            UDP | UDPLITE => (6, self.checksum(bytes, true)),
            ICMP => (2, self.checksum(bytes, false)),
            ICMPV6 => (2, self.checksum(bytes, true)),
            SCTP => (8, crc32c(bytes).to_le_bytes().to_vec()),
            _ => return,
        };
        for (place, byte) in bytes.iter_mut().skip(at).zip(sum) {
            *place = byte;
        }
    }

    /// The checksum of the Internet's protocols, over the ends' addresses, too, if asked for.
    fn checksum(&self, bytes: &[u8], addresses: bool) -> Vec<u8> {
        let mut pseudo = Vec::new();
        if addresses {
            pseudo.extend(octets(self.source));
            pseudo.extend(octets(self.destination));
            pseudo.extend([0, self.protocol]);
            pseudo.extend(length(bytes));
        }
        let sum = |bytes: &[u8]| -> u32 {
            let pairs = bytes.chunks(2);
            pairs
                .map(|p| p.iter().fold(0, |n, b| n << 8 | u32::from(*b)) << (8 * (2 - p.len())))
                .sum()
        };
        let mut total = sum(&pseudo) + sum(bytes);
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        let [_, _, high, low] = (0xffff - total).to_be_bytes();
        // In UDP none at all would be told by zero.
        if (high, low) == (0, 0) { vec![0xff, 0xff] } else { vec![high, low] }
    }

    fn with_header(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = match self.source {
            // The kernel fills in the length and the checksum.
            IpAddr::V4(_) => vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, self.protocol, 0, 0],
            IpAddr::V6(_) => {
                let [high, low] = length(payload);
                vec![0x60, 0, 0, 0, high, low, self.protocol, 64]
            }
        };
        bytes.extend(octets(self.source));
        bytes.extend(octets(self.destination));
        bytes.extend(payload);
        bytes
    }
}

/// The number of a packet that was seen, if it is one of ours.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    let (rest, number) = bytes.split_last_chunk::<4>()?;
    let (_, magic) = rest.split_last_chunk::<4>()?;
    (*magic == MAGIC).then(|| u32::from_be_bytes(*number))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// The checksum of SCTP.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8) -> Packet {
        let source = "10.0.0.1".parse().unwrap();
        let destination = "10.0.0.2".parse().unwrap();
        Packet { source, destination, protocol, ports: (1, 2), icmp: (8, 0) }
    }

    #[test]
    fn checksums_are_those_of_the_standards() {
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // With its checksum in place, a message sums up to nothing.
        for protocol in [TCP, UDP] {
            let packet = packet(protocol);
            let transport = packet.transport(Part::First, 7);
            assert_eq!(packet.checksum(&transport, true), [0xff, 0xff], "{protocol}");
        }
    }

    #[test]
    fn packets_are_found_by_their_number() {
        for protocol in [ICMP, TCP, UDP, SCTP, UDPLITE, 99] {
            let packet = packet(protocol);
            assert_eq!(number(&packet.first(7)), Some(7));
            assert_eq!(number(&packet.answer(7, 8)), Some(8));
        }
        assert_eq!(number(b"somebody else's"), None);
    }

    #[test]
    fn both_ways_have_one_key() {
        let packet = packet(TCP);
        let (source, destination) = (packet.destination, packet.source);
        let back = Packet { source, destination, ports: (2, 1), ..packet };
        assert_eq!(packet.key(), back.key());
        assert_ne!(packet.key(), Packet { ports: (2, 1), ..packet }.key());
    }
}
