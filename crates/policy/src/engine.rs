//! What `explain`, `connectivity` and `test` ask for verdicts: the reference evaluator, or another
//! engine that must agree with it.

use crate::{
    Applicable, Cluster, Direction, Endpoint, Flow, HostEndpoint, Plane, Request, Step, Verdict,
    evaluate,
};

/// Finds what decides at a place where policy is enforced. [`Cluster`] is the reference.
pub trait Engine: Sync {
    /// What decides at a workload in one direction.
    fn at_workload<'a>(
        &'a self,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Box<dyn Decider + 'a>;

    /// What decides at a host endpoint in one direction, in one of its planes.
    fn at_host<'a>(
        &'a self,
        host: &HostEndpoint,
        direction: Direction,
        plane: Plane,
    ) -> Box<dyn Decider + 'a>;
}

/// Decides about traffic at one place in one direction: found once, asked about many flows.
pub trait Decider: Sync {
    /// Whether no policy applies here.
    fn is_open(&self) -> bool;

    /// The verdict on a flow.
    fn flow(&self, flow: &Flow<'_>) -> Verdict<'_>;

    /// The verdict on a request as a sidecar sees it.
    fn request(&self, request: &Request<'_>) -> Verdict<'_>;

    /// The verdict on a flow without the way to it: whether it may pass, and the step that decided.
    /// Asked for every pair of workloads, so an engine may have a faster way.
    fn decision(&self, flow: &Flow<'_>) -> (bool, Option<Step<'_>>) {
        let verdict = self.flow(flow);
        (verdict.allowed, verdict.trace.last().copied())
    }
}

/// The reference evaluator.
impl Engine for Cluster {
    fn at_workload<'a>(
        &'a self,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Box<dyn Decider + 'a> {
        Box::new(self.applicable(endpoint, direction))
    }

    fn at_host<'a>(
        &'a self,
        host: &HostEndpoint,
        direction: Direction,
        plane: Plane,
    ) -> Box<dyn Decider + 'a> {
        Box::new(self.applicable_to_host(host, direction, plane))
    }
}

impl Decider for Applicable {
    fn is_open(&self) -> bool {
        self.tiers.is_empty()
    }

    fn flow(&self, flow: &Flow<'_>) -> Verdict<'_> {
        evaluate(self, flow)
    }

    fn request(&self, request: &Request<'_>) -> Verdict<'_> {
        evaluate(self, request)
    }
}
