//! Sockets by which packets enter a namespace and are seen arriving.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use anyhow::Context;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with, sockopt};

use super::wire;

/// Type of frames that hold IPv4, and IPv6.
const FRAMES: [u16; 2] = [0x0800, 0x86dd];

/// The protocol whose raw sockets send whole packets, header and all.
const RAW: u32 = 255;

fn open(family: AddressFamily, kind: SocketType, protocol: u32) -> anyhow::Result<OwnedFd> {
    let protocol = NonZeroU32::new(protocol).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, kind, flags, protocol)?)
}

/// Sends packets with whatever header they have.
#[derive(Debug)]
pub(super) struct Mouth {
    four: OwnedFd,
    six: OwnedFd,
}

impl Mouth {
    /// One in the namespace this is called in.
    pub(super) fn here() -> anyhow::Result<Mouth> {
        let raw = |family| open(family, SocketType::RAW, RAW);
        Ok(Mouth { four: raw(AddressFamily::INET)?, six: raw(AddressFamily::INET6)? })
    }

    /// Sends a packet. One that is dropped on its way out is like one that is dropped elsewhere.
    pub(super) fn send(&self, to: IpAddr, packet: &[u8]) -> anyhow::Result<()> {
        let socket = if to.is_ipv4() { &self.four } else { &self.six };
        match sendto(socket, packet, SendFlags::empty(), &SocketAddr::new(to, 0)) {
            Ok(_) | Err(Errno::PERM) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("sending to {to}")),
        }
    }
}

/// Hears packets.
#[derive(Debug, Default)]
pub(super) struct Ears {
    sockets: Vec<OwnedFd>,
    /// Those for packets to the host itself, by family and protocol.
    local: BTreeMap<(bool, u8), OwnedFd>,
}

impl Ears {
    /// Ears for everything that comes in over any interface of the namespace this is called in,
    /// before anything there may drop it.
    pub(super) fn on_interfaces() -> anyhow::Result<Ears> {
        let packets = |kind: &u16| {
            let protocol = u32::from(kind.to_be());
            let socket = open(AddressFamily::PACKET, SocketType::RAW, protocol)?;
            roomy(&socket)?;
            Ok(socket)
        };
        let sockets = FRAMES.iter().map(packets).collect::<anyhow::Result<_>>()?;
        Ok(Ears { sockets, local: BTreeMap::new() })
    }

    /// From now on hears packets of a protocol that are let through to the host itself, which is
    /// the namespace this is called in.
    pub(super) fn listen(&mut self, six: bool, protocol: u8) -> anyhow::Result<()> {
        let family = if six { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = open(family, SocketType::RAW, protocol.into())?;
        roomy(&socket)?;
        self.local.insert((six, protocol), socket);
        Ok(())
    }

    /// Whether packets of a protocol to the host itself are heard.
    pub(super) fn listens(&self, six: bool, protocol: u8) -> bool {
        self.local.contains_key(&(six, protocol))
    }

    /// The numbers of our packets that have come in since the last call.
    pub(super) fn heard(&self) -> anyhow::Result<HashSet<u32>> {
        let (mut numbers, mut buffer) = (HashSet::new(), [0_u8; 2048]);
        for socket in self.sockets.iter().chain(self.local.values()) {
            loop {
                match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((count, _)) => {
                        numbers.extend(buffer.get(..count).and_then(wire::number));
                    }
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error).context("listening"),
                }
            }
        }
        Ok(numbers)
    }
}

/// Makes room for a round of packets.
fn roomy(socket: &OwnedFd) -> anyhow::Result<()> {
    Ok(sockopt::set_socket_recv_buffer_size_force(socket, 1 << 20)?)
}
