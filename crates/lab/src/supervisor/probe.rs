//! When a container is ready.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::sleep;
use tortie_authz::client::{HealthCheck, health};

/// Between the first two looks, and at most between any two: the kernel tells nobody when a socket
/// starts to listen.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// How long a process must run to count as one that does not end at once.
const LASTING: Duration = Duration::from_millis(250);

/// What must be so for a container to be ready.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// Its process did not end at once.
    Lasts,
    /// These TCP ports accept connections in the network namespace of a process. This is read
    /// from the kernel's tables: nothing connects, so nothing shows in logs or meets a policy.
    Listening {
        /// The process.
        process: u32,
        /// The ports.
        ports: BTreeSet<u16>,
    },
    /// An authorizer on a Unix socket says it has the policy of its workload.
    Authorizer(PathBuf),
    /// An admin interface on a Unix socket, Envoy's or the agent's, says it is ready.
    Ready(PathBuf),
}

impl Probe {
    /// Returns when it is so.
    pub(crate) async fn passed(&self) {
        if matches!(self, Self::Lasts) {
            return sleep(LASTING).await;
        }
        let (mut interval, longest) = INTERVALS;
        while !self.look().await {
            sleep(interval).await;
            interval = longest.min(interval.mul_f32(1.3));
        }
    }

    async fn look(&self) -> bool {
        match self {
            Self::Lasts => true,
            Self::Listening { process, ports } => ports.is_subset(&listening(*process)),
            Self::Authorizer(socket) => {
                health(socket, HealthCheck::Readiness).await.is_ok_and(|report| report.healthy)
            }
            Self::Ready(socket) => says_ready(socket).await.is_ok_and(|ready| ready),
        }
    }
}

async fn says_ready(socket: &PathBuf) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

/// The TCP ports somebody listens on in the network namespace of a process.
fn listening(process: u32) -> BTreeSet<u16> {
    let tables = ["tcp", "tcp6"].map(|name| format!("/proc/{process}/net/{name}"));
    let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    texts.flat_map(|text| text.lines().skip(1).filter_map(listener).collect::<Vec<_>>()).collect()
}

/// The port of a line of `/proc/net/tcp` that shows a listener: state `0A`.
fn listener(line: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    let _peer = fields.next()?;
    (fields.next()? == "0A").then(|| u16::from_str_radix(port, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_a_table() {
        for (line, want) in [
            ("   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:0", Some(3306)),
            ("   1: 00000000000000000000000000000000:0050 00:0 0A 0", Some(80)),
            ("   2: 0100007F:0CEA 0100007F:8000 01 00000000:00000000 00:0", None),
            ("", None),
        ] {
            assert_eq!(listener(line), want, "{line}");
        }
    }

    #[test]
    fn own_listener_is_seen() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(listening(std::process::id()).contains(&port));
    }
}
