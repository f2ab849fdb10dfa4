//! What the sets that a rule names stand for.

use smol_str::SmolStr;
use tortie_policy::{Direction, PortMatch, Rule, ServiceRef, Side};
use tortie_selector::Selector;

use crate::{SetId, SetKind};

/// What is in a set.
#[derive(Debug, Clone)]
pub(crate) enum Definition {
    /// The addresses of everything that a selector matches.
    Selector(Selector),
    /// The ports of a name, with addresses.
    Port(SmolStr),
    /// Addresses behind a service.
    ServiceAddresses(ServiceRef),
    /// Addresses, protocols and ports behind a service.
    Service(ServiceRef),
}

impl Definition {
    pub(crate) fn id(&self) -> SetId {
        match self {
            Definition::Selector(selector) => SetId::of_selector(selector),
            Definition::Port(name) => SetId::of_port(name),
            Definition::ServiceAddresses(service) => SetId::of_service_addresses(service),
            Definition::Service(service) => SetId::of_service(service),
        }
    }

    pub(crate) fn kind(&self) -> SetKind {
        match self {
            Definition::Selector(_) | Definition::ServiceAddresses(_) => SetKind::Net,
            Definition::Port(_) | Definition::Service(_) => SetKind::AddressPort,
        }
    }
}

/// The definitions of all sets that rules name.
pub(crate) fn of_rules<'r>(
    rules: impl Fn(Direction) -> &'r [Rule],
) -> impl Iterator<Item = Definition> {
    let rules = [Direction::Ingress, Direction::Egress].map(rules);
    rules
        .into_iter()
        .flatten()
        .flat_map(|rule| Side::BOTH.map(|side| of_side(rule, side)))
        .flatten()
}

fn of_side(rule: &Rule, side: Side) -> impl Iterator<Item = Definition> + '_ {
    let entity = rule.side(side);
    let selectors = entity.peers.iter().flat_map(|p| p.included.iter().chain(&p.excluded));
    let selectors = selectors.cloned().map(Definition::Selector);
    let ports = entity.ports.iter().chain(&entity.not_ports);
    let ports = ports.filter_map(|port| match port {
        PortMatch::Named(name) => Some(Definition::Port(name.clone())),
        PortMatch::Range(..) => None,
    });
    let service = entity.service.iter().cloned().map(move |service| match side {
        Side::Source => Definition::ServiceAddresses(service),
        Side::Destination => Definition::Service(service),
    });
    selectors.chain(ports).chain(service)
}
