//! The socket: requests and their answers, in the caller's thread.
//!
//! The kernel does all that a message asks for while it is sent, and has its answers ready when
//! sending returns. So nothing here waits: an answer that is not there was lost.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket as Raw, SocketAddr};
use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};

use super::TABLE;
use super::constants::{INET, TABLE_NAME};
use super::decode::{Message, messages};
use super::encode::{Header, Messages};

/// Bytes that answers may take up until they are read. Only a limit: nothing is reserved. The
/// echoes of a great many rules come at once.
const ANSWERS: usize = 64 << 20;

/// The kernel's datagrams are shorter.
const DATAGRAM: usize = 64 << 10;

/// How often something is tried that failed for want of memory or because of a signal.
const TRIES: usize = 8;

/// A socket of nfnetlink.
#[derive(Debug)]
pub(super) struct Socket {
    raw: Raw,
    port: u32,
    /// Number of the next message.
    sequence: u32,
    /// The last datagram.
    datagram: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut raw = Raw::new(NETLINK_NETFILTER)?;
        let port = raw.bind_auto()?.port_number();
        raw.set_ext_ack(true)?;
        // Errors without the whole message they are about.
        raw.set_cap_ack(true)?;
        enlarge_receive_buffer(&raw)?;
        Ok(Self { raw, port, sequence: 1, datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// The socket's address, by which the kernel says who made a change.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Joins a group of listeners.
    pub(super) fn join(&self, group: u32) -> io::Result<()> {
        self.raw.add_membership(group)
    }

    /// Bytes of answers that the socket holds, the kernel's own bookkeeping included.
    pub(super) fn receive_buffer(&self) -> io::Result<usize> {
        Ok(sockopt::socket_recv_buffer_size(&self.raw)?)
    }

    /// The number of the next message.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Sends messages up to a number in one datagram.
    pub(super) fn send(&mut self, bytes: &[u8], next: u32) -> io::Result<()> {
        self.sequence = next;
        self.enlarge_send_buffer(bytes.len())?;
        for _ in 1..TRIES {
            match self.send_once(bytes) {
                // Nothing was sent.
                Err(error) if matches!(errno(&error), Some(Errno::INTR | Errno::NOBUFS)) => {}
                result => return result,
            }
        }
        self.send_once(bytes)
    }

    fn send_once(&self, bytes: &[u8]) -> io::Result<()> {
        self.raw.send_to(bytes, &SocketAddr::new(0, 0), 0).map(|_| ())
    }

    /// The kernel takes no datagram that is longer than the send buffer.
    fn enlarge_send_buffer(&self, bytes: usize) -> io::Result<()> {
        /// What the kernel keeps back.
        const RESERVE: usize = 64;
        let needed = bytes + RESERVE;
        if sockopt::socket_send_buffer_size(&self.raw)? >= needed {
            return Ok(());
        }
        if sockopt::set_socket_send_buffer_size_force(&self.raw, needed).is_err() {
            sockopt::set_socket_send_buffer_size(&self.raw, needed)?;
        }
        match sockopt::socket_send_buffer_size(&self.raw)? {
            enough if enough >= needed => Ok(()),
            limit => Err(too_big(bytes, limit)),
        }
    }

    /// The next datagram from the kernel, or nothing if there is none.
    pub(super) fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        let flags = (RecvFlags::DONTWAIT | RecvFlags::TRUNC).bits().cast_signed();
        loop {
            self.datagram.clear();
            match self.raw.recv_from(&mut self.datagram, flags) {
                Ok((length, _)) if length > self.datagram.len() => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a datagram is cut off",
                    ));
                }
                // Only the kernel is believed.
                Ok((_, from)) if from.port_number() != 0 => {}
                Ok(_) => return Ok(Some(&self.datagram)),
                Err(error) => match errno(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::AGAIN) => return Ok(None),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Asks for one thing in the table. `each` gets the answers.
    pub(super) fn get(
        &mut self,
        kind: u16,
        fill: impl FnOnce(&mut Messages),
        each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.request(kind, NLM_F_ACK, fill, each)
    }

    /// Asks for all things of a kind. `each` gets them.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] if something changed meanwhile.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        fill: impl FnOnce(&mut Messages),
        each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.request(kind, NLM_F_DUMP, fill, each)
    }

    fn request(
        &mut self,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Messages),
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        let sequence = self.sequence;
        let header = Header { kind, flags, sequence, family: INET, resource: 0 };
        let mut request = Messages::default();
        request.message(header, |body| {
            body.text(TABLE_NAME, TABLE);
            fill(body);
        });
        self.send(request.bytes(), sequence.wrapping_add(1))?;
        let mut interrupted = false;
        while let Some(datagram) = self.receive()? {
            for message in messages(datagram).filter(|message| message.sequence == sequence) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        message.result().map_err(|refusal| refusal.error)?;
                        return if interrupted { Err(Errno::INTR.into()) } else { Ok(()) };
                    }
                    _ => each(&message),
                }
            }
        }
        Err(lost())
    }
}

impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

/// Without the privilege, as much as everybody may have.
fn enlarge_receive_buffer(raw: &Raw) -> io::Result<()> {
    if sockopt::set_socket_recv_buffer_size_force(raw, ANSWERS).is_err() {
        sockopt::set_socket_recv_buffer_size(raw, ANSWERS)?;
    }
    Ok(())
}

/// The system's number of an error.
pub(super) fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// What is said of answers that are not there.
pub(super) fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the kernel's answer was lost")
}

fn too_big(bytes: usize, limit: usize) -> io::Error {
    let reason = format!(
        "a batch of {bytes} bytes does not fit the socket, which takes {limit}; more needs \
         CAP_NET_ADMIN in the first user namespace, or a greater net.core.wmem_max"
    );
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
