//! What holds a pod's network, host name and IPC while its containers come and go.

use std::io::{Read, Write};

use crate::Error;
use crate::error::At;
use crate::net::sysctl;

/// Prepares the namespaces of this process, says so in one line, and stays until standard input
/// is closed.
pub(crate) fn run(hostname: &str) -> Result<(), Error> {
    // The kernel's limit; only a pod with an unusually long name ever shows a shortened one.
    let short = hostname.as_bytes().get(..64).unwrap_or(hostname.as_bytes());
    rustix::system::sethostname(short).at("set", "host name")?;
    sysctl::pod()?;
    let mut out = std::io::stdout();
    out.write_all(b"ready\n").and_then(|()| out.flush()).at("write", "standard output")?;
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).at("read", "standard input").map(drop)
}
