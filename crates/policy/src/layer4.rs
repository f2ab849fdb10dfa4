//! Protocols, ports and address families.

use std::fmt;
use std::net::IpAddr;

use smol_str::SmolStr;
use tortie_model::IntOrString;

/// An IP protocol by number, 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

/// Names of protocols as the API writes them.
const NAMES: [(&str, u8); 6] =
    [("TCP", 6), ("UDP", 17), ("ICMP", 1), ("ICMPv6", 58), ("SCTP", 132), ("UDPLite", 136)];

impl Protocol {
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// ICMP.
    pub const ICMP: Protocol = Protocol(1);
    /// ICMPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// IP in IP, a kind of tunnel.
    pub const IP_IN_IP: Protocol = Protocol(4);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);

    /// The protocol of a name in any case, or of a number 1 to 255.
    pub fn parse(text: &str) -> Option<Protocol> {
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        match named {
            Some((_, number)) => Some(Protocol(*number)),
            None => number(text).filter(|n| *n > 0).map(Protocol),
        }
    }

    /// From the wire: a name, a number, or a number as text.
    pub(crate) fn from_wire(value: &IntOrString) -> Option<Protocol> {
        match value {
            IntOrString::Int(n) => u8::try_from(*n).ok().filter(|n| *n > 0).map(Protocol),
            IntOrString::Text(text) => Protocol::parse(text),
        }
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether the protocol has ports that policy may name: TCP, UDP and SCTP.
    pub fn has_ports(self) -> bool {
        [Protocol::TCP, Protocol::UDP, Protocol::SCTP].contains(&self)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}

/// Address family of a rule or a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// The family of an address.
    pub fn of(address: IpAddr) -> IpVersion {
        if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 }
    }
}

impl fmt::Display for IpVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpVersion::V4 => "IPv4",
            IpVersion::V6 => "IPv6",
        })
    }
}

/// A port criterion: a range of numbers, or the name of a container port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// Numbers from the first to the second, both included.
    Range(u16, u16),
    /// A port of that name on the endpoint.
    Named(SmolStr),
}

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortMatch::Range(first, last) if first == last => write!(f, "{first}"),
            PortMatch::Range(first, last) => write!(f, "{first}:{last}"),
            PortMatch::Named(name) => f.write_str(name),
        }
    }
}

impl PortMatch {
    /// From the wire: `80`, `"80"`, `"80:90"` or a name.
    ///
    /// # Errors
    /// A reason in plain words.
    pub(crate) fn from_wire(value: &IntOrString) -> Result<PortMatch, String> {
        let text = match value {
            IntOrString::Int(n) => return port(&n.to_string()).map(|p| PortMatch::Range(p, p)),
            IntOrString::Text(text) => text,
        };
        if let Some((first, last)) = text.split_once(':') {
            let (first, last) = (port(first)?, port(last)?);
            if first > last {
                return Err(format!("range `{text}` ends before it starts"));
            }
            return Ok(PortMatch::Range(first, last));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return port(text).map(|p| PortMatch::Range(p, p));
        }
        port_name(text).map(PortMatch::Named)
    }
}

/// A number of digits alone: no sign, no blanks.
pub(crate) fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn port(text: &str) -> Result<u16, String> {
    match number(text) {
        Some(port) if port > 0 => Ok(port),
        _ => Err(format!("`{text}` is not a port between 1 and 65535")),
    }
}

/// A Kubernetes port name: up to 15 of `a-z`, `0-9` and `-`, with at least one letter.
fn port_name(text: &str) -> Result<SmolStr, String> {
    let charset = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let shape = !text.starts_with('-') && !text.ends_with('-') && !text.contains("--");
    let letter = text.bytes().any(|b| b.is_ascii_lowercase());
    if text.len() > 15 || !text.bytes().all(charset) || !shape || !letter {
        return Err(format!("`{text}` is neither a port, a range `first:last`, nor a port name"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        for (text, number) in [("TCP", 6), ("tcp", 6), ("icmpv6", 58), ("99", 99), ("6", 6)] {
            assert_eq!(Protocol::parse(text).map(Protocol::number), Some(number), "{text}");
        }
        for text in ["", "0", "256", "-1", "+6", " 6", "tcpp", "6.0"] {
            assert_eq!(Protocol::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ports() {
        let text = |t: &str| PortMatch::from_wire(&IntOrString::Text(t.into()));
        assert_eq!(text("80"), Ok(PortMatch::Range(80, 80)));
        assert_eq!(text("80:90"), Ok(PortMatch::Range(80, 90)));
        assert_eq!(text("http-alt"), Ok(PortMatch::Named("http-alt".into())));
        assert_eq!(PortMatch::from_wire(&IntOrString::Int(1)), Ok(PortMatch::Range(1, 1)));
        for wrong in [
            "", "0", "65536", "90:80", "1:", ":", "Http", "a_b", "-a", "a--b", "80:x", "+80",
            "+1:+2", "1: 2", "1:2:3",
        ] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        for wrong in [0, -1, 65536] {
            assert!(PortMatch::from_wire(&IntOrString::Int(wrong)).is_err(), "{wrong}");
        }
    }
}
