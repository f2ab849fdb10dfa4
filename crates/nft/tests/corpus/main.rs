//! The rendered ruleset, walked as the kernel walks it, gives the verdicts of the reference
//! evaluator: over the corpus, and over random clusters and traffic.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

#[path = "../../../testkit/tests/compiled/damage.rs"]
#[allow(dead_code, reason = "states as the compiled engine is tested with")]
mod damage;
mod damaged;
#[path = "../../../testkit/tests/compiled/draw.rs"]
#[allow(dead_code, reason = "worlds and traffic as the compiled engine is tested with")]
mod draw;
mod engine;
#[path = "../../../testkit/tests/compiled/naive.rs"]
mod naive;
mod paths;

use std::cell::Cell;

use engine::Rendered;
use proptest::collection::vec;
use proptest::prelude::*;
use smol_str::SmolStr;
use tortie_model::{Object, Resource};
use tortie_policy::{
    Cluster, Decider, Direction, Engine as _, Flow, Plane, Query, Trust, explain_by,
};
use tortie_testkit::world::strategy;
use tortie_testkit::{Answer, Engine, Property, Reading, Session, verdicts};

/// The ruleset as an engine of the corpus.
struct Kernel;

struct KernelSession {
    enforced: Cluster,
    pending: Cluster,
    nodes: Vec<SmolStr>,
    trust: Trust,
}

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

impl Engine for Kernel {
    fn name(&self) -> &'static str {
        "ruleset"
    }

    fn open(&self, resources: &[Resource], trust: &Trust) -> anyhow::Result<Box<dyn Session>> {
        Ok(self.open_as(resources, trust, Reading::default())?.unwrap())
    }

    fn open_as(
        &self,
        resources: &[Resource],
        trust: &Trust,
        reading: Reading,
    ) -> anyhow::Result<Option<Box<dyn Session>>> {
        let enforced = match reading.mended {
            true => Cluster::build_mended(resources, reading.compat),
            false => Cluster::build_with(resources, reading.compat)
                .map_err(|invalid| anyhow::anyhow!("{invalid:#?}"))?,
        };
        let pending = enforced.pending();
        let nodes = nodes(resources);
        Ok(Some(Box::new(KernelSession { enforced, pending, nodes, trust: trust.clone() })))
    }
}

fn nodes(resources: &[Resource]) -> Vec<SmolStr> {
    let nodes = resources.iter().filter_map(|resource| match &resource.object {
        Object::Node(node) => Some(node.metadata.name.as_str().into()),
        _ => None,
    });
    nodes.collect()
}

impl Session for KernelSession {
    fn ask(&self, query: &Query, staged: bool) -> anyhow::Result<Answer> {
        let cluster = if staged { &self.pending } else { &self.enforced };
        let engine = Rendered::new(cluster, self.nodes.clone());
        let explanation = explain_by(&engine, cluster, &self.trust, query)?;
        ASKED.set(ASKED.get() + engine.asked());
        Ok(Answer::Explained(Box::new(explanation)))
    }
}

#[test]
fn the_ruleset_gives_the_verdicts_of_the_corpus() {
    let report = verdicts::run(&Kernel).unwrap();
    let failures = report.failures.join("\n\n");
    assert!(report.failures.is_empty(), "{} cases fail:\n{failures}", report.failures.len());
    println!("{report:?}; {} packets", ASKED.get());
    assert!(report.scenarios >= 150 && report.passed >= 650, "{report:?}");
    assert!(ASKED.get() > report.passed, "hardly anything was asked");
}

/// Worlds for each property; `PROPTEST_CASES` asks for another number.
const WORLDS: u32 = 2_000;

/// Flows asked about in each world.
const FLOWS: usize = 100;

/// All places of a cluster where packets are asked about.
fn places<'r>(cluster: &Cluster, rendered: &'r Rendered<'_>) -> Vec<Box<dyn Decider + 'r>> {
    let mut places = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        for endpoint in cluster.endpoints() {
            places.push(rendered.at_workload(endpoint, direction));
        }
        for host in cluster.hosts() {
            for plane in Plane::ALL {
                places.push(rendered.at_host(host, direction, plane));
            }
        }
    }
    places
}

#[test]
fn the_ruleset_agrees_with_the_reference_on_random_clusters() {
    let asked = Cell::new(0_usize);
    let property = Property::new("the ruleset agrees with the reference", WORLDS);
    let worlds = (strategy::world(), draw::extras(), draw::compat(), any::<bool>());
    property.check(&(worlds, vec(draw::traffic(), FLOWS)), |(world, flows)| {
        let (world, extras, compat, staged) = world;
        let mut cluster = world.cluster_with(&extras, compat).map_err(TestCaseError::fail)?;
        if staged {
            cluster = cluster.pending();
        }
        let rendered = Rendered::new(&cluster, Vec::new());
        let places = places(&cluster, &rendered);
        for (number, drawn) in flows.iter().enumerate() {
            let Some(place) = places.get(number % places.len().max(1)) else { break };
            place.flow(&Flow {
                cluster: &cluster,
                source: drawn.source.0,
                destination: drawn.destination.0,
                protocol: drawn.protocol,
                icmp: drawn.icmp,
                http: drawn.http_at_network,
            });
        }
        asked.set(asked.get() + rendered.asked());
        Ok(())
    });
    println!("asked about {} packets", asked.get());
    assert!(asked.get() >= 2_000 || std::env::var_os("PROPTEST_CASES").is_some());
}
