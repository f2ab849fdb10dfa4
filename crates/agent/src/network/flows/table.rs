//! The tracking table of the network namespace.
//!
//! The kernel has its answers ready when a request has been sent, or when the one before has been
//! read: nothing here waits.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::wire::{Answer, Entry, answers, delete_request, dump_request};

/// More than the kernel's datagrams are long.
const DATAGRAM: usize = 64 << 10;

/// Speaks to connection tracking.
#[derive(Debug)]
pub(super) struct Table {
    socket: Socket,
    sequence: u32,
}

impl Table {
    /// For the network namespace of the calling thread.
    ///
    /// # Errors
    /// If there is no netlink.
    pub(super) fn open() -> io::Result<Table> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        Ok(Table { socket, sequence: 0 })
    }

    /// Reads all entries.
    ///
    /// # Errors
    /// If the kernel does not answer in full.
    pub(super) fn each(&mut self, each: impl FnMut(Entry)) -> io::Result<()> {
        let sequence = self.send(dump_request)?;
        self.receive(sequence, each)
    }

    /// Deletes an entry; whether it was still there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn delete(&mut self, entry: &Entry) -> io::Result<bool> {
        let sequence = self.send(|sequence| delete_request(sequence, entry))?;
        match self.receive(sequence, drop) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, request: impl FnOnce(u32) -> Vec<u8>) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send_to(&request(self.sequence), &SocketAddr::new(0, 0), 0)?;
        Ok(self.sequence)
    }

    fn receive(&self, sequence: u32, mut each: impl FnMut(Entry)) -> io::Result<()> {
        let flags = RecvFlags::DONTWAIT.bits().cast_signed();
        let mut datagram = Vec::with_capacity(DATAGRAM);
        loop {
            datagram.clear();
            let (_, from) = self.socket.recv_from(&mut datagram, flags)?;
            if from.port_number() != 0 {
                continue;
            }
            for (of, answer) in answers(&datagram) {
                match answer {
                    _ if of != sequence => {}
                    Answer::Entry(entry) => each(entry),
                    Answer::Other => {}
                    Answer::End(0) => return Ok(()),
                    Answer::End(error) => return Err(io::Error::from_raw_os_error(error)),
                }
            }
        }
    }
}
