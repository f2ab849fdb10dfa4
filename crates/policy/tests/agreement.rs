//! The reference evaluator against a second one that shares nothing with it, on random clusters and
//! traffic of which everything is known.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code"
)]

mod oracle;

use std::cell::RefCell;
use std::collections::BTreeMap;

use oracle::{By, Oracle, Packet, Seen};
use proptest::collection::vec;
use proptest::prelude::*;
use tortie_policy::{Cluster, Step, evaluate};
use tortie_testkit::Property;
use tortie_testkit::world::{
    Certificate, Direction, Leg, PATHS, Party, Place, Pod, Traffic, Word, World, strategy,
};

/// How often each kind of decision was compared: a test that compares nothing must not pass.
#[derive(Debug, Default)]
struct Tally {
    decisions: BTreeMap<&'static str, u32>,
    total: u32,
}

impl Tally {
    fn note(&mut self, allowed: bool, by: &By) {
        let kind = match by {
            By::Rule(..) if allowed => "allowed by a rule",
            By::Rule(..) => "denied by a rule",
            By::EndOfTier(_) => "denied at the end of a tier",
            By::Profile => "allowed by the profile",
        };
        *self.decisions.entry(kind).or_default() += 1;
        self.total += 1;
    }
}

struct Case<'w> {
    world: &'w World,
    cluster: Cluster,
    oracle: Oracle<'w>,
}

impl<'w> Case<'w> {
    fn new(world: &'w World) -> Result<Self, TestCaseError> {
        let cluster = world.cluster().map_err(TestCaseError::fail)?;
        Ok(Case { world, cluster, oracle: Oracle::new(world) })
    }

    /// Compares every leg of a piece of traffic.
    fn compare(&self, traffic: &Traffic, tally: &mut Tally) -> Result<(), TestCaseError> {
        for leg in self.world.legs(&self.cluster, traffic) {
            let Some(packet) = self.packet(traffic, &leg) else { continue };
            let verdict = evaluate(&leg.applicable, &*leg.facts);
            let found = (verdict.allowed, by(verdict.trace.last().unwrap()));
            let direction = match leg.place {
                Place::Egress => Direction::Egress,
                Place::Ingress | Place::Application => Direction::Ingress,
            };
            let want = self.oracle.decide(leg.pod, direction, &packet);
            prop_assert_eq!(&found, &want, "{:?} of {}: {:?}", leg.place, leg.pod.name, packet);
            tally.note(want.0, &want.1);
        }
        Ok(())
    }

    /// What a leg sees of the traffic; none if the second evaluator cannot tell what it knows.
    fn packet(&self, traffic: &Traffic, leg: &Leg<'_>) -> Option<Packet> {
        let (from, to) = self.world.ends(traffic)?;
        let (http, certificate) = match leg.place {
            Place::Egress => (Seen::Nothing, None),
            // A sidecar sees connections only.
            Place::Ingress if traffic.protocol == 6 && self.has_sidecar(leg.pod) => {
                (Seen::Later, None)
            }
            Place::Ingress => (Seen::Nothing, None),
            Place::Application => (seen(traffic), self.certificate(traffic)?),
        };
        Some(Packet {
            source: (from, traffic.source_port),
            destination: (to, traffic.port),
            protocol: traffic.protocol,
            http,
            certificate,
        })
    }

    fn has_sidecar(&self, pod: &Pod) -> bool {
        let asked = self.world.namespaces.iter().any(|n| n.name == pod.namespace && n.sidecars);
        asked && !pod.no_sidecar
    }

    /// The account of the sender's certificate, if any; none if it leaves something unknown.
    fn certificate(&self, traffic: &Traffic) -> Option<Option<(Word, Word)>> {
        let own = self.world.pod(traffic.from).map(|pod| (pod.namespace, pod.account()));
        match traffic.certificate {
            Certificate::None => Some(None),
            Certificate::Own => Some(own),
            Certificate::Of(namespace, account) => {
                let certificate = (namespace, account);
                let fits = own.is_none_or(|own| own == certificate);
                (fits && self.oracle.knows(namespace, account)).then_some(Some(certificate))
            }
            Certificate::Foreign | Certificate::Untrusted => None,
        }
    }
}

fn seen(traffic: &Traffic) -> Seen {
    traffic.http.map_or(Seen::Nothing, |(method, path)| {
        let normal = PATHS.iter().find(|(p, _)| *p == path).unwrap().1;
        Seen::Request(method, normal)
    })
}

fn by(step: &Step<'_>) -> By {
    match step {
        Step::Rule { policy, index, .. } => By::Rule(policy.id.name.to_string(), *index),
        Step::TierDefault { tier, .. } => By::EndOfTier(tier.name.to_string()),
        Step::Profile { .. } => By::Profile,
        step => panic!("{step:?} cannot decide here"),
    }
}

fn agree(property: Property) -> Tally {
    let tally = RefCell::new(Tally::default());
    let values = (strategy::world(), vec(strategy::traffic(), 12));
    property.check(&values, |(world, traffic)| {
        let case = Case::new(&world)?;
        traffic.iter().try_for_each(|t| case.compare(t, &mut tally.borrow_mut()))
    });
    tally.into_inner()
}

#[test]
fn both_evaluators_agree() {
    let tally = agree(Property::new("both evaluators agree", 2000));
    println!("{tally:?}");
    assert!(tally.total >= 20_000, "{tally:?}");
    let share = tally.total / 20;
    assert!(
        tally.decisions.len() == 4 && tally.decisions.values().all(|n| *n > share),
        "{tally:?}"
    );
}

#[test]
#[ignore = "long: run by `make soak`"]
fn soak_both_evaluators_agree() {
    let tally = agree(Property::soak("both evaluators agree", 200_000));
    println!("{tally:?}");
}

/// A stranger shows a certificate, or a pod its own: what the oracle cannot tell is left out.
#[test]
fn some_traffic_has_certificates() {
    let seen = RefCell::new(0_u32);
    let property = Property::new("some traffic has certificates", 200);
    property.check(&(strategy::world(), strategy::traffic()), |(world, traffic)| {
        let shown = Case::new(&world)?.certificate(&traffic).flatten().is_some();
        *seen.borrow_mut() += u32::from(shown && !matches!(traffic.to, Party::Stranger(_)));
        Ok(())
    });
    assert!(seen.into_inner() > 40);
}
