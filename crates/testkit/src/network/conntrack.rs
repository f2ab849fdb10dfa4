//! Forgetting connections, so that every probe is a first packet.

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Context, ensure};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use rustix::net::{recv, send, socket_with};

/// A request to delete all entries (`IPCTNL_MSG_CT_DELETE` of `NFNL_SUBSYS_CTNETLINK`), with an
/// answer: header of netlink and of nfnetlink, in the byte order of this machine.
fn request() -> Vec<u8> {
    let (length, kind, flags) = (20_u32, (1_u16 << 8) | 2, 5_u16);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 12]);
    bytes
}

/// The connections of one namespace.
#[derive(Debug)]
pub(super) struct Conntrack {
    socket: OwnedFd,
}

impl Conntrack {
    /// Those of the namespace this is called in.
    pub(super) fn here() -> anyhow::Result<Conntrack> {
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::NETFILTER))?;
        Ok(Conntrack { socket })
    }

    /// Forgets all.
    pub(super) fn flush(&self) -> anyhow::Result<()> {
        send(&self.socket, &request(), SendFlags::empty()).context("ctnetlink")?;
        let mut answer = [0_u8; 256];
        let (count, _) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
        let code = code.map(i32::from_ne_bytes).filter(|_| count >= 20);
        let code = code.context("ctnetlink: a short answer")?;
        ensure!(code == 0, "ctnetlink: {}", io::Error::from_raw_os_error(-code));
        Ok(())
    }
}
