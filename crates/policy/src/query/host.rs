//! Host endpoints on a flow's way: their planes, and the ports that stay open before them.

use super::draft::Draft;
use super::suggest::suggest;
use super::{Before, Leg, Word};
use crate::{
    BeforePolicy, Cluster, Decider, Direction, Endpoint, Engine, Flow, HostEndpoint, Plane, Step,
    TraceEntry, Verdict,
};

/// A host endpoint that traffic passes, with what decides in the planes it passes, in order.
pub(crate) struct Gate<'c> {
    host: &'c HostEndpoint,
    direction: Direction,
    before: Vec<BeforePolicy>,
    planes: Vec<(Plane, Box<dyn Decider + 'c>)>,
}

/// The host endpoints between a workload and other hosts: those of its node, if that is known,
/// that have any policy for traffic on its way.
pub(crate) fn gates<'c>(
    engine: &'c dyn Engine,
    cluster: &'c Cluster,
    endpoint: &Endpoint,
    direction: Direction,
) -> Vec<Gate<'c>> {
    let planes = match direction {
        Direction::Ingress => &[Plane::Untracked, Plane::PreDnat, Plane::Forward][..],
        // What is forwarded leaves no trace in the hook for untracked output.
        Direction::Egress => &[Plane::Forward][..],
    };
    let hosts = cluster.hosts().filter(|h| endpoint.node.as_ref() == Some(&h.node));
    let gates = hosts.map(|host| Gate::new(engine, cluster, host, direction, planes));
    gates.filter(|gate| gate.planes.iter().any(|(_, decider)| !decider.is_open())).collect()
}

impl<'c> Gate<'c> {
    pub(super) fn new(
        engine: &'c dyn Engine,
        cluster: &Cluster,
        host: &'c HostEndpoint,
        direction: Direction,
        planes: &[Plane],
    ) -> Gate<'c> {
        let asked = |plane: &Plane| (*plane, engine.at_host(host, direction, *plane));
        let before = cluster.before_host_policy(host, direction);
        Gate { host, direction, before, planes: planes.iter().map(asked).collect() }
    }

    /// Whether traffic goes through the host here, to or from a workload.
    fn is_forward(&self) -> bool {
        self.planes.iter().any(|(plane, _)| *plane == Plane::Forward)
    }

    /// The planes in order, until one of them decides: what an earlier plane accepts is not asked
    /// about again. Failsafe ports are open in all planes but that of forwarded traffic.
    pub(crate) fn pass(&self, flow: &Flow<'_>) -> Vec<(Plane, Verdict<'_>)> {
        let before = self.before.iter().find(|before| before.decides(self.direction, flow));
        let mut verdicts = Vec::new();
        for (plane, decider) in &self.planes {
            let before = before.filter(|_| *plane != Plane::Forward);
            let verdict = match before {
                Some(before) => {
                    Verdict { allowed: before.allows(), trace: vec![decided_before(*before)] }
                }
                None => decider.flow(flow),
            };
            let goes_on = match before {
                Some(before) => before.allows() && self.is_forward(),
                None => matches!(verdict.trace.last(), Some(Step::Continue)),
            };
            verdicts.push((*plane, verdict));
            if !goes_on {
                break;
            }
        }
        verdicts
    }

    /// What is allowed at the host endpoint whatever policy says.
    pub(super) fn before(&self) -> Vec<Before> {
        let name = self.name();
        let of_host = self.before.iter().filter(|_| !self.is_forward());
        of_host.map(|before| Before::new(&name, self.direction, *before)).collect()
    }

    fn name(&self) -> String {
        format!("hostendpoint:{}", self.host.name)
    }

    /// The same as data.
    pub(super) fn leg(&self, flow: &Flow<'_>) -> Leg {
        let verdicts = self.pass(flow);
        let entries = verdicts.iter().flat_map(|(plane, verdict)| {
            let steps = verdict.trace.iter().map(TraceEntry::from);
            steps.map(|entry| TraceEntry { plane: Some(plane.as_str()), ..entry })
        });
        let last = verdicts.last().map(|(_, verdict)| verdict);
        Leg {
            endpoint: self.name(),
            verdict: last.map_or(Word::Allow, |verdict| verdict.allowed.into()),
            trace: entries.collect(),
            reason: last.map(|v| v.reason(flow, self.direction)).unwrap_or_default(),
            nearest: last.and_then(|v| suggest(v, flow, self.direction, Draft::of(flow))),
        }
    }
}

/// What decides before policy, as a step.
pub(crate) fn decided_before<'a>(before: BeforePolicy) -> Step<'a> {
    match before {
        BeforePolicy::Failsafe(failsafe) => Step::Failsafe(failsafe),
        before => Step::Fixed { name: before.name(), allowed: before.allows() },
    }
}

impl Before {
    /// At an endpoint.
    pub(super) fn new(endpoint: &str, direction: Direction, before: BeforePolicy) -> Before {
        Before {
            endpoint: Some(endpoint.to_owned()),
            direction: Some(direction.to_string()),
            verdict: before.allows().into(),
            text: before.to_string(),
        }
    }
}
