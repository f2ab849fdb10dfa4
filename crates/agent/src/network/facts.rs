//! What interfaces the node has, and where they lead, as the kernel tells it (rtnetlink).
//!
//! Events are applied to what was read at the start; when some were lost everything is read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use smol_str::SmolStr;
use tokio::time::{Instant, sleep, sleep_until};

/// What is listened for.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];
/// The first change of a burst is told at once, further ones this much later, together.
const PAUSE: Duration = Duration::from_millis(10);
/// After an error, until everything is read again.
const RETRY: Duration = Duration::from_secs(1);

/// The node's interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// All interfaces by name, with their own addresses.
    pub links: BTreeMap<SmolStr, BTreeSet<IpAddr>>,
    /// Those that are bridges.
    pub bridges: BTreeSet<SmolStr>,
    /// Bridges with a port that leads to neither a namespace nor a virtual machine of this host.
    pub trunks: BTreeSet<SmolStr>,
    /// The interface over which a single address is reached, of the main table, without a gateway.
    pub routes: BTreeMap<IpAddr, SmolStr>,
    /// How nets are reached, of the same table: all its routes but those.
    pub nets: BTreeMap<IpNet, Road>,
}

/// How a net is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Road {
    /// Over which interface.
    pub over: SmolStr,
    /// Whether it is there itself, and not behind a gateway.
    pub direct: bool,
}

impl Facts {
    /// The narrowest net with an address.
    pub fn net(&self, address: IpAddr) -> Option<(IpNet, &Road)> {
        let own = IpNet::from(address);
        let lengths = (0..=own.max_prefix_len()).rev();
        let mut nets = lengths.filter_map(|length| Some(IpNet::new(address, length).ok()?.trunc()));
        nets.find_map(|net| Some((net, self.nets.get(&net)?)))
    }
}

/// Follows the node's interfaces, for ever; `tell` is called with what they are now.
pub async fn follow(mut tell: impl FnMut(Facts)) {
    loop {
        if let Err(error) = session(&mut tell).await {
            tracing::error!(%error, "the node's interfaces cannot be followed");
        }
        sleep(RETRY).await;
    }
}

/// Follows until something goes wrong, or events were lost.
async fn session(tell: &mut impl FnMut(Facts)) -> Result<(), rtnetlink::Error> {
    let refused = |error: io::Error| rtnetlink::Error::NamespaceError(error.to_string());
    let (connection, handle, mut events) = new_multicast_connection(&GROUPS).map_err(refused)?;
    let connection = tokio::spawn(connection);
    let mut known = Known::read(&handle).await?;
    tell(known.facts());
    let mut told = Instant::now();
    while let Some((event, _)) = events.next().await {
        let mut next = Some(event.payload);
        let mut changed = false;
        sleep_until(told + PAUSE).await;
        while let Some(payload) = next {
            match payload {
                NetlinkPayload::InnerMessage(message) => changed |= known.take(&message),
                NetlinkPayload::Overrun(_) => {
                    connection.abort();
                    tracing::warn!("changes of interfaces were lost: reading all of them again");
                    return Ok(());
                }
                _ => {}
            }
            next = events.next().now_or_never().flatten().map(|(event, _)| event.payload);
        }
        if changed {
            tell(known.facts());
            told = Instant::now();
        }
    }
    Ok(())
}

/// What is known, by the kernel's numbers.
#[derive(Debug, Default)]
struct Known {
    names: HashMap<u32, SmolStr>,
    bridges: BTreeSet<u32>,
    /// The bridge (or bond) that an interface is a port of, and whether it leads to a workload.
    ports: HashMap<u32, (u32, bool)>,
    addresses: HashMap<u32, BTreeSet<IpAddr>>,
    /// By net, with the interface and whether there is no gateway.
    routes: BTreeMap<IpNet, (u32, bool)>,
}

impl Known {
    async fn read(handle: &Handle) -> Result<Known, rtnetlink::Error> {
        let mut known = Known::default();
        let mut links = handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            known.link(&link);
        }
        let mut addresses = handle.address().get().execute();
        while let Some(address) = addresses.try_next().await? {
            known.address(&address, true);
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let mut routes = handle.route().get(message).execute();
            while let Some(route) = routes.try_next().await? {
                known.route(&route, true);
            }
        }
        Ok(known)
    }

    /// Takes in an event; whether it changed anything.
    fn take(&mut self, message: &RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.link(link),
            // The family is given where a bridge loses a port.
            RouteNetlinkMessage::DelLink(link) => {
                link.header.interface_family == AddressFamily::Unspec
                    && self.unlink(link.header.index)
            }
            RouteNetlinkMessage::NewAddress(address) => self.address(address, true),
            RouteNetlinkMessage::DelAddress(address) => self.address(address, false),
            RouteNetlinkMessage::NewRoute(route) => self.route(route, true),
            RouteNetlinkMessage::DelRoute(route) => self.route(route, false),
            _ => false,
        }
    }

    /// An interface that is new, or has changed: its name, for one.
    fn link(&mut self, link: &LinkMessage) -> bool {
        // The family is given where this is about a bridge's port.
        if link.header.interface_family != AddressFamily::Unspec {
            return false;
        }
        let index = link.header.index;
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(SmolStr::from(name)),
            _ => None,
        });
        let Some(name) = name else { return false };
        let routes = self.routes.len();
        if !link.header.flags.contains(LinkFlags::Up) {
            // Nobody says so when the routes over it go.
            self.routes.retain(|_, (over, _)| *over != index);
        }
        let renamed = self.names.insert(index, name.clone()) != Some(name);
        let kind = kind(link);
        let bridge = kind == Some(&InfoKind::Bridge) && self.bridges.insert(index);
        let port = self.port(index, controller(link), kind);
        renamed || bridge || port || routes != self.routes.len()
    }

    /// Notes what an interface is a port of. Whether that is new.
    fn port(&mut self, index: u32, of: Option<u32>, kind: Option<&InfoKind>) -> bool {
        let inner = matches!(kind, Some(InfoKind::Veth | InfoKind::Tun | InfoKind::Netkit));
        match of {
            Some(of) => self.ports.insert(index, (of, inner)) != Some((of, inner)),
            None => self.ports.remove(&index).is_some(),
        }
    }

    fn unlink(&mut self, index: u32) -> bool {
        self.addresses.remove(&index);
        self.bridges.remove(&index);
        self.ports.remove(&index);
        self.routes.retain(|_, (over, _)| *over != index);
        self.names.remove(&index).is_some()
    }

    fn address(&mut self, message: &AddressMessage, there: bool) -> bool {
        let own = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let any = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        let Some(address) = own.or(any) else { return false };
        let addresses = self.addresses.entry(message.header.index).or_default();
        if there { addresses.insert(address) } else { addresses.remove(&address) }
    }

    fn route(&mut self, route: &RouteMessage, there: bool) -> bool {
        let Some((net, index, direct)) = way(route) else { return false };
        let way = (index, direct);
        match there {
            true => self.routes.insert(net, way) != Some(way),
            false if self.routes.get(&net) == Some(&way) => self.routes.remove(&net).is_some(),
            false => false,
        }
    }

    fn facts(&self) -> Facts {
        let addresses = |index| self.addresses.get(index).cloned().unwrap_or_default();
        let links = self.names.iter().map(|(index, name)| (name.clone(), addresses(index)));
        let name = |index: &u32| self.names.get(index).cloned();
        let outer = self.ports.values().filter(|(_, inner)| !inner).map(|(of, _)| of);
        let road = |(over, direct): &(u32, bool)| Some(Road { over: name(over)?, direct: *direct });
        let routes = self.routes.iter().filter_map(|(net, way)| Some((*net, road(way)?)));
        let (single, nets): (Vec<_>, _) =
            routes.partition(|(net, road)| road.direct && net.prefix_len() == net.max_prefix_len());
        Facts {
            links: links.collect(),
            bridges: self.bridges.iter().filter_map(name).collect(),
            trunks: outer.filter_map(name).collect(),
            routes: single.into_iter().map(|(net, road)| (net.addr(), road.over)).collect(),
            nets: nets.into_iter().collect(),
        }
    }
}

/// What an interface is; nothing of hardware.
fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

/// What an interface is a port of.
fn controller(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

/// The net and interface of a route, if it is of the main table, and whether there is no gateway.
fn way(route: &RouteMessage) -> Option<(IpNet, u32, bool)> {
    let RouteHeader { table, kind, .. } = route.header;
    let (mut address, mut index, mut table) = (None, None, u32::from(table));
    let mut direct = true;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(a)) => address = Some(IpAddr::V4(*a)),
            RouteAttribute::Destination(RouteAddress::Inet6(a)) => address = Some(IpAddr::V6(*a)),
            RouteAttribute::Oif(over) => index = Some(*over),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => direct = false,
            _ => {}
        }
    }
    let all = match route.header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let net = IpNet::new(address.unwrap_or(all), route.header.destination_prefix_length).ok()?;
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    (kind == RouteType::Unicast && table == main).then_some((net.trunc(), index?, direct))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, up: bool) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        if up {
            message.header.flags = LinkFlags::Up;
        }
        message.attributes.push(LinkAttribute::IfName(name.into()));
        RouteNetlinkMessage::NewLink(message)
    }

    fn route(address: &str, length: u8, over: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        let address: IpAddr = address.parse().unwrap();
        message.header.destination_prefix_length = length;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Destination(address.into()));
        message.attributes.push(RouteAttribute::Oif(over));
        message
    }

    #[test]
    fn events_change_what_is_known() {
        let mut known = Known::default();
        let new = |route| RouteNetlinkMessage::NewRoute(route);
        let gone = |route| RouteNetlinkMessage::DelRoute(route);
        let mut take = |message| (known.take(&message), known.facts());
        assert!(take(link(2, "veth0", true)).0);
        assert!(!take(link(2, "veth0", true)).0, "nothing new");
        let (changed, facts) = take(new(route("10.0.0.0", 24, 2)));
        assert!(changed && facts.routes.is_empty() && facts.nets.len() == 1, "leads to many");
        let (changed, facts) = take(new(route("10.0.0.1", 32, 2)));
        assert!(changed);
        assert_eq!(facts.routes[&"10.0.0.1".parse::<IpAddr>().unwrap()], "veth0");
        let (changed, facts) = take(link(2, "veth9", true));
        assert!(changed && facts.links.contains_key("veth9") && facts.links.len() == 1);
        assert_eq!(facts.routes.values().collect::<Vec<_>>(), ["veth9"]);
        take(link(3, "veth3", true));
        assert!(take(new(route("10.0.0.1", 32, 3))).0, "it has moved");
        assert!(!take(gone(route("10.0.0.1", 32, 2))).0, "the old one goes after that");
        assert!(take(link(3, "veth3", false)).1.routes.is_empty(), "down");
        take(new(route("10.0.0.1", 32, 3)));
        let mut message = LinkMessage::default();
        message.header.index = 3;
        let (changed, facts) = take(RouteNetlinkMessage::DelLink(message));
        assert!(changed && facts.routes.is_empty() && facts.links.len() == 1);
    }
}
