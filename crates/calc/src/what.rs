//! What has labels and addresses: workloads, interfaces of hosts, and network sets.

use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_policy::{Account, Endpoint, EndpointId, HostEndpoint, NamedPort, NetworkSet};

use crate::Member;
use crate::index::Pair;
use crate::intern::Interner;

/// Something that has labels, without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A workload.
    Workload(Workload),
    /// A host endpoint.
    Host(Box<HostEndpoint>),
    /// A network set.
    Set(Box<Nets>),
}

/// A workload, in few bytes: there may be very many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) id: EndpointId,
    /// Who says so, where several resources speak of a workload of that name.
    pub(crate) claim: Claim,
    /// Its service account: namespace and name.
    pub(crate) user: Pair,
    pub(crate) addresses: Box<[IpAddr]>,
    pub(crate) ports: Box<[NamedPort]>,
    /// Whether it is of the node that the calculation is for.
    pub(crate) local: bool,
    /// Whether a sidecar is injected if its namespace asks for them.
    pub(crate) sidecar: bool,
    /// Whether it has a sidecar in any case.
    pub(crate) enforced: bool,
    pub(crate) address: Address,
    /// Its interface, if it is of the node and says so itself; few do.
    pub(crate) interface: Option<Box<SmolStr>>,
}

/// Whose a workload's address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// Its own.
    Own,
    /// It has none yet; one may be assigned.
    Awaited,
    /// That of its node, which it shares: it is no endpoint.
    Node(Option<SmolStr>),
}

/// Who describes a workload; the first in this order counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// A pod.
    Pod,
    /// A workload kind that stands for pods, by its key.
    Replica(SmolStr),
    /// A WorkloadEndpoint.
    Workload,
}

/// A network set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nets {
    pub(crate) namespace: Option<SmolStr>,
    pub(crate) name: SmolStr,
    /// Each once.
    pub(crate) nets: Box<[IpNet]>,
    /// Whether an address of it could not be read.
    pub(crate) incomplete: bool,
}

impl Workload {
    pub(crate) fn new(
        claim: Claim,
        endpoint: &Endpoint,
        local: bool,
        texts: &mut Interner,
    ) -> Workload {
        let Account { namespace, name } = &endpoint.account;
        Workload {
            id: endpoint.id.clone(),
            claim,
            user: (texts.intern(namespace), texts.intern(name)),
            addresses: endpoint.addresses.iter().map(IpAddr::to_canonical).collect(),
            ports: endpoint.ports.iter().cloned().collect(),
            local,
            sidecar: false,
            enforced: false,
            address: Address::Own,
            interface: None,
        }
    }

    pub(crate) fn account(&self, texts: &Interner) -> Account {
        let text = |atom| texts.text(atom).clone();
        Account { namespace: text(self.user.0), name: text(self.user.1) }
    }

    /// Whether it has a network of its own.
    pub(crate) fn is_endpoint(&self) -> bool {
        !matches!(self.address, Address::Node(_))
    }
}

impl Nets {
    pub(crate) fn new(set: NetworkSet, incomplete: bool) -> Nets {
        let mut nets: Vec<IpNet> = set.nets.iter().map(IpNet::trunc).collect();
        nets.sort_unstable();
        nets.dedup();
        Nets { namespace: set.namespace, name: set.name, nets: nets.into(), incomplete }
    }
}

impl What {
    /// What it puts into sets of nets that it belongs to.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> + '_ {
        let (addresses, nets): (&[IpAddr], &[IpNet]) = match self {
            What::Workload(workload) if workload.is_endpoint() => (&workload.addresses, &[]),
            What::Workload(_) => (&[], &[]),
            What::Host(host) => (&host.addresses, &[]),
            What::Set(set) => (&[], &set.nets),
        };
        let addresses = addresses.iter().map(|address| Member::address(*address));
        addresses.chain(nets.iter().map(|net| Member::Net(*net)))
    }

    /// Its ports that have a name, with its addresses.
    pub(crate) fn ports(&self) -> (&[IpAddr], &[NamedPort]) {
        match self {
            What::Workload(workload) if workload.is_endpoint() => {
                (&workload.addresses, &workload.ports)
            }
            What::Host(host) => (&host.addresses, &host.ports),
            What::Workload(_) | What::Set(_) => (&[], &[]),
        }
    }

    /// What it puts into the set of ports of a name.
    pub(crate) fn members_with_port<'s>(
        &'s self,
        name: &'s str,
    ) -> impl Iterator<Item = Member> + 's {
        let (addresses, ports) = self.ports();
        let named = ports.iter().filter(move |port| port.name == name);
        named.flat_map(|port| {
            let at = |address: &IpAddr| {
                Member::AddressPort(address.to_canonical(), port.protocol, port.port)
            };
            addresses.iter().map(at)
        })
    }

    /// Whether something of it could not be read, so that sets it belongs to are incomplete.
    pub(crate) fn is_incomplete(&self) -> bool {
        matches!(self, What::Set(set) if set.incomplete)
    }
}
