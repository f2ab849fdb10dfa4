//! What is in a set or map.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::SmolStr;

use crate::Element;

/// Elements, none twice. There may be millions, most of them bare addresses, so each kind takes no more
/// room than it needs; a set has elements of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    nets: HashSet<IpNet>,
    ports: HashSet<(IpAddr, u8, u16)>,
    interfaces: HashSet<(SmolStr, IpNet)>,
    dispatch: HashSet<(SmolStr, SmolStr)>,
}

impl Members {
    /// Puts one in. Says whether it was not there.
    pub fn insert(&mut self, element: Element) -> bool {
        match element {
            Element::Net(net) => self.nets.insert(net),
            Element::AddressPort(address, protocol, port) => {
                self.ports.insert((address, protocol, port))
            }
            Element::InterfaceNet(name, net) => self.interfaces.insert((name, net)),
            Element::Dispatch(name, chain) => self.dispatch.insert((name, chain)),
        }
    }

    /// Takes one out. Says whether it was there.
    pub fn remove(&mut self, element: &Element) -> bool {
        match element.clone() {
            Element::Net(net) => self.nets.remove(&net),
            Element::AddressPort(address, protocol, port) => {
                self.ports.remove(&(address, protocol, port))
            }
            Element::InterfaceNet(name, net) => self.interfaces.remove(&(name, net)),
            Element::Dispatch(name, chain) => self.dispatch.remove(&(name, chain)),
        }
    }

    /// Whether one is there.
    pub fn contains(&self, element: &Element) -> bool {
        match element.clone() {
            Element::Net(net) => self.nets.contains(&net),
            Element::AddressPort(address, protocol, port) => {
                self.ports.contains(&(address, protocol, port))
            }
            Element::InterfaceNet(name, net) => self.interfaces.contains(&(name, net)),
            Element::Dispatch(name, chain) => self.dispatch.contains(&(name, chain)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nets.len() + self.ports.len() + self.interfaces.len() + self.dispatch.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Element> + '_ {
        let nets = self.nets.iter().map(|net| Element::Net(*net));
        let ports = self.ports.iter();
        let ports =
            ports.map(|(address, number, port)| Element::AddressPort(*address, *number, *port));
        let interfaces = self.interfaces.iter();
        let interfaces = interfaces.map(|(name, net)| Element::InterfaceNet(name.clone(), *net));
        let dispatch = self.dispatch.iter();
        let dispatch = dispatch.map(|(name, to)| Element::Dispatch(name.clone(), to.clone()));
        nets.chain(ports).chain(interfaces).chain(dispatch)
    }

    /// Those that another has not.
    pub fn difference<'a>(&'a self, other: &'a Members) -> impl Iterator<Item = Element> + 'a {
        self.iter().filter(|element| !other.contains(element))
    }
}

impl Extend<Element> for Members {
    fn extend<T: IntoIterator<Item = Element>>(&mut self, elements: T) {
        for element in elements {
            self.insert(element);
        }
    }
}

impl FromIterator<Element> for Members {
    fn from_iter<T: IntoIterator<Item = Element>>(elements: T) -> Self {
        let mut members = Members::default();
        members.extend(elements);
        members
    }
}

impl<const N: usize> From<[Element; N]> for Members {
    fn from(elements: [Element; N]) -> Self {
        elements.into_iter().collect()
    }
}
