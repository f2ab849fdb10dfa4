//! Host endpoints on a flow's way: their planes, and the ports that stay open before them.

use super::{Leg, Word};
use crate::{
    Cluster, Decider, Direction, Endpoint, Engine, Facts, Failsafe, Flow, HostEndpoint, Plane,
    Side, Step, TraceEntry, Tri, Verdict,
};

/// A host endpoint that traffic passes, with what decides in the planes it passes, in order.
pub(crate) struct Gate<'c> {
    host: &'c HostEndpoint,
    direction: Direction,
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
    let gates = hosts.map(|host| Gate::new(engine, host, direction, planes));
    gates.filter(|gate| gate.planes.iter().any(|(_, decider)| !decider.is_open())).collect()
}

impl<'c> Gate<'c> {
    pub(super) fn new(
        engine: &'c dyn Engine,
        host: &'c HostEndpoint,
        direction: Direction,
        planes: &[Plane],
    ) -> Gate<'c> {
        let asked = |plane: &Plane| (*plane, engine.at_host(host, direction, *plane));
        Gate { host, direction, planes: planes.iter().map(asked).collect() }
    }

    /// The planes in order, until one of them decides: what an earlier plane accepts is not asked
    /// about again. Failsafe ports are open in all planes but that of forwarded traffic.
    pub(crate) fn pass(&self, cluster: &Cluster, flow: &Flow<'_>) -> Vec<(Plane, Verdict<'_>)> {
        let forwarded = self.planes.iter().any(|(plane, _)| *plane == Plane::Forward);
        let failsafe = failsafe(cluster, self.host, self.direction, flow);
        let mut verdicts = Vec::new();
        for (plane, decider) in &self.planes {
            let failsafe = failsafe.filter(|_| *plane != Plane::Forward);
            let verdict = match failsafe {
                Some(failsafe) => Verdict { allowed: true, trace: vec![Step::Failsafe(failsafe)] },
                None => decider.flow(flow),
            };
            let goes_on = match verdict.trace.last() {
                Some(Step::Failsafe(_)) => forwarded,
                last => matches!(last, Some(Step::Continue)),
            };
            verdicts.push((*plane, verdict));
            if !goes_on {
                break;
            }
        }
        verdicts
    }

    /// The same as data.
    pub(super) fn leg(&self, cluster: &Cluster, flow: &Flow<'_>) -> Leg {
        let verdicts = self.pass(cluster, flow);
        let entries = verdicts.iter().flat_map(|(plane, verdict)| {
            let steps = verdict.trace.iter().map(TraceEntry::from);
            steps.map(|entry| TraceEntry { plane: Some(plane.as_str()), ..entry })
        });
        let last = verdicts.last().map(|(_, verdict)| verdict);
        Leg {
            endpoint: format!("hostendpoint:{}", self.host.name),
            verdict: last.map_or(Word::Allow, |verdict| verdict.allowed.into()),
            trace: entries.collect(),
            reason: last.map(|v| v.reason(flow, self.direction)).unwrap_or_default(),
        }
    }
}

/// The failsafe that keeps the traffic's port open, if one does.
fn failsafe(
    cluster: &Cluster,
    host: &HostEndpoint,
    direction: Direction,
    flow: &Flow<'_>,
) -> Option<Failsafe> {
    let settings = cluster.settings(&host.node);
    let (list, other) = match direction {
        Direction::Ingress => (settings.failsafe_inbound, Side::Source),
        Direction::Egress => (settings.failsafe_outbound, Side::Destination),
    };
    list.into_iter().find(|failsafe| {
        let net = failsafe.net.map_or(Tri::True, |net| flow.net(other, &net));
        failsafe.protocol == flow.protocol
            && flow.destination.port == Some(failsafe.port)
            && net == Tri::True
    })
}
