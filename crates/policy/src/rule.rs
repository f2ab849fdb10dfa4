//! Policies, tiers and rules with everything parsed: what cannot be understood cannot be built.

use std::fmt;

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_selector::Selector;

use crate::{HttpMatch, IpVersion, Labels, PolicyId, PortMatch, Protocol};

/// A policy that applies to the endpoints its selector matches.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Kind, namespace and name.
    pub id: PolicyId,
    /// Name of its tier.
    pub tier: SmolStr,
    /// Position in the tier.
    pub order: Order,
    /// Endpoints it applies to, over the labels of [`crate::Endpoint::labels`]: the policy's
    /// selector, namespace and service account parts combined.
    pub subject: Selector,
    /// Whether it governs traffic to its endpoints.
    pub governs_ingress: bool,
    /// Whether it governs traffic from its endpoints.
    pub governs_egress: bool,
    /// Rules for traffic to its endpoints.
    pub ingress: Vec<Rule>,
    /// Rules for traffic from its endpoints.
    pub egress: Vec<Rule>,
    /// Where in a packet's way it is asked.
    pub stage: Stage,
    /// What a staged policy would do; absent for one that is enforced.
    pub staged: Option<StagedAction>,
}

/// Where in a packet's way through a host a policy is asked. Only host endpoints have more than
/// the normal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// For traffic that ends or starts at the endpoint (`applyOnForward: false`).
    Normal,
    /// For that, and for traffic a host forwards (`applyOnForward: true`).
    NormalAndForward,
    /// Before destination NAT (`preDNAT: true`).
    PreDnat,
    /// Before connection tracking (`doNotTrack: true`).
    Untracked,
}

/// What a staged policy would do if it were enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagedAction {
    /// Be created, or replace its enforced twin.
    Set,
    /// Remove its enforced twin.
    Delete,
    /// Nothing: a tool is still learning.
    Learn,
    /// Nothing.
    Ignore,
}

impl Policy {
    /// Whether the policy governs a direction at all. Rules for another direction are inert.
    pub fn governs(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.governs_ingress,
            Direction::Egress => self.governs_egress,
        }
    }

    /// The rules of a direction, in order.
    pub fn rules(&self, direction: Direction) -> &[Rule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// Direction of traffic, seen from the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

/// Position of a policy or tier: ascending, and last where none is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order(Option<f64>);

impl Order {
    /// Last.
    pub const LAST: Order = Order(None);

    /// From the wire.
    ///
    /// # Errors
    /// If the number is not finite.
    pub fn new(order: Option<f64>) -> Result<Order, &'static str> {
        match order {
            Some(number) if !number.is_finite() => Err("must be a finite number"),
            order => Ok(Order(order)),
        }
    }

    /// As a number; nothing for [`Order::LAST`].
    pub fn number(self) -> Option<f64> {
        self.0
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let number = |order: &Order| order.0.unwrap_or(f64::INFINITY) + 0.0; // -0 equals 0
        number(self).total_cmp(&number(other))
    }
}

/// A tier of policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// Name.
    pub name: SmolStr,
    /// Position.
    pub order: Order,
    /// What happens to traffic that no rule of the tier matched.
    pub default_action: DefaultAction,
    /// False for a tier that policies name but nobody defined: it sorts after all others.
    pub defined: bool,
}

impl Tier {
    /// Defined tiers first, then by order, then by name.
    pub fn sort_key(&self) -> (bool, Order, &str) {
        (!self.defined, self.order, &self.name)
    }
}

/// What happens to traffic that no rule of a tier matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultAction {
    /// It is denied.
    Deny,
    /// The next tier decides.
    Pass,
}

/// What a rule does with traffic it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Accept; no further rule is asked.
    Allow,
    /// Refuse; no further rule is asked.
    Deny,
    /// Go on with the next rule; never changes a verdict.
    Log,
    /// Leave the tier.
    Pass,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Log => "log",
            Action::Pass => "pass",
        })
    }
}

/// One rule: an action, and criteria of which all must hold.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What to do with matching traffic.
    pub action: Action,
    /// Address family, given or implied by the nets of the rule.
    pub ip_version: Option<IpVersion>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Protocol that must not be used.
    pub not_protocol: Option<Protocol>,
    /// ICMP type and code.
    pub icmp: Option<IcmpMatch>,
    /// ICMP type and code that must not be used.
    pub not_icmp: Option<IcmpMatch>,
    /// Criteria on the sender.
    pub source: EntityMatch,
    /// Criteria on the receiver.
    pub destination: EntityMatch,
    /// HTTP criteria. A clause without any criterion still asks for HTTP.
    pub http: Option<HttpMatch>,
    /// Position of the rule in the list its author wrote, from 0. A rule of Kubernetes becomes one
    /// for each protocol and peer, which all have its position.
    pub origin: usize,
}

impl Rule {
    /// A rule without criteria, which matches everything.
    pub fn any(action: Action) -> Rule {
        Rule {
            action,
            ip_version: None,
            protocol: None,
            not_protocol: None,
            icmp: None,
            not_icmp: None,
            source: EntityMatch::default(),
            destination: EntityMatch::default(),
            http: None,
            origin: 0,
        }
    }

    /// The criteria on one side.
    pub fn side(&self, side: Side) -> &EntityMatch {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}

/// An ICMP type, and a code of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpMatch {
    /// Type.
    pub kind: u8,
    /// Code; any when absent.
    pub code: Option<u8>,
}

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The sender of the first packet.
    Source,
    /// The receiver of the first packet.
    Destination,
}

impl Side {
    /// Both sides.
    pub const BOTH: [Side; 2] = [Side::Source, Side::Destination];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Destination => "destination",
        })
    }
}

/// Criteria on one side (an EntityRule): each one given must hold.
#[derive(Debug, Clone, Default)]
pub struct EntityMatch {
    /// Who it is, by labels, namespace and service account.
    pub peers: Option<Peers>,
    /// Addresses, any of them; empty for no criterion.
    pub nets: Vec<IpNet>,
    /// Addresses, none of them.
    pub not_nets: Vec<IpNet>,
    /// Ports, any of them; empty for no criterion.
    pub ports: Vec<PortMatch>,
    /// Ports, none of them.
    pub not_ports: Vec<PortMatch>,
    /// A Kubernetes Service: its addresses for a sender, with protocol and port for a receiver.
    pub service: Option<ServiceRef>,
}

/// Name of a Kubernetes Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    /// Namespace.
    pub namespace: SmolStr,
    /// Name.
    pub name: SmolStr,
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The identity criteria of one side.
///
/// `included` and `excluded` speak of the labels of the endpoint behind an address; `scope` and
/// `accounts` are the parts a certificate can speak of, and are contained in `included`, too.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Endpoints that match; none if the criteria are purely negative.
    pub included: Option<Selector>,
    /// Endpoints that must not match, where `included` is absent: any other address matches, also
    /// one that belongs to nobody known.
    pub excluded: Option<Selector>,
    /// Namespaces.
    pub scope: Option<Scope>,
    /// Service accounts.
    pub accounts: Option<Accounts>,
    /// The criteria as the user wrote them, for messages.
    pub text: String,
}

/// Which namespaces the peers of a rule may be in.
#[derive(Debug, Clone)]
pub enum Scope {
    /// That of the policy.
    Own(SmolStr),
    /// Namespaces by label: over the namespace's own labels, plus `projectcalico.org/name`. In it
    /// `all()` is true of every namespace and `global()` of none.
    Selected(Selector),
}

/// Which service accounts the peers of a rule may have; both must hold where given.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// Names, any of them; empty for no criterion.
    pub names: Vec<SmolStr>,
    /// By the labels of the service account, plus `projectcalico.org/name`.
    pub selector: Option<Selector>,
}

/// A profile: labels, and rules that decide where no policy applies.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Name: `kns.<namespace>` or `ksa.<namespace>.<service account>`.
    pub name: SmolStr,
    /// Labels that endpoints with the profile inherit.
    pub labels: Labels,
    /// Rules for traffic to the endpoint.
    pub ingress: Vec<Rule>,
    /// Rules for traffic from the endpoint.
    pub egress: Vec<Rule>,
}

impl Profile {
    /// The rules of a direction, in order.
    pub fn rules(&self, direction: Direction) -> &[Rule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let order = |n| Order::new(n).expect("finite");
        assert!(order(Some(1.0)) < order(Some(1.5)));
        assert!(order(Some(f64::MAX)) < Order::LAST);
        assert_eq!(order(Some(-0.0)).cmp(&order(Some(0.0))), std::cmp::Ordering::Equal);
        assert!(Order::new(Some(f64::NAN)).is_err() && Order::new(Some(f64::INFINITY)).is_err());
    }
}
