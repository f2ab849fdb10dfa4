//! The compiled engine of `tortie-calc`, on the state of a whole cluster.

use std::sync::Arc;

use anyhow::anyhow;
use tortie_calc::compiled::{Place, Snapshot, Traffic};
use tortie_calc::{State, batch};
use tortie_model::Resource;
use tortie_policy::{
    Cluster, Decider, Direction, Endpoint, Flow, HostEndpoint, Plane, Query, Request, Step,
    TraceEntry, Trust, Verdict, explain_by,
};

use crate::{Answer, Engine, Reading, Session};

/// The compiled engine. Each verdict is found by the index and by asking all rules in turn; where
/// these differ, the verdict says so and denies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compiled;

struct CompiledSession {
    enforced: (Cluster, Snapshot),
    pending: (Cluster, Snapshot),
    trust: Trust,
}

impl Engine for Compiled {
    fn name(&self) -> &'static str {
        "compiled"
    }

    fn open(&self, resources: &[Resource], trust: &Trust) -> anyhow::Result<Box<dyn Session>> {
        let session = self.open_as(resources, trust, Reading::default())?;
        session.ok_or_else(|| anyhow!("the compiled engine can read in every way"))
    }

    fn open_as(
        &self,
        resources: &[Resource],
        trust: &Trust,
        reading: Reading,
    ) -> anyhow::Result<Option<Box<dyn Session>>> {
        let enforced = reading.cluster(resources)?;
        let pending = enforced.pending();
        let compile = |cluster: Cluster| {
            let snapshot = Snapshot::new(&state(&cluster, trust));
            (cluster, snapshot)
        };
        let (enforced, pending) = (compile(enforced), compile(pending));
        Ok(Some(Box::new(CompiledSession { enforced, pending, trust: trust.clone() })))
    }
}

/// The state of all nodes of a cluster, with other trust domains.
fn state(cluster: &Cluster, trust: &Trust) -> State {
    let mut state = batch(cluster, None);
    if let Some(settings) = &mut state.settings {
        Arc::make_mut(settings).trust = trust.clone();
    }
    state
}

impl Session for CompiledSession {
    fn ask(&self, query: &Query, staged: bool) -> anyhow::Result<Answer> {
        let (cluster, snapshot) = if staged { &self.pending } else { &self.enforced };
        let engine = Twice(snapshot);
        Ok(Answer::Explained(Box::new(explain_by(&engine, cluster, &self.trust, query)?)))
    }
}

/// Asks the index and all rules.
struct Twice<'s>(&'s Snapshot);

impl tortie_policy::Engine for Twice<'_> {
    fn at_workload<'a>(
        &'a self,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Box<dyn Decider + 'a> {
        Box::new(AskedTwice(self.0.workload(&endpoint.id, direction)))
    }

    fn at_host<'a>(
        &'a self,
        host: &HostEndpoint,
        direction: Direction,
        plane: Plane,
    ) -> Box<dyn Decider + 'a> {
        Box::new(AskedTwice(self.0.host(&host.name, direction, plane)))
    }
}

struct AskedTwice<'s>(Option<Place<'s>>);

impl AskedTwice<'_> {
    fn verdict(&self, traffic: &Traffic<'_>) -> Verdict<'_> {
        let wrong =
            |name| Verdict { allowed: false, trace: vec![Step::Fixed { name, allowed: false }] };
        let Some(place) = &self.0 else { return wrong("no such endpoint in the snapshot") };
        let (verdict, decision) = (place.verdict(traffic), place.decide(traffic));
        let last = verdict.trace.last().map(TraceEntry::from);
        match verdict.allowed == decision.allowed() && last == Some((&decision.step).into()) {
            true => verdict,
            false => wrong("the index, which disagrees with the rules"),
        }
    }
}

impl Decider for AskedTwice<'_> {
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
