//! What others do to the table, as it happens.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::constants::{EVENTS, generation, message};
use super::decode::{Message, messages};
use super::read::is_ours;
use super::socket::{Socket, errno};

/// Hears of transactions.
///
/// Its descriptor ([`AsFd`]) is readable when [`Events::read`] may have something to say.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    /// Whose transactions are not told.
    own: u32,
    /// Whether the transaction that is being heard of is about the table.
    touched: bool,
}

/// Something that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody else changed something in the table (or made or removed it).
    Touched {
        /// The kernel's generation since then.
        generation: u32,
    },
    /// More happened than the socket could hold: whatever it was, only reading the table tells.
    Lost,
}

impl Events {
    /// Hears, from now on, of all transactions in the network namespace that the calling thread is
    /// in, but for those of the [`Netlink`](super::Netlink) of this port.
    ///
    /// # Errors
    /// If there is no netlink, or for want of CAP_NET_ADMIN.
    pub fn new(own: u32) -> io::Result<Self> {
        let socket = Socket::open()?;
        socket.join(EVENTS)?;
        Ok(Self { socket, own, touched: false })
    }

    /// What was heard, without waiting for it; nothing if all is told. Of several transactions that
    /// are there at once only the last is told.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn read(&mut self) -> io::Result<Option<Event>> {
        let mut event = None;
        loop {
            match self.socket.receive() {
                Ok(Some(datagram)) => {
                    for message in messages(datagram).filter(|message| message.port != self.own) {
                        if let Some(generation) = hear(&message, &mut self.touched) {
                            event = later(event, Event::Touched { generation });
                        }
                    }
                }
                Ok(None) => return Ok(event),
                Err(error) if errno(&error) == Some(Errno::NOBUFS) => event = Some(Event::Lost),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What was lost stays lost.
fn later(before: Option<Event>, event: Event) -> Option<Event> {
    before.filter(|before| *before == Event::Lost).or(Some(event))
}

/// Takes in a message. Returns the generation at the end of a transaction about the table.
fn hear(message: &Message<'_>, touched: &mut bool) -> Option<u32> {
    if message.kind != message::NEW_GENERATION {
        *touched |= is_ours(message);
        return None;
    }
    let generation = message.attributes().u32(generation::ID);
    std::mem::take(touched).then_some(generation).flatten()
}
