//! What a sidecar knows from the wire decides as what the agent knows does: the whole corpus, and
//! random clusters with random traffic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::sync::Arc;

use anyhow::anyhow;
use proptest::prelude::*;
use tortie_calc::compiled::{Place, Snapshot, Traffic};
use tortie_calc::{State, Update, batch};
use tortie_model::Resource;
use tortie_policy::{
    Address, Cluster, Compat, Decider, Direction, Endpoint, EndpointId, Flow, HostEndpoint,
    HttpAtNetwork, HttpRequest, Plane, Protocol, Query, Request, Step, Trust, Verdict, explain_by,
};
use tortie_policysync::wire::{Decoder, encode_all};
use tortie_testkit::Property;
use tortie_testkit::world::{self, World};
use tortie_testkit::{Answer, Engine, Session, verdicts};

/// A state as its messages tell it. What messages leave out, since sidecars need it not, is taken
/// over.
fn over_the_wire(state: &State) -> State {
    let mut decoder = Decoder::new(Compat::STRICT);
    let mut told = State::default();
    for message in encode_all(state) {
        for update in decoder.decode(message).unwrap().updates {
            told.apply(update).unwrap();
        }
    }
    for host in state.hosts.values() {
        told.apply(Update::Host(host.clone())).unwrap();
    }
    if let (Some(settings), Some(told)) = (&state.settings, &mut told.settings) {
        Arc::make_mut(told).host = settings.host.clone();
    }
    told
}

// === the corpus ===

struct OverTheWire;

struct Opened {
    cluster: Cluster,
    snapshot: Snapshot,
    trust: Trust,
}

impl Engine for OverTheWire {
    fn name(&self) -> &'static str {
        "compiled, over the wire"
    }

    fn open(&self, resources: &[Resource], trust: &Trust) -> anyhow::Result<Box<dyn Session>> {
        let cluster = Cluster::build(resources).map_err(|invalid| anyhow!("{invalid:#?}"))?;
        let mut state = batch(&cluster, None);
        if let Some(settings) = &mut state.settings {
            Arc::make_mut(settings).trust = trust.clone();
        }
        let snapshot = Snapshot::new(&over_the_wire(&state));
        Ok(Box::new(Opened { cluster, snapshot, trust: trust.clone() }))
    }
}

impl Session for Opened {
    /// Sidecars are told which policies are staged, and never to enforce them.
    fn ask(&self, query: &Query, staged: bool) -> anyhow::Result<Answer> {
        if staged {
            return Ok(Answer::OutOfScope);
        }
        let explained = explain_by(&Asked(&self.snapshot), &self.cluster, &self.trust, query)?;
        Ok(Answer::Explained(Box::new(explained)))
    }
}

struct Asked<'s>(&'s Snapshot);

impl tortie_policy::Engine for Asked<'_> {
    fn at_workload<'a>(&'a self, endpoint: &Endpoint, way: Direction) -> Box<dyn Decider + 'a> {
        Box::new(At(self.0.workload(&endpoint.id, way)))
    }

    fn at_host<'a>(
        &'a self,
        host: &HostEndpoint,
        way: Direction,
        plane: Plane,
    ) -> Box<dyn Decider + 'a> {
        Box::new(At(self.0.host(&host.name, way, plane)))
    }
}

struct At<'s>(Option<Place<'s>>);

impl At<'_> {
    fn verdict(&self, traffic: &Traffic<'_>) -> Verdict<'_> {
        let nobody = || Verdict {
            allowed: false,
            trace: vec![Step::Fixed { name: "no such endpoint", allowed: false }],
        };
        self.0.as_ref().map_or_else(nobody, |place| place.verdict(traffic))
    }
}

impl Decider for At<'_> {
    fn is_open(&self) -> bool {
        self.0.is_some_and(|place| place.is_open())
    }

    fn flow(&self, flow: &Flow<'_>) -> Verdict<'_> {
        self.verdict(&flow.into())
    }

    fn request(&self, request: &Request<'_>) -> Verdict<'_> {
        self.verdict(&request.into())
    }
}

#[test]
fn the_corpus_has_its_verdicts_and_reasons_over_the_wire() {
    let report = verdicts::run(&OverTheWire).unwrap();
    let failures = report.failures.join("\n\n");
    assert!(report.failures.is_empty(), "{} cases fail:\n{failures}", report.failures.len());
    assert!(report.scenarios >= 150 && report.passed >= 600, "{report:?}");
}

// === random clusters ===

const PRINCIPALS: [&str; 6] = [
    "",
    "spiffe://cluster.local/ns/default/sa/default",
    "spiffe://cluster.local/ns/shop/sa/web",
    "spiffe://cluster.local/ns/bank/sa/summary",
    "spiffe://elsewhere/ns/default/sa/default",
    "db.example.com",
];

fn agrees(world: &World, traffic: &[(world::Traffic, prop::sample::Index)]) -> Result<(), String> {
    let cluster = world.cluster()?;
    let state = batch(&cluster, None);
    let told = over_the_wire(&state);
    let (here, there) = (Snapshot::new(&state), Snapshot::new(&told));
    for (traffic, principal) in traffic {
        let Some((from, to)) = world.ends(traffic) else { continue };
        let own = traffic_principals(world, traffic);
        let principal = principal.get(&own).as_str();
        let (source, destination) =
            (Address::new(from, traffic.source_port), Address::new(to, traffic.port));
        let protocol = Protocol::parse(&traffic.protocol.to_string()).unwrap_or(Protocol::TCP);
        let http = traffic.http.map(|(method, path)| HttpRequest::new(method, path));
        let network =
            Traffic::network(source, destination, protocol, None, HttpAtNetwork::Deferred);
        let sidecar = Traffic::sidecar((source, principal), (destination, ""), protocol, http);
        let places = [(traffic.from, Direction::Egress), (traffic.to, Direction::Ingress)];
        for (party, way) in places {
            let Some(pod) = world.pod(party) else { continue };
            let id = EndpointId { namespace: pod.namespace.into(), name: pod.name.as_str().into() };
            let at = |snapshot: &Snapshot, traffic: &Traffic<'_>| {
                snapshot.workload(&id, way).map(|place| place.decide(traffic).allowed())
            };
            for traffic in [&network, &sidecar] {
                let (ours, theirs) = (at(&here, traffic), at(&there, traffic));
                if ours != theirs {
                    return Err(format!(
                        "{id} {way}: {ours:?} here, {theirs:?} there: {traffic:?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

fn traffic_principals(world: &World, traffic: &world::Traffic) -> Vec<String> {
    let mut principals: Vec<String> = PRINCIPALS.iter().map(|p| (*p).to_owned()).collect();
    for pod in [world.pod(traffic.from), world.pod(traffic.to)].into_iter().flatten() {
        principals.push(format!(
            "spiffe://cluster.local/ns/{}/sa/{}",
            pod.namespace,
            pod.account()
        ));
    }
    principals
}

#[test]
fn random_clusters_decide_alike_over_the_wire() {
    let traffic =
        prop::collection::vec((world::strategy::traffic(), any::<prop::sample::Index>()), 20);
    let cases = Property::new("over the wire", 256);
    cases.check(&(world::strategy::world(), traffic), |(world, traffic)| {
        agrees(&world, &traffic).map_err(TestCaseError::fail)
    });
}
