//! The compiled engine for `explain`, `connectivity` and `test`.

use tortie_policy::{
    Decider, Direction, Endpoint, Engine, Flow, HostEndpoint, Plane, Request, Step, Verdict,
};

use super::place::Place;
use super::snapshot::Snapshot;

/// Of a snapshot of all nodes' endpoints.
impl Engine for Snapshot {
    fn at_workload<'a>(
        &'a self,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Box<dyn Decider + 'a> {
        decider(self.workload(&endpoint.id, direction))
    }

    fn at_host<'a>(
        &'a self,
        host: &HostEndpoint,
        direction: Direction,
        plane: Plane,
    ) -> Box<dyn Decider + 'a> {
        decider(self.host(&host.name, direction, plane))
    }
}

fn decider<'a>(place: Option<Place<'a>>) -> Box<dyn Decider + 'a> {
    match place {
        Some(place) => Box::new(place),
        None => Box::new(Nowhere),
    }
}

impl Decider for Place<'_> {
    fn is_open(&self) -> bool {
        Place::is_open(self)
    }

    fn flow(&self, flow: &Flow<'_>) -> Verdict<'_> {
        self.verdict(&flow.into())
    }

    fn request(&self, request: &Request<'_>) -> Verdict<'_> {
        self.verdict(&request.into())
    }

    fn decision(&self, flow: &Flow<'_>) -> (bool, Option<Step<'_>>) {
        let decision = self.decide(&flow.into());
        (decision.allowed(), Some(decision.step))
    }
}

/// An endpoint the snapshot does not know: nothing may pass.
struct Nowhere;

const UNKNOWN: Step<'static> = Step::Fixed { name: "an unknown endpoint", allowed: false };

impl Decider for Nowhere {
    fn is_open(&self) -> bool {
        false
    }

    fn flow(&self, _: &Flow<'_>) -> Verdict<'_> {
        Verdict { allowed: false, trace: vec![UNKNOWN] }
    }

    fn request(&self, _: &Request<'_>) -> Verdict<'_> {
        Verdict { allowed: false, trace: vec![UNKNOWN] }
    }
}
