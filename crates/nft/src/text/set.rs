//! Named sets and maps as text.

use std::fmt;

use crate::{Element, Family, SetKind};

use super::rule::Name;

/// What stands at the head of a set.
pub(super) struct Head(pub(super) SetKind);

impl Head {
    /// A dispatch map is a `map`, anything else a `set`.
    pub(super) fn keyword(&self) -> &'static str {
        if self.0 == SetKind::Dispatch { "map" } else { "set" }
    }

    /// Type and flags, with something between them.
    pub(super) fn lines(&self, between: &str) -> String {
        let key = match self.0 {
            SetKind::Address(family) | SetKind::Net(family) => address(family).to_owned(),
            SetKind::AddressPort(family) => {
                format!("{} . inet_proto . inet_service", address(family))
            }
            SetKind::InterfaceAddress(family) | SetKind::InterfaceNet(family) => {
                format!("ifname . {}", address(family))
            }
            SetKind::Dispatch => "ifname : verdict".to_owned(),
        };
        match self.0 {
            SetKind::Net(_) | SetKind::InterfaceNet(_) => {
                format!("type {key}{between}flags interval")
            }
            _ => format!("type {key}"),
        }
    }
}

fn address(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

/// Elements in order.
pub(super) struct Elements(Vec<Element>);

impl Elements {
    /// Sorts them.
    pub(super) fn sorted(elements: impl IntoIterator<Item = Element>) -> Self {
        let mut elements: Vec<_> = elements.into_iter().collect();
        elements.sort_unstable();
        Self(elements)
    }

    /// All of them, with something between.
    pub(super) fn lines(&self, between: &str) -> String {
        let texts: Vec<_> = self.0.iter().map(|element| One(element).to_string()).collect();
        texts.join(between)
    }
}

struct One<'a>(&'a Element);

impl fmt::Display for One<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Element::Net(net) if net.prefix_len() == net.max_prefix_len() => {
                write!(f, "{}", net.addr())
            }
            Element::Net(net) => write!(f, "{net}"),
            Element::AddressPort(address, protocol, port) => {
                write!(f, "{address} . {protocol} . {port}")
            }
            Element::InterfaceNet(name, net) => {
                write!(f, "{} . {}", Name::exact(name), One(&Element::Net(*net)))
            }
            Element::Dispatch(name, chain) => write!(f, "{} : goto {chain}", Name::exact(name)),
        }
    }
}
