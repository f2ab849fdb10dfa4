//! Hears of what others do to the table.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tortie_nft::Events;

/// Listens for ever; `tell` is called when somebody else has changed the table, or may have.
///
/// # Errors
/// If the socket fails: then changes are found only by looking.
pub async fn listen(mut events: Events, tell: impl Fn()) -> io::Result<()> {
    let socket: OwnedFd = events.as_fd().try_clone_to_owned()?;
    #[allow(
        deprecated,
        reason = "its successor is unsafe for types that lie about their descriptor; this does not"
    )]
    let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
    loop {
        let mut ready = socket.readable().await?;
        if events.read()?.is_some() {
            tell();
        }
        ready.clear_ready();
        // What came in between is not told again.
        if events.read()?.is_some() {
            tell();
        }
    }
}
