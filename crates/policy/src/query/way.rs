//! One flow on its way, and what each place on it says.

use smol_str::SmolStr;

use super::draft::{Draft, Seen};
use super::host::{Gate, gates};
use super::resolve::{Resolved, Who};
use super::suggest::suggest;
use super::{Before, Explanation, Leg, Query, Word, http_at};
use crate::{
    Address, BeforePolicy, Cluster, Direction, Endpoint, EndpointToHost, Engine, Facts, Flow,
    HostEndpoint, HttpAtNetwork, Plane, Step, TraceEntry, Trust, Verdict,
};

/// One flow on its way.
pub(super) struct Way<'c> {
    pub(super) engine: &'c dyn Engine,
    pub(super) cluster: &'c Cluster,
    pub(super) trust: &'c Trust,
    pub(super) query: &'c Query,
    pub(super) from: Resolved<'c>,
    pub(super) to: Resolved<'c>,
    pub(super) source: Address,
    pub(super) destination: Address,
}

impl Way<'_> {
    pub(super) fn explain(&self) -> Explanation {
        let mut before = Vec::new();
        let (egress, ingress) = (self.egress(&mut before), self.ingress(&mut before));
        let (forward, application) = (self.forward(), self.application());
        if egress.is_some() || ingress.is_some() {
            before.push(established());
        }
        let allows = |leg: &Leg| leg.verdict == Word::Allow;
        let allowed = [&egress, &ingress, &application].into_iter().flatten().all(allows)
            && forward.iter().all(allows);
        Explanation { verdict: allowed.into(), egress, ingress, forward, application, before }
    }

    fn flow(&self, http: HttpAtNetwork) -> Flow<'_> {
        Flow {
            cluster: self.cluster,
            source: self.source,
            destination: self.destination,
            protocol: self.query.protocol,
            icmp: self.query.icmp,
            http,
        }
    }

    /// Whether one end is a host and the other a workload on it, or both are on one.
    fn on_one_node(&self) -> bool {
        let node = self.from.node();
        node.is_some() && node == self.to.node()
    }

    fn egress(&self, before: &mut Vec<Before>) -> Option<Leg> {
        match &self.from.who {
            Who::Workload(e) => {
                let flow = self.flow(HttpAtNetwork::Unenforced);
                Some(self.workload(e, Direction::Egress, &flow, before))
            }
            // It leaves by none of the interfaces that host endpoints are about.
            Who::Host(_) if self.on_one_node() && self.to.workload().is_some() => None,
            Who::Host(h) => {
                let planes = [Plane::Untracked, Plane::Normal];
                Some(self.host(h, Direction::Egress, &planes, before))
            }
            Who::Node(_) | Who::Stranger => None,
        }
    }

    fn ingress(&self, before: &mut Vec<Before>) -> Option<Leg> {
        let to_own_host = matches!(self.from.who, Who::Workload(_)) && self.on_one_node();
        match &self.to.who {
            Who::Workload(e) => {
                let flow = self.flow(http_at(e));
                Some(self.workload(e, Direction::Ingress, &flow, before))
            }
            Who::Host(h) if to_own_host => {
                Some(self.own_host(format!("hostendpoint:{}", h.name), &h.node))
            }
            Who::Host(h) => {
                let planes = [Plane::Untracked, Plane::PreDnat, Plane::Normal];
                Some(self.host(h, Direction::Ingress, &planes, before))
            }
            Who::Node(node) if to_own_host => Some(self.own_host(format!("node:{node}"), node)),
            Who::Node(_) | Who::Stranger => None,
        }
    }

    /// The host endpoints between a workload and whatever is on another host.
    fn forward(&self) -> Vec<Leg> {
        if self.on_one_node() {
            return Vec::new();
        }
        let ends = [(&self.from, Direction::Egress), (&self.to, Direction::Ingress)];
        let workloads = ends.into_iter().filter_map(|(end, d)| Some((end.workload()?, d)));
        let gates = workloads.flat_map(|(e, d)| gates(self.engine, self.cluster, e, d));
        let flow = self.flow(HttpAtNetwork::Unenforced);
        gates.map(|gate| gate.leg(&flow)).collect()
    }

    fn application(&self) -> Option<Leg> {
        let endpoint = self.to.workload()?;
        if !self.query.asks_application() {
            return None;
        }
        let draft = Draft {
            cluster: self.cluster,
            source: self.source,
            destination: self.destination,
            protocol: self.query.protocol,
            icmp: None,
            seen: Seen::Sidecar {
                trust: self.trust,
                identity: self.query.from_identity.as_deref().unwrap_or_default(),
                http: self.query.http.clone(),
            },
        };
        let request = draft.request()?;
        let decider = self.engine.at_workload(endpoint, Direction::Ingress);
        let verdict = decider.request(&request);
        Some(leg(endpoint, &verdict, &request, Direction::Ingress, draft.clone()))
    }

    fn workload(
        &self,
        endpoint: &Endpoint,
        direction: Direction,
        flow: &Flow<'_>,
        before: &mut Vec<Before>,
    ) -> Leg {
        let name = endpoint.id.to_string();
        let any = self.cluster.before_workload_policy(endpoint, direction, true);
        before.extend(any.into_iter().map(|b| Before::new(&name, direction, b)));
        if let Some(decided) = self.before(endpoint, direction, flow) {
            return fixed(name, decided.name(), decided.allows());
        }
        let decider = self.engine.at_workload(endpoint, direction);
        leg(endpoint, &decider.flow(flow), flow, direction, Draft::of(flow))
    }

    /// What decides at a workload before its policy is asked, if anything does.
    fn before(
        &self,
        endpoint: &Endpoint,
        direction: Direction,
        flow: &Flow<'_>,
    ) -> Option<BeforePolicy> {
        let own_host = self.to_or_from_host();
        let all = self.cluster.before_workload_policy(endpoint, direction, own_host);
        all.into_iter().find(|before| before.decides(direction, flow))
    }

    /// Whether the flow is between a workload and its own host.
    fn to_or_from_host(&self) -> bool {
        let host = |end: &Resolved<'_>| matches!(end.who, Who::Host(_) | Who::Node(_));
        self.on_one_node() && (host(&self.from) || host(&self.to))
    }

    fn host(
        &self,
        host: &HostEndpoint,
        direction: Direction,
        planes: &[Plane],
        before: &mut Vec<Before>,
    ) -> Leg {
        let gate = Gate::new(self.engine, self.cluster, host, direction, planes);
        before.extend(gate.before());
        gate.leg(&self.flow(HttpAtNetwork::Unenforced))
    }

    /// From a pod to its own host: what is allowed before the pod's policy is allowed for good.
    fn own_host(&self, name: String, node: &SmolStr) -> Leg {
        let flow = self.flow(HttpAtNetwork::Unenforced);
        let pod = self.from.workload();
        let before = pod.and_then(|pod| self.before(pod, Direction::Egress, &flow));
        match before.filter(|before| before.allows()) {
            Some(before) => fixed(name, before.name(), true),
            None => {
                let action = self.cluster.settings(node).endpoint_to_host;
                fixed(name, "defaultEndpointToHostAction", action != EndpointToHost::Drop)
            }
        }
    }
}

fn leg(
    endpoint: &Endpoint,
    verdict: &Verdict<'_>,
    facts: &dyn Facts,
    direction: Direction,
    draft: Draft<'_>,
) -> Leg {
    Leg {
        endpoint: endpoint.id.to_string(),
        verdict: verdict.allowed.into(),
        trace: verdict.trace.iter().map(TraceEntry::from).collect(),
        reason: verdict.reason(facts, direction),
        nearest: suggest(verdict, facts, direction, draft),
    }
}

/// What holds wherever connections are tracked.
fn established() -> Before {
    let text = "replies, and further packets of connections that were allowed".to_owned();
    Before { endpoint: None, direction: None, verdict: Word::Allow, text }
}

/// What nothing but a setting or a fixed rule decides.
fn fixed(endpoint: String, name: &'static str, allowed: bool) -> Leg {
    let step = Step::Fixed { name, allowed };
    let reason = format!("{} by {name}, before policy", if allowed { "allowed" } else { "denied" });
    let trace = vec![TraceEntry::from(&step)];
    Leg { endpoint, verdict: allowed.into(), trace, reason, nearest: None }
}
