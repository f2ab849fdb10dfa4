//! One flow on its way, and what each place on it says.

use smol_str::SmolStr;

use super::host::{Gate, gates};
use super::resolve::{Resolved, Who};
use super::{Explanation, Leg, Query, Word, http_at};
use crate::{
    Address, Cluster, Direction, Endpoint, EndpointToHost, Engine, Facts, Flow, HostEndpoint,
    HttpAtNetwork, HttpRequest, Plane, Principal, Request, Step, TraceEntry, Trust, Verdict,
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
        let (egress, ingress, forward) = (self.egress(), self.ingress(), self.forward());
        let application = self.application();
        let allows = |leg: &Leg| leg.verdict == Word::Allow;
        let allowed = [&egress, &ingress, &application].into_iter().flatten().all(allows)
            && forward.iter().all(allows);
        Explanation { verdict: allowed.into(), egress, ingress, forward, application }
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

    fn egress(&self) -> Option<Leg> {
        match &self.from.who {
            Who::Workload(e) => {
                let flow = self.flow(HttpAtNetwork::Unenforced);
                Some(self.workload(e, Direction::Egress, &flow))
            }
            Who::Host(h) => {
                let planes = [Plane::Untracked, Plane::Normal];
                Some(self.host(h, Direction::Egress, &planes))
            }
            Who::Node(_) | Who::Stranger => None,
        }
    }

    fn ingress(&self) -> Option<Leg> {
        let from_pod = matches!(self.from.who, Who::Workload(_));
        let from_node = matches!(self.from.who, Who::Host(_) | Who::Node(_));
        match &self.to.who {
            Who::Workload(e) if from_node && self.on_one_node() => {
                Some(fixed(e.id.to_string(), "host to its own pod", true))
            }
            Who::Workload(e) => {
                let flow = self.flow(http_at(e));
                Some(self.workload(e, Direction::Ingress, &flow))
            }
            Who::Host(h) if from_pod && self.on_one_node() => {
                Some(self.own_host(format!("hostendpoint:{}", h.name), &h.node))
            }
            Who::Host(h) => {
                let planes = [Plane::Untracked, Plane::PreDnat, Plane::Normal];
                Some(self.host(h, Direction::Ingress, &planes))
            }
            Who::Node(node) if from_pod && self.on_one_node() => {
                Some(self.own_host(format!("node:{node}"), node))
            }
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
        gates.map(|gate| gate.leg(self.cluster, &flow)).collect()
    }

    fn application(&self) -> Option<Leg> {
        let endpoint = self.to.workload()?;
        if !self.query.asks_application() {
            return None;
        }
        let identity = self.query.from_identity.as_deref().unwrap_or_default();
        let http = self.query.http.as_ref().map(|(method, path)| HttpRequest::new(method, path));
        let request = Request::new(
            self.cluster,
            self.trust,
            (self.source, Principal::parse(identity)),
            (self.destination, Principal::Plaintext),
            self.query.protocol,
            http,
        );
        let decider = self.engine.at_workload(endpoint, Direction::Ingress);
        Some(leg(endpoint, &decider.request(&request), &request, Direction::Ingress))
    }

    fn workload(&self, endpoint: &Endpoint, direction: Direction, flow: &Flow<'_>) -> Leg {
        let decider = self.engine.at_workload(endpoint, direction);
        leg(endpoint, &decider.flow(flow), flow, direction)
    }

    fn host(&self, host: &HostEndpoint, direction: Direction, planes: &[Plane]) -> Leg {
        let flow = self.flow(HttpAtNetwork::Unenforced);
        Gate::new(self.engine, host, direction, planes).leg(self.cluster, &flow)
    }

    /// From a pod to its own host.
    fn own_host(&self, name: String, node: &SmolStr) -> Leg {
        let action = self.cluster.settings(node).endpoint_to_host;
        fixed(name, "defaultEndpointToHostAction", action != EndpointToHost::Drop)
    }
}

fn leg(endpoint: &Endpoint, verdict: &Verdict<'_>, facts: &dyn Facts, direction: Direction) -> Leg {
    Leg {
        endpoint: endpoint.id.to_string(),
        verdict: verdict.allowed.into(),
        trace: verdict.trace.iter().map(TraceEntry::from).collect(),
        reason: verdict.reason(facts, direction),
    }
}

/// What nothing but a setting or a fixed rule decides.
fn fixed(endpoint: String, name: &'static str, allowed: bool) -> Leg {
    let step = Step::Fixed { name, allowed };
    let reason = format!("{} by {name}, before policy", if allowed { "allowed" } else { "denied" });
    Leg { endpoint, verdict: allowed.into(), trace: vec![TraceEntry::from(&step)], reason }
}
