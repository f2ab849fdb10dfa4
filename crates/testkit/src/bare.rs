//! The floor for benchmarks of the kernel's tables: messages made beforehand, sent and acknowledged.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{netlink, recv, send, socket_with};

/// `NFT_MSG_NEWSETELEM` and `NFT_MSG_DELSETELEM`, in the subsystem of tables.
const KINDS: [u16; 2] = [0xa0c, 0xa0e];

/// A socket that sends bare messages about members of one set of IPv4 addresses.
#[derive(Debug)]
pub struct Bare {
    socket: OwnedFd,
    table: &'static str,
    set: &'static str,
}

impl Bare {
    /// About a set of a table `inet`, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If there is no netlink.
    pub fn new(table: &'static str, set: &'static str) -> io::Result<Bare> {
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::NETFILTER))?;
        Ok(Bare { socket, table, set })
    }

    /// The batch by which an address joins the set, or leaves it. In an interval set it is two
    /// elements.
    pub fn member(&self, address: Ipv4Addr, interval: bool, joins: bool) -> Vec<u8> {
        let text = |kind, text: &str| attribute(kind, format!("{text}\0").as_bytes());
        let key = |address: Ipv4Addr| nested(1, &attribute(1, &address.octets()));
        let mut list = nested(1, &key(address));
        if interval {
            let end = Ipv4Addr::from_bits(address.to_bits().wrapping_add(1));
            list.extend(nested(1, &[attribute(3, &[0, 0, 0, 1]), key(end)].concat()));
        }
        let body = [text(1, self.table), text(2, self.set), nested(3, &list)].concat();
        let [add, delete] = KINDS;
        // NLM_F_REQUEST and NLM_F_ACK, and NLM_F_CREATE for what joins.
        let (kind, flags) = if joins { (add, 0x405) } else { (delete, 5) };
        [
            message(0x10, 1, 0, 10, &[]),
            message(kind, flags, 1, 0, &body),
            message(0x11, 1, 0, 10, &[]),
        ]
        .concat()
    }

    /// Sends a batch and waits until it is in force.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn send(&self, batch: &[u8]) -> io::Result<()> {
        send(&self.socket, batch, SendFlags::empty())?;
        let mut answer = [0_u8; 4096];
        recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        match answer.get(16..20) {
            Some([0, 0, 0, 0]) => Ok(()),
            _ => Err(io::Error::other("the kernel refused a bare message")),
        }
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | 0x8000, value)
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 20).unwrap_or(u32::MAX);
    let numbers = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes()].concat();
    [&numbers[..], &[0; 8], &[family, 0], &resource.to_be_bytes(), body].concat()
}
