//! Envoy's question as policy needs it: a view into the decoded message, nothing copied.
//!
//! Nothing here fails. What is absent or unreadable stays visible as such ([`Place`]) and is
//! unknown to every criterion that would need it.

use std::fmt;
use std::net::IpAddr;

use crate::text::Shown;
use crate::wire;
use tortie_policy::{Address, Protocol};

/// One request, or one connection.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The downstream end.
    pub source: End<'a>,
    /// The guarded workload.
    pub destination: End<'a>,
    /// Transport protocol; none if Envoy named one that we do not know.
    pub protocol: Option<Protocol>,
    /// The HTTP request; none for a connection.
    pub http: Option<Http<'a>>,
    /// The whole message, for what is looked up now and then.
    pub(crate) message: &'a [u8],
}

/// An HTTP request: what policy asks for, and the id by which logs are told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http<'a> {
    /// Envoy's stream id, unique within one Envoy.
    pub id: &'a str,
    /// The method, in the case the client wrote.
    pub method: &'a str,
    /// The request target with its query string.
    pub path: &'a str,
    /// Whether it may have headers of our own prefix.
    pub(crate) ours: bool,
}

impl<'a> Http<'a> {
    /// A request without headers of our own prefix.
    #[must_use]
    pub fn new(id: &'a str, method: &'a str, path: &'a str) -> Self {
        Self { id, method, path, ours: false }
    }
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

impl<'a> Call<'a> {
    /// The context extension of a name: what the listener's configuration says of itself.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&'a str> {
        wire::extension(self.message, name)
    }

    /// Calls `name` with the names of the request's headers that start with `prefix`.
    pub fn header_names(&self, prefix: &str, name: impl FnMut(&'a str)) {
        wire::header_names(self.message, prefix, name);
    }
}

impl<'a> Place<'a> {
    /// Where a socket address is. Port 0 is what a message without a port decodes to, so it says
    /// nothing.
    pub(crate) fn socket(address: &'a str, port: Option<u64>) -> Self {
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        match address.parse::<IpAddr>() {
            Ok(ip) => Place::Ip(ip.to_canonical(), port),
            Err(_) => Place::Unreadable(address),
        }
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
    use prost::Message;
    use tortie_proto::ext_authz::attribute_context::Peer;
    use tortie_proto::ext_authz::core::address::Address as Kinds;
    use tortie_proto::ext_authz::core::socket_address::PortSpecifier;
    use tortie_proto::ext_authz::core::{self, Pipe, SocketAddress};
    use tortie_proto::ext_authz::{AttributeContext, CheckRequest};

    fn socket(address: &str, port: Option<PortSpecifier>) -> Kinds {
        let address = address.to_owned();
        Kinds::SocketAddress(SocketAddress { protocol: 0, address, port_specifier: port })
    }

    /// A message whose destination is at an address.
    fn message(address: Kinds) -> Vec<u8> {
        let address = Some(core::Address { address: Some(address) });
        let destination = Some(Peer { address, principal: String::new() });
        let attributes = Some(AttributeContext { destination, ..Default::default() });
        CheckRequest { attributes }.encode_to_vec()
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
            let message = message(address);
            let place = wire::read(&message).unwrap().destination.place;
            assert_eq!(place.to_string(), shown);
            let address = Address::from(place);
            assert_eq!((address.ip.is_some(), address.port), known, "{shown}");
        }
    }

    #[test]
    fn an_empty_message_is_a_call_of_which_nothing_is_known() {
        let call = wire::read(&[]).unwrap();
        assert_eq!((call.source.place, call.source.principal), (Place::Absent, ""));
        assert_eq!((call.destination.place, call.destination.principal), (Place::Absent, ""));
        assert_eq!(call.source.place.to_string(), "absent");
        assert_eq!(call.protocol, Some(Protocol::TCP));
        assert!(call.http.is_none());
    }

    #[test]
    fn protocols() {
        let of = |protocol| {
            let socket = SocketAddress { protocol, ..Default::default() };
            wire::read(&message(Kinds::SocketAddress(socket))).unwrap().protocol
        };
        assert_eq!(of(0), Some(Protocol::TCP));
        assert_eq!(of(1), Some(Protocol::UDP));
        assert_eq!(of(7), None);
        assert_eq!(of(-1), None);
    }
}
