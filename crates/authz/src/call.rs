//! Envoy's question as policy needs it: a view into the decoded message, nothing copied.
//!
//! Nothing here fails. What is absent or unreadable stays visible as such ([`Place`]) and is
//! unknown to every criterion that would need it.

use std::fmt;
use std::net::IpAddr;

use tortie_policy::{Address, Protocol};
use tortie_proto::ext_authz::CheckRequest;
use tortie_proto::ext_authz::attribute_context::{HttpRequest, Peer};
use tortie_proto::ext_authz::core::SocketAddress;
use tortie_proto::ext_authz::core::address::Address as Kinds;
use tortie_proto::ext_authz::core::socket_address::{PortSpecifier, Protocol as WireProtocol};

use crate::text::Shown;

/// One request, or one connection.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The downstream end.
    pub source: End<'a>,
    /// The guarded workload.
    pub destination: End<'a>,
    /// Transport protocol; none if Envoy named one that we do not know.
    pub protocol: Option<Protocol>,
    /// The HTTP request; none for a connection.
    pub http: Option<&'a HttpRequest>,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Where it is.
    pub place: Place<'a>,
    /// Who its certificate says it is; empty without one.
    pub principal: &'a str,
}

/// A transport address as Envoy wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Not given.
    Absent,
    /// A Unix domain socket.
    Pipe,
    /// Given, but not an IP address.
    Unreadable(&'a str),
    /// An IP address, and its port if that is given as a number.
    Ip(IpAddr, Option<u16>),
}

impl<'a> From<&'a CheckRequest> for Call<'a> {
    fn from(request: &'a CheckRequest) -> Self {
        let attributes = request.attributes.as_ref();
        let destination = attributes.and_then(|a| a.destination.as_ref());
        Call {
            source: End::from(attributes.and_then(|a| a.source.as_ref())),
            destination: End::from(destination),
            protocol: protocol(destination.and_then(socket_address)),
            http: attributes.and_then(|a| a.request.as_ref()).and_then(|r| r.http.as_ref()),
        }
    }
}

/// The destination's protocol. Absent, it is TCP, which is what Envoy's filters stand on.
fn protocol(socket: Option<&SocketAddress>) -> Option<Protocol> {
    match socket.map(|s| WireProtocol::try_from(s.protocol)) {
        None | Some(Ok(WireProtocol::Tcp)) => Some(Protocol::TCP),
        Some(Ok(WireProtocol::Udp)) => Some(Protocol::UDP),
        Some(Err(_)) => None,
    }
}

fn socket_address(peer: &Peer) -> Option<&SocketAddress> {
    match peer.address.as_ref()?.address.as_ref()? {
        Kinds::SocketAddress(socket) => Some(socket),
        Kinds::Pipe(_) => None,
    }
}

impl<'a> From<Option<&'a Peer>> for End<'a> {
    fn from(peer: Option<&'a Peer>) -> Self {
        let address = peer.and_then(|p| p.address.as_ref()).and_then(|a| a.address.as_ref());
        End {
            place: Place::from(address),
            principal: peer.map(|p| p.principal.as_str()).unwrap_or_default(),
        }
    }
}

impl<'a> From<Option<&'a Kinds>> for Place<'a> {
    fn from(address: Option<&'a Kinds>) -> Self {
        let socket = match address {
            None => return Place::Absent,
            Some(Kinds::Pipe(_)) => return Place::Pipe,
            Some(Kinds::SocketAddress(socket)) => socket,
        };
        match socket.address.parse::<IpAddr>() {
            Ok(ip) => Place::Ip(ip.to_canonical(), port(socket.port_specifier.as_ref())),
            Err(_) => Place::Unreadable(&socket.address),
        }
    }
}

/// Port 0 is what a message without a port decodes to, so it says nothing.
fn port(port: Option<&PortSpecifier>) -> Option<u16> {
    match port {
        Some(PortSpecifier::PortValue(number)) => u16::try_from(*number).ok().filter(|n| *n > 0),
        Some(PortSpecifier::NamedPort(_)) | None => None,
    }
}

impl From<Place<'_>> for Address {
    fn from(place: Place<'_>) -> Self {
        match place {
            Place::Ip(ip, port) => Address { ip: Some(ip), port },
            Place::Absent | Place::Pipe | Place::Unreadable(_) => Address::default(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Absent => f.write_str("absent"),
            Place::Pipe => f.write_str("a Unix socket"),
            Place::Unreadable(text) => write!(f, "unreadable: {}", Shown::word(text)),
            Place::Ip(IpAddr::V4(ip), Some(port)) => write!(f, "{ip}:{port}"),
            Place::Ip(IpAddr::V6(ip), Some(port)) => write!(f, "[{ip}]:{port}"),
            Place::Ip(ip, None) => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_proto::ext_authz::core::Pipe;

    fn socket(address: &str, port: Option<PortSpecifier>) -> Kinds {
        let address = address.to_owned();
        Kinds::SocketAddress(SocketAddress { protocol: 0, address, port_specifier: port })
    }

    #[test]
    fn places() {
        let number = |n| Some(PortSpecifier::PortValue(n));
        let named = Some(PortSpecifier::NamedPort("http".into()));
        for (address, shown, known) in [
            (socket("10.0.0.5", number(80)), "10.0.0.5:80", (true, Some(80))),
            (socket("fd00::5", number(80)), "[fd00::5]:80", (true, Some(80))),
            (socket("::ffff:10.0.0.5", number(80)), "10.0.0.5:80", (true, Some(80))),
            (socket("10.0.0.5", None), "10.0.0.5", (true, None)),
            (socket("10.0.0.5", number(0)), "10.0.0.5", (true, None)),
            (socket("10.0.0.5", number(65536)), "10.0.0.5", (true, None)),
            (socket("10.0.0.5", named), "10.0.0.5", (true, None)),
            (socket("", number(80)), "unreadable: ", (false, None)),
            (socket("10.0.0.5/8", number(80)), "unreadable: 10.0.0.5/8", (false, None)),
            (socket("010.0.0.5", None), "unreadable: 010.0.0.5", (false, None)),
            (socket("fe80::1%eth0", None), "unreadable: fe80::1%eth0", (false, None)),
            (socket("a\nb", None), r"unreadable: a\nb", (false, None)),
            (Kinds::Pipe(Pipe { path: "/secret".into() }), "a Unix socket", (false, None)),
        ] {
            let place = Place::from(Some(&address));
            assert_eq!(place.to_string(), shown);
            let address = Address::from(place);
            assert_eq!((address.ip.is_some(), address.port), known, "{shown}");
        }
        assert_eq!(Place::from(None::<&Kinds>).to_string(), "absent");
    }

    #[test]
    fn an_empty_message_is_a_call_of_which_nothing_is_known() {
        let request = CheckRequest::default();
        let call = Call::from(&request);
        assert_eq!((call.source.place, call.source.principal), (Place::Absent, ""));
        assert_eq!((call.destination.place, call.destination.principal), (Place::Absent, ""));
        assert_eq!(call.protocol, Some(Protocol::TCP));
        assert!(call.http.is_none());
    }

    #[test]
    fn protocols() {
        let of = |protocol| protocol_of(SocketAddress { protocol, ..Default::default() });
        assert_eq!(of(0), Some(Protocol::TCP));
        assert_eq!(of(1), Some(Protocol::UDP));
        assert_eq!(of(7), None);
        assert_eq!(of(-1), None);
    }

    fn protocol_of(socket: SocketAddress) -> Option<Protocol> {
        protocol(Some(&socket))
    }
}
