//! One agent for each network namespace.
//!
//! Two would undo each other's work without end. The lock is an abstract Unix socket: it belongs to
//! the network namespace as the table does, and vanishes with the process however that ends.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Name of the socket.
const NAME: &str = "tortie-agent/nft";

/// Held by the agent that programs the namespace's table.
#[derive(Debug)]
pub struct Lock {
    _socket: UnixListener,
}

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error(
        "another agent programs this network namespace\nhint: end it first \
         (`ss -xlp | grep {NAME}` shows it), or choose `--dataplane none` here"
    )]
    Held,
    /// The system refused.
    #[error("cannot make the socket `@{NAME}`: {0}")]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of this network namespace.
    ///
    /// # Errors
    /// If another process has it.
    pub fn take() -> Result<Lock, LockError> {
        let address = SocketAddr::from_abstract_name(NAME)?;
        match UnixListener::bind_addr(&address) {
            Ok(socket) => Ok(Lock { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Held),
            Err(error) => Err(error.into()),
        }
    }
}
