//! The compiled engine against the reference evaluator on random clusters and traffic, and on states
//! of which something is missing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "compiled/damage.rs"]
mod damage;
#[path = "compiled/draw.rs"]
mod draw;
#[path = "compiled/naive.rs"]
mod naive;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use damage::{applicable, damaged, is_stand_in};
use draw::Drawn;
use naive::Naive;
use proptest::collection::vec;
use proptest::prelude::*;
use tortie_calc::compiled::{Code, Place, Snapshot, Traffic};
use tortie_calc::{State, batch};
use tortie_policy::{
    Applicable, Cluster, Compat, Direction, End, Facts, Flow, Plane, Request, Step, TraceEntry,
    Verdict, evaluate,
};
use tortie_testkit::Property;
use tortie_testkit::world::strategy;

/// Flows asked about in each world, once as the network sees them and once as a sidecar does.
const FLOWS: usize = 100;

/// Worlds for each property; `PROPTEST_CASES` asks for another number.
const WORLDS: u32 = 1_000;

/// A place with the policies the reference asks there.
type Asked<'s> = (Place<'s>, Applicable);

fn places<'s>(cluster: &Cluster, snapshot: &'s Snapshot) -> Vec<Asked<'s>> {
    let mut places = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        for endpoint in cluster.endpoints() {
            let place = snapshot.workload(&endpoint.id, direction).unwrap();
            places.push((place, cluster.applicable(endpoint, direction)));
        }
        for host in cluster.hosts() {
            for plane in Plane::ALL {
                let place = snapshot.host(&host.name, direction, plane).unwrap();
                places.push((place, cluster.applicable_to_host(host, direction, plane)));
            }
        }
    }
    places
}

/// Holds the engine's answers, by the index and by asking every rule, against the reference's.
fn compare(
    (place, applicable): &Asked<'_>,
    facts: &dyn Facts,
    traffic: &Traffic<'_>,
) -> Result<(), TestCaseError> {
    let expected = evaluate(applicable, facts);
    let steps = |verdict: &Verdict<'_>| -> Vec<TraceEntry> {
        verdict.trace.iter().map(TraceEntry::from).collect()
    };
    let (decision, walked) = (place.decide(traffic), place.verdict(traffic));
    let missing =
        |step: &Step<'_>| matches!(step, Step::Rule { policy, .. } if is_stand_in(policy));
    if expected.trace.last().is_some_and(missing) {
        prop_assert_eq!(decision.code, Code::Internal);
        prop_assert!(!walked.allowed && decision.missing.is_some());
        return Ok(());
    }
    prop_assert_eq!(walked.allowed, expected.allowed, "{:#?}", steps(&expected));
    prop_assert_eq!(steps(&walked), steps(&expected));
    prop_assert_eq!(Some(TraceEntry::from(&decision.step)), steps(&expected).pop());
    let code = match expected.allowed {
        true => Code::Ok,
        false if expected.rests_on_path(facts, applicable.direction) => Code::InvalidArgument,
        false => Code::PermissionDenied,
    };
    prop_assert_eq!(decision.code, code);
    Ok(())
}

#[test]
fn agrees_with_the_reference() {
    let compared = Cell::new(0_u64);
    let property = Property::new("the compiled engine agrees with the reference", WORLDS);
    let worlds = (strategy::world(), draw::extras(), draw::compat(), any::<bool>());
    let drawn = (worlds, vec(draw::traffic(), FLOWS));
    property.check(&drawn, |((world, extras, compat, staged), flows)| {
        let mut cluster = world.cluster_with(&extras, compat).map_err(TestCaseError::fail)?;
        if staged {
            cluster = cluster.pending();
        }
        let snapshot = Snapshot::new(&batch(&cluster, None));
        let places = places(&cluster, &snapshot);
        if places.is_empty() {
            return Ok(());
        }
        for (number, drawn) in flows.iter().enumerate() {
            let asked = &places[number % places.len()];
            let flow = Flow {
                cluster: &cluster,
                source: drawn.source.0,
                destination: drawn.destination.0,
                protocol: drawn.protocol,
                icmp: drawn.icmp,
                http: drawn.http_at_network,
            };
            compare(asked, &flow, &(&flow).into())?;
            let [source, destination] = drawn.principals();
            let trust = cluster.trust();
            let (protocol, http) = (drawn.protocol, drawn.http());
            let request = Request::new(&cluster, trust, source, destination, protocol, http);
            compare(asked, &request, &(&request).into())?;
            let http = drawn.http();
            let by_text = Traffic::sidecar(drawn.source, drawn.destination, protocol, http);
            compare(asked, &request, &by_text)?;
            compared.set(compared.get() + 2);
        }
        let (asked, drawn) = (&places[0], &flows[0]);
        let http = drawn.http();
        let traffic = Traffic::sidecar(drawn.source, drawn.destination, drawn.protocol, http);
        let explained = asked.0.explain(&traffic);
        prop_assert_eq!(explained.code, asked.0.decide(&traffic).code);
        prop_assert!(!explained.reason.is_empty() && !explained.trace.is_empty());
        Ok(())
    });
    println!("compared {} decisions", compared.get());
    assert!(compared.get() > 10, "hardly anything was compared");
}

// === states of which something is missing ===

fn places_of<'s>(state: &State, snapshot: &'s Snapshot) -> Vec<Asked<'s>> {
    let mut places = Vec::new();
    for (id, endpoint) in &state.endpoints {
        for direction in [Direction::Ingress, Direction::Egress] {
            let profiles = endpoint.profiles.iter().filter_map(|name| state.profiles.get(name));
            let profiles = profiles.map(|active| Arc::clone(&active.profile)).collect();
            let tiers = applicable(state, &endpoint.tiers, direction);
            let applicable = Applicable { direction, tiers, end: End::Profiles(profiles) };
            places.push((snapshot.workload(id, direction).unwrap(), applicable));
        }
    }
    places
}

/// Asks about all flows in turn at all places.
fn compare_all(
    state: &State,
    snapshot: &Snapshot,
    flows: &[Drawn],
    compared: &Cell<u64>,
) -> Result<(), TestCaseError> {
    let places = places_of(state, snapshot);
    for (number, drawn) in flows.iter().enumerate() {
        let Some(asked) = places.get(number % places.len().max(1)) else { return Ok(()) };
        let mut facts = Naive {
            state,
            ends: drawn
                .principals()
                .map(|(address, _)| (address, tortie_policy::Principal::Plaintext)),
            protocol: drawn.protocol,
            icmp: drawn.icmp,
            network: Some(drawn.http_at_network),
            http: None,
        };
        let (source, destination) = (drawn.source.0, drawn.destination.0);
        let (icmp, http) = (drawn.icmp, drawn.http_at_network);
        let traffic = Traffic::network(source, destination, drawn.protocol, icmp, http);
        compare(asked, &facts, &traffic)?;
        facts = Naive { ends: drawn.principals(), network: None, http: drawn.http(), ..facts };
        let traffic =
            Traffic::sidecar(drawn.source, drawn.destination, drawn.protocol, drawn.http());
        compare(asked, &facts, &traffic)?;
        compared.set(compared.get() + 2);
    }
    Ok(())
}

#[test]
fn agrees_on_states_of_which_something_is_missing() {
    let compared = Cell::new(0_u64);
    let property = Property::new("the compiled engine agrees on damaged states", WORLDS);
    let drawn = (strategy::world(), draw::extras(), draw::damage(), vec(draw::traffic(), FLOWS));
    property.check(&drawn, |(world, extras, damage, flows)| {
        let cluster = world.cluster_with(&extras, Compat::STRICT).map_err(TestCaseError::fail)?;
        let state = damaged(batch(&cluster, None), &damage);
        compare_all(&state, &Snapshot::new(&state), &flows, &compared)
    });
    println!("compared {} decisions", compared.get());
    assert!(compared.get() > 10, "hardly anything was compared");
}

#[test]
fn a_snapshot_after_another_is_as_if_made_from_nothing() {
    let compared = Cell::new(0_u64);
    let property = Property::new("a later snapshot is like a new one", WORLDS / 4);
    let steps = vec((strategy::world(), draw::extras(), draw::damage()), 2..5);
    let drawn = (steps, any::<bool>(), vec(draw::traffic(), FLOWS));
    property.check(&drawn, |(steps, in_place, flows)| {
        let (mut snapshot, mut state) = (Snapshot::default(), State::default());
        for (world, extras, damage) in steps {
            let cluster =
                world.cluster_with(&extras, Compat::STRICT).map_err(TestCaseError::fail)?;
            let fresh = damaged(batch(&cluster, None), &damage);
            state = if in_place { shared(&state, fresh) } else { fresh };
            snapshot = snapshot.next(&state);
            compare_all(&state, &snapshot, &flows, &compared)?;
        }
        Ok(())
    });
    assert!(compared.get() > 10, "hardly anything was compared");
}

/// A state in which what is the same as in another is the very same.
fn shared(old: &State, mut new: State) -> State {
    for (id, set) in &mut new.sets {
        if let Some(same) = old.sets.get(id).filter(|old| *old == set) {
            *set = Arc::clone(same);
        }
    }
    let rules: BTreeMap<_, _> = old.policies.iter().map(|(id, p)| (id, format!("{p:?}"))).collect();
    for (id, policy) in &mut new.policies {
        if rules.get(id) == Some(&format!("{policy:?}")) {
            *policy = Arc::clone(&old.policies[id]);
        }
    }
    for (id, endpoint) in &mut new.endpoints {
        if let Some(same) = old.endpoints.get(id).filter(|old| *old == endpoint) {
            *endpoint = Arc::clone(same);
        }
    }
    new
}
