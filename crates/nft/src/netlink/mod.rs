//! The kernel itself, by netlink: batches written, the table read back, changes heard of.
//!
//! One datagram is one transaction of the kernel's: it holds entirely or not at all. All is written
//! so that nft 1.0.6, Debian 12's, prints it as it was meant.

mod anonymous;
mod apply;
mod batch;
mod constants;
mod decode;
mod encode;
mod entry;
mod events;
mod expression;
mod found;
#[doc(hidden)]
pub mod fuzz;
mod key;
mod read;
mod set;
mod socket;

use std::collections::HashMap;
use std::io;

use smol_str::SmolStr;

use crate::{ApplyError, Counter, Found, Kernel, Op};

use socket::Socket;

pub use events::{Event, Events};

/// The table's name; its family is `inet`.
const TABLE: &str = "tortie";

/// The kernel of a network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// The kernel of the network namespace that the calling thread is in; it stays that one, whoever
    /// uses it later. Reading and writing need CAP_NET_ADMIN over the namespace.
    ///
    /// # Errors
    /// If there is no netlink.
    pub fn new() -> io::Result<Self> {
        Ok(Self { socket: Socket::open()? })
    }

    /// The address by which events say who made a change.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }
}

impl Kernel for Netlink {
    fn generation(&mut self) -> io::Result<u32> {
        read::generation(&mut self.socket)
    }

    fn apply(&mut self, batch: &[Op]) -> Result<Vec<u64>, ApplyError> {
        apply::apply(&mut self.socket, batch)
    }

    fn read(&mut self) -> io::Result<Option<Found>> {
        read::read(&mut self.socket)
    }

    fn counters(&mut self) -> io::Result<HashMap<(SmolStr, u64), Counter>> {
        read::counters(&mut self.socket)
    }

    fn chain_counters(&mut self, chain: &SmolStr) -> io::Result<HashMap<u64, Counter>> {
        read::chain_counters(&mut self.socket, chain)
    }
}
