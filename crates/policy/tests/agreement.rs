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
use tortie_policy::{
    Address, Cluster, Direction, EndpointId, Facts, Flow, HttpAtNetwork, HttpRequest, Principal,
    Protocol, Request, Step, Trust, evaluate,
};
use tortie_testkit::Property;
use tortie_testkit::world::{self, Certificate, PATHS, Party, Pod, Traffic, Word, World, strategy};

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
        let Some((from, to)) = self.world.ends(traffic) else { return Ok(()) };
        let source = Address::new(from, traffic.source_port);
        let destination = Address::new(to, traffic.port);
        let protocol = Protocol::parse(&traffic.protocol.to_string()).unwrap();
        let packet = |http| Packet {
            source: (from, traffic.source_port),
            destination: (to, traffic.port),
            protocol: traffic.protocol,
            http,
            certificate: None,
        };
        let cluster = &self.cluster;
        let flow = |http| Flow { cluster, source, destination, protocol, icmp: None, http };
        if let Some(pod) = self.world.pod(traffic.from) {
            let flow = flow(HttpAtNetwork::Unenforced);
            self.leg(pod, Direction::Egress, &flow, &packet(Seen::Nothing), tally)?;
        }
        let Some(pod) = self.world.pod(traffic.to) else { return Ok(()) };
        let (http, seen) = match self.has_sidecar(pod) {
            // A sidecar sees connections only.
            true if traffic.protocol != 6 => (HttpAtNetwork::Deferred, Seen::Nothing),
            true => (HttpAtNetwork::Deferred, Seen::Later),
            false => (HttpAtNetwork::Unenforced, Seen::Nothing),
        };
        self.leg(pod, Direction::Ingress, &flow(http), &packet(seen), tally)?;
        let Some((principal, certificate)) = self.certificate(traffic) else { return Ok(()) };
        let seen = traffic.http.map_or(Seen::Nothing, |(method, path)| {
            let normal = PATHS.iter().find(|(p, _)| *p == path).unwrap().1;
            Seen::Request(method, normal)
        });
        let request = Request::new(
            &self.cluster,
            &Trust::default(),
            (source, principal),
            (destination, Principal::Plaintext),
            protocol,
            traffic.http.map(|(method, path)| HttpRequest::new(method, path)),
        );
        let packet = Packet { certificate, ..packet(seen) };
        self.leg(pod, Direction::Ingress, &request, &packet, tally)
    }

    fn has_sidecar(&self, pod: &Pod) -> bool {
        let asked = self.world.namespaces.iter().any(|n| n.name == pod.namespace && n.sidecars);
        asked && !pod.no_sidecar
    }

    /// The sender's certificate as both evaluators take it; none if it leaves something unknown.
    fn certificate(&self, traffic: &Traffic) -> Option<(Principal, Option<(Word, Word)>)> {
        let own = self.world.pod(traffic.from).map(|pod| (pod.namespace, pod.account()));
        let (namespace, account) = match (traffic.certificate, own) {
            (Certificate::None, _) | (Certificate::Own, None) => {
                return Some((Principal::Plaintext, None));
            }
            (Certificate::Own, Some(own)) => own,
            (Certificate::Of(namespace, account), own) => {
                let certificate = (namespace, account);
                let fits = own.is_none_or(|own| own == certificate);
                Some(certificate).filter(|(n, a)| fits && self.oracle.knows(n, a))?
            }
            (Certificate::Foreign | Certificate::Untrusted, _) => return None,
        };
        let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        Some((Principal::parse(&id), Some((namespace, account))))
    }

    fn leg(
        &self,
        pod: &Pod,
        direction: Direction,
        facts: &dyn Facts,
        packet: &Packet,
        tally: &mut Tally,
    ) -> Result<(), TestCaseError> {
        let id = EndpointId { namespace: pod.namespace.into(), name: pod.name.as_str().into() };
        let endpoint = self.cluster.endpoint(&id).unwrap();
        let applicable = self.cluster.applicable(endpoint, direction);
        let verdict = evaluate(&applicable, facts);
        let found = (verdict.allowed, by(verdict.trace.last().unwrap()));
        let want = self.oracle.decide(pod, of_world(direction), packet);
        prop_assert_eq!(&found, &want, "{} of {}: {:?}", direction, id, packet);
        tally.note(want.0, &want.1);
        Ok(())
    }
}

fn of_world(direction: Direction) -> world::Direction {
    match direction {
        Direction::Ingress => world::Direction::Ingress,
        Direction::Egress => world::Direction::Egress,
    }
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
        let shown = Case::new(&world)?.certificate(&traffic).is_some_and(|c| c.1.is_some());
        *seen.borrow_mut() += u32::from(shown && !matches!(traffic.to, Party::Stranger(_)));
        Ok(())
    });
    assert!(seen.into_inner() > 40);
}
