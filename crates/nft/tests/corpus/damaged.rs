//! States of which something is missing: the ruleset says of them what the reference evaluator says,
//! which denies where nobody can tell.

use std::cell::Cell;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tortie_calc::{LocalEndpoint, State, Update, batch, interface_name};
use tortie_nft::interpret::{Packet, ask};
use tortie_nft::render::{Options, Renderer};
use tortie_nft::{ConnectionState, Delta, Ruleset, Verdict};
use tortie_policy::{
    Action, Applicable, Compat, Direction, End, HttpAtNetwork, Principal, Profile, Protocol, Rule,
    evaluate,
};
use tortie_testkit::Property;
use tortie_testkit::world::strategy;

use crate::damage::{applicable, damaged};
use crate::draw::{self, Drawn};
use crate::engine::OUTSIDE;
use crate::naive::Naive;
use crate::{FLOWS, WORLDS};

/// A state as updates.
fn told(state: &State) -> Vec<Update> {
    let mut updates: Vec<Update> = state.settings.iter().cloned().map(Update::Settings).collect();
    for (id, set) in &state.sets {
        let members = set.members.iter().cloned().collect();
        updates.push(Update::IpSet { id: id.clone(), kind: set.kind, members });
        updates.push(Update::IpSetIncomplete(id.clone(), set.incomplete));
    }
    updates.extend(state.policies.values().cloned().map(Update::Policy));
    updates.extend(state.profiles.values().cloned().map(Update::Profile));
    let addresses = state.addresses.iter();
    updates.extend(addresses.map(|(ip, users)| Update::Address(*ip, users.to_vec())));
    for endpoint in state.endpoints.values() {
        let interface = interface_name(&endpoint.id);
        let endpoint = LocalEndpoint { interface, ..LocalEndpoint::clone(endpoint) };
        updates.push(Update::Endpoint(Arc::new(endpoint)));
    }
    updates.push(Update::InSync);
    updates
}

fn rendered(state: &State) -> Renderer {
    let mut renderer = Renderer::new(Options::default());
    renderer.update(&told(state), &mut Delta::default());
    renderer
}

/// What the reference asks: a profile that is missing is one that denies.
fn reference(state: &State, endpoint: &LocalEndpoint, direction: Direction) -> Applicable {
    let missing = |name: &smol_str::SmolStr| {
        let deny = || vec![Rule::any(Action::Deny)];
        let (labels, ingress, egress) = (Default::default(), deny(), deny());
        Arc::new(Profile { name: name.clone(), labels, ingress, egress })
    };
    let profiles = endpoint.profiles.iter().map(|name| match state.profiles.get(name) {
        Some(active) => Arc::clone(&active.profile),
        None => missing(name),
    });
    let tiers = applicable(state, &endpoint.tiers, direction);
    Applicable { direction, tiers, end: End::Profiles(profiles.collect()) }
}

/// A packet of which nothing is left open, if addresses are known, of one family, and no tunnel's.
fn packet(drawn: &Drawn, endpoint: &LocalEndpoint, direction: Direction) -> Option<Packet> {
    let known = |address: tortie_policy::Address| address.ip.map(|ip| ip.to_canonical());
    let (source, destination) = (known(drawn.source.0)?, known(drawn.destination.0)?);
    let protocol = drawn.protocol.number();
    let ports = (drawn.source.0.port.unwrap_or(40000), drawn.destination.0.port.unwrap_or(80));
    let is_icmp = [Protocol::ICMP, Protocol::ICMPV6].contains(&drawn.protocol);
    let (kind, code) = drawn.icmp.unwrap_or((8, None));
    let own = interface_name(&endpoint.id);
    let (from, to) = match direction {
        Direction::Egress => (own, OUTSIDE.into()),
        Direction::Ingress => (OUTSIDE.into(), own),
    };
    (source.is_ipv4() == destination.is_ipv4()).then_some(Packet {
        from: Some(from),
        to: Some(to),
        source,
        destination,
        protocol,
        ports: [6, 17, 132].contains(&protocol).then_some(ports),
        icmp: is_icmp.then_some((kind, code.unwrap_or_default())),
        state: ConnectionState::New,
        mark: 0,
        routed_back: true,
    })
}

/// The reference's facts of a packet.
fn facts<'s>(state: &'s State, packet: &Packet, drawn: &Drawn, http: HttpAtNetwork) -> Naive<'s> {
    let (source, destination) = packet.ports.unwrap_or_default();
    let end = |ip, port| {
        let address = tortie_policy::Address { ip: Some(ip), port: Some(port) };
        (address, Principal::Plaintext)
    };
    Naive {
        state,
        ends: [end(packet.source, source), end(packet.destination, destination)],
        protocol: drawn.protocol,
        icmp: packet.icmp.map(|(kind, code)| (kind, Some(code))),
        network: Some(http),
        http: None,
    }
}

fn compare(
    (state, ruleset): (&State, &Ruleset),
    (endpoint, direction): (&LocalEndpoint, Direction),
    drawn: &Drawn,
) -> Result<Option<bool>, TestCaseError> {
    let Some(packet) = packet(drawn, endpoint, direction) else { return Ok(None) };
    let deferred = endpoint.application_enforced && direction == Direction::Ingress;
    let http = if deferred { HttpAtNetwork::Deferred } else { HttpAtNetwork::Unenforced };
    let asked = reference(state, endpoint, direction);
    let verdict = evaluate(&asked, &facts(state, &packet, drawn, http));
    let base = match direction {
        Direction::Egress => "forward-from",
        Direction::Ingress => "forward-to",
    };
    let leg = ask(ruleset, base, &packet).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let allows = leg.verdict == Verdict::Accept;
    prop_assert_eq!(allows, verdict.allowed, "{:?}\n{:#?}\n{:#?}", packet, leg, ruleset);
    Ok(Some(allows))
}

#[test]
fn the_ruleset_agrees_on_states_of_which_something_is_missing() {
    let (compared, allowed) = (Cell::new(0_u64), Cell::new(0_u64));
    let property = Property::new("the ruleset agrees on damaged states", WORLDS);
    let missing_profile = proptest::option::weighted(0.3, 0..6_usize);
    let worlds = (strategy::world(), draw::extras(), draw::damage(), missing_profile);
    property.check(&(worlds, vec(draw::traffic(), FLOWS)), |(world, flows)| {
        let (world, extras, damage, missing_profile) = world;
        let cluster = world.cluster_with(&extras, Compat::STRICT).map_err(TestCaseError::fail)?;
        let state = batch(&cluster, None);
        let mut state = damaged(state, &damage);
        let missing = missing_profile.and_then(|at| state.profiles.keys().nth(at).cloned());
        missing.map(|name| state.profiles.remove(&name));
        let renderer = rendered(&state);
        let endpoints = state.endpoints.values();
        let places: Vec<_> = endpoints
            .flat_map(|endpoint| {
                [Direction::Ingress, Direction::Egress].map(|direction| (&**endpoint, direction))
            })
            .collect();
        for (number, drawn) in flows.iter().enumerate() {
            let Some(place) = places.get(number % places.len().max(1)) else { break };
            let answer = compare((&state, renderer.ruleset()), *place, drawn)?;
            compared.set(compared.get() + u64::from(answer.is_some()));
            allowed.set(allowed.get() + u64::from(answer == Some(true)));
        }
        Ok(())
    });
    println!("compared {} packets, {} allowed", compared.get(), allowed.get());
    assert!(allowed.get() > 100 || std::env::var_os("PROPTEST_CASES").is_some());
}
