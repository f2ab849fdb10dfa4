//! IP sets: addresses, nets, or addresses with ports, under an id.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_policy::Protocol;

/// Name of an IP set; equal criteria have equal ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub SmolStr);

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the members of an IP set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Nets; a single address is a net of full length.
    Net,
    /// Addresses with protocol and port: a named port, or what is behind a Service.
    AddressPort,
}

/// One member of an IP set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// A net, without host bits.
    Net(IpNet),
    /// An address with protocol and port.
    AddressPort(IpAddr, Protocol, u16),
}

impl Member {
    /// The kind of set it can be in.
    pub fn kind(&self) -> SetKind {
        match self {
            Member::Net(_) => SetKind::Net,
            Member::AddressPort(..) => SetKind::AddressPort,
        }
    }
}

/// As on the wire: `10.0.0.0/8`, or `10.0.0.1,tcp:80`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Net(net) => net.fmt(f),
            Member::AddressPort(address, protocol, port) => {
                write!(f, "{address},{}:{port}", wire_protocol(*protocol))
            }
        }
    }
}

/// A protocol in lower case, by number where it has no name.
fn wire_protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::TCP => "tcp".to_owned(),
        Protocol::UDP => "udp".to_owned(),
        Protocol::SCTP => "sctp".to_owned(),
        other => other.number().to_string(),
    }
}
