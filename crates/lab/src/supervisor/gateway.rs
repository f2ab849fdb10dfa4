//! The way in from outside: connections to the host's port go on to the ingress gateway.
//!
//! The listener was opened outside of the lab and handed in, so the host's network stays as it
//! was.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::Error;
use crate::error::At;

/// How long to wait when connections cannot be taken, for want of descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);

/// The listener that is this process's standard input.
pub(crate) fn listener() -> Result<TcpListener, Error> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned().at("open", "standard input")?;
    let listener = std::net::TcpListener::from(fd);
    let ready = listener.set_nonblocking(true);
    ready.and_then(|()| TcpListener::from_std(listener)).at("open", "standard input")
}

/// Carries connections to an address inside the lab, as long as there is one.
pub(crate) async fn forward(listener: TcpListener, to: impl Fn() -> Option<SocketAddr>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                if let Some(to) = to() {
                    tokio::spawn(carry(client, to));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the ingress gateway takes no connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// A gateway that does not answer shows to the client as a closed connection.
async fn carry(mut client: TcpStream, to: SocketAddr) {
    if let Ok(mut gateway) = TcpStream::connect(to).await {
        let _ = copy_bidirectional(&mut client, &mut gateway).await;
    }
}
