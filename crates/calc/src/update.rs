//! What an engine is told: one change at a time, in an order in which nothing is referred to before
//! it is there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_policy::{
    Account, Compat, DefaultAction, Direction, EndpointId, EstablishedFlows, HostSettings,
    Interface, Labels, NamedPort, Plane, Policy, PolicyId, Profile, Side, Trust,
};

use crate::{Member, SetId, SetKind};

/// One change of what a node has to enforce. Each variant is one message of Policy Sync.
#[derive(Debug, Clone)]
pub enum Update {
    /// Everything that was there at the start has been told.
    InSync,
    /// A set with all its members; replaces one of the same id. Must come before a rule that names
    /// it.
    IpSet {
        /// Which set.
        id: SetId,
        /// What its members are.
        kind: SetKind,
        /// All members, each once.
        members: Vec<Member>,
    },
    /// Members that joined and left a set, none in both lists.
    IpSetDelta {
        /// Which set.
        id: SetId,
        /// Not members before.
        added: Vec<Member>,
        /// Members before.
        removed: Vec<Member>,
    },
    /// Whether a set has members that could not be read: then an address that is not a member may be
    /// one all the same. Only said of sets that come from elsewhere; a set that is told anew has none.
    IpSetIncomplete(SetId, bool),
    /// A set that no rule names any more.
    IpSetRemove(SetId),
    /// A policy that is new or has changed.
    Policy(Arc<ActivePolicy>),
    /// A policy that no endpoint names any more.
    PolicyRemove(PolicyId),
    /// A profile that is new or has changed.
    Profile(Arc<ActiveProfile>),
    /// A profile that no endpoint names any more.
    ProfileRemove(SmolStr),
    /// A workload of this node that is new or has changed.
    Endpoint(Arc<LocalEndpoint>),
    /// A workload that is gone.
    EndpointRemove(EndpointId),
    /// An interface of this node that is new or has changed. Not sent to sidecars.
    Host(Arc<LocalHost>),
    /// An interface that is gone.
    HostRemove(SmolStr),
    /// The labels of a service account, as selectors see them.
    ServiceAccount(Account, Arc<Labels>),
    /// A service account that is gone.
    ServiceAccountRemove(Account),
    /// The labels of a namespace, as selectors see them.
    Namespace(SmolStr, Arc<Labels>),
    /// A namespace that is gone.
    NamespaceRemove(SmolStr),
    /// The workloads that use an address, one service account for each: usually one, none once the
    /// address is free, several while it is disputed. Our own addition to Policy Sync, by which a
    /// certificate is bound to the address it may be used from.
    Address(IpAddr, Vec<Account>),
    /// Settings of the cluster and of this node. Our own addition, too.
    Settings(Arc<Settings>),
}

/// A policy with the sets its rules name.
#[derive(Debug, Clone)]
pub struct ActivePolicy {
    /// The policy. Its rules' selectors, named ports and services are answered by the sets.
    pub policy: Arc<Policy>,
    /// The sets of each ingress rule.
    pub ingress: Vec<RuleSets>,
    /// The sets of each egress rule.
    pub egress: Vec<RuleSets>,
}

impl ActivePolicy {
    /// A policy with the sets that stand for its rules' selectors, named ports and services.
    pub fn new(policy: Arc<Policy>) -> ActivePolicy {
        let sets = |direction| policy.rules(direction).iter().map(RuleSets::of).collect();
        let (ingress, egress) = (sets(Direction::Ingress), sets(Direction::Egress));
        ActivePolicy { policy, ingress, egress }
    }

    /// The sets of the rules of a direction.
    pub fn sets(&self, direction: Direction) -> &[RuleSets] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A profile with the sets its rules name.
#[derive(Debug, Clone)]
pub struct ActiveProfile {
    /// The profile.
    pub profile: Arc<Profile>,
    /// The sets of each ingress rule.
    pub ingress: Vec<RuleSets>,
    /// The sets of each egress rule.
    pub egress: Vec<RuleSets>,
}

impl ActiveProfile {
    /// A profile with the sets that stand for its rules' selectors, named ports and services.
    pub fn new(profile: Arc<Profile>) -> ActiveProfile {
        let sets = |direction| profile.rules(direction).iter().map(RuleSets::of).collect();
        let (ingress, egress) = (sets(Direction::Ingress), sets(Direction::Egress));
        ActiveProfile { profile, ingress, egress }
    }

    /// The sets of the rules of a direction.
    pub fn sets(&self, direction: Direction) -> &[RuleSets] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// The sets that stand for the selectors, named ports and services of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSets {
    /// Of the sender.
    pub source: SideSets,
    /// Of the receiver.
    pub destination: SideSets,
}

impl RuleSets {
    /// The sets of one side.
    pub fn side(&self, side: Side) -> &SideSets {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// All ids named.
    pub fn ids(&self) -> impl Iterator<Item = &SetId> {
        self.source.ids().chain(self.destination.ids())
    }
}

/// The sets of one side of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideSets {
    /// Each must have the address ([`SetKind::Net`]).
    pub included: Vec<SetId>,
    /// None may have the address ([`SetKind::Net`]).
    pub excluded: Vec<SetId>,
    /// Named ports: one must have address, protocol and port, unless a numeric port matches.
    pub named_ports: Vec<SetId>,
    /// Negated named ports: none may have address, protocol and port.
    pub not_named_ports: Vec<SetId>,
    /// Services of the receiver: each must have address, protocol and port. (A sender's service is
    /// a set of addresses, in `included`.)
    pub services: Vec<SetId>,
}

impl SideSets {
    /// All ids named.
    pub fn ids(&self) -> impl Iterator<Item = &SetId> {
        let addresses = self.included.iter().chain(&self.excluded);
        let ports = self.named_ports.iter().chain(&self.not_named_ports);
        addresses.chain(ports).chain(&self.services)
    }
}

/// The policies of one tier that apply to an endpoint. Directions without one are not governed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointTier {
    /// Name of the tier.
    pub name: SmolStr,
    /// What happens to traffic that none of the policies decides.
    pub default_action: DefaultAction,
    /// Policies for traffic to the endpoint, in the order they are asked, staged ones included.
    pub ingress: Vec<PolicyId>,
    /// Policies for traffic from the endpoint, in the order they are asked, staged ones included.
    pub egress: Vec<PolicyId>,
}

impl EndpointTier {
    /// The policies of a direction.
    pub fn policies(&self, direction: Direction) -> &[PolicyId] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A workload of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEndpoint {
    /// Who it is.
    pub id: EndpointId,
    /// Name of its interface on the host.
    pub interface: SmolStr,
    /// Its addresses; none once it has finished.
    pub addresses: Vec<IpAddr>,
    /// Its service account; unknown to sidecars.
    pub account: Option<Account>,
    /// Tiers in order, each with a policy that applies. Endpoints with the same policies share them.
    pub tiers: Arc<[EndpointTier]>,
    /// Profiles in order.
    pub profiles: Vec<SmolStr>,
    /// Declared ports that have a name.
    pub ports: Vec<NamedPort>,
    /// Whether a sidecar enforces HTTP criteria for it (house rule 10).
    pub application_enforced: bool,
    /// Nets it may send from besides its own addresses.
    pub spoofed_sources: Vec<IpNet>,
}

/// An interface of this node that is a host endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalHost {
    /// Name of the host endpoint.
    pub name: SmolStr,
    /// Which interface.
    pub interface: Interface,
    /// Its expected addresses.
    pub addresses: Vec<IpAddr>,
    /// Tiers in order, for each plane with a policy that applies.
    pub planes: Vec<(Plane, Arc<[EndpointTier]>)>,
    /// Profiles in order.
    pub profiles: Vec<SmolStr>,
}

/// Settings that engines need besides policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Trust domains.
    pub trust: Trust,
    /// The points in which Calico's behaviour is chosen over the strict one.
    pub compat: Compat,
    /// What the node's own traffic is spared.
    pub host: HostSettings,
    /// What becomes of connections that are open when a change of policy denies them.
    pub established: EstablishedFlows,
    /// Which set of resources this comes from, by a number the source gave it; 0 if it gave none. It
    /// is told last, so whoever has it has all that came of them.
    pub revision: u64,
    /// Whether [`Update::Address`] is sent for every workload of the cluster, so that an address
    /// without one is known to be no workload's.
    pub addresses: bool,
    /// Addresses of the cluster's nodes: tunnels between them stay open at host endpoints. Not sent to
    /// sidecars.
    pub nodes: Arc<BTreeSet<IpAddr>>,
}
