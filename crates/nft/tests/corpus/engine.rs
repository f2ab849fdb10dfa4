//! An engine that asks the rendered ruleset, and lets nothing pass on which it and the reference
//! evaluator disagree.
//!
//! The kernel knows everything of a packet. So where a question leaves something open, all is asked
//! that it may be about.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use smol_str::SmolStr;
use tortie_calc::{LocalEndpoint, LocalHost, Update, interface_name, updates};
use tortie_nft::interpret::{Leg, Packet, ask};
use tortie_nft::render::{Interfaces, Options, Renderer};
use tortie_nft::{ConnectionState, Delta, Origin, Subject, Verdict as Kernel};
use tortie_policy::{
    Action, Applicable, BeforePolicy, Cluster, Decider, DefaultAction, Direction, Endpoint, Engine,
    Flow, HostEndpoint, HttpAtNetwork, Interface, Plane, Protocol, Request, Step, Verdict,
    evaluate,
};

/// An interface that is no workload's.
pub(crate) const OUTSIDE: &str = "uplink0";

/// Which ruleset is asked: that of a node, and of a single one of its host endpoints.
type Key = (Option<SmolStr>, Option<SmolStr>);

/// The rulesets of a cluster's nodes.
pub(crate) struct Rendered<'c> {
    cluster: &'c Cluster,
    nodes: Vec<SmolStr>,
    renderers: Mutex<BTreeMap<Key, Arc<Renderer>>>,
    asked: AtomicUsize,
}

impl<'c> Rendered<'c> {
    pub(crate) fn new(cluster: &'c Cluster, nodes: Vec<SmolStr>) -> Rendered<'c> {
        let renderers = Mutex::default();
        Rendered { cluster, nodes, renderers, asked: AtomicUsize::new(0) }
    }

    /// How many packets were asked about.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn renderer(&self, node: Option<&SmolStr>, host: Option<&HostEndpoint>) -> Arc<Renderer> {
        let key = (node.cloned(), host.map(|host| host.name.clone()));
        let mut renderers = self.renderers.lock().unwrap();
        Arc::clone(renderers.entry(key).or_insert_with(|| Arc::new(self.render(node, host))))
    }

    fn render(&self, node: Option<&SmolStr>, host: Option<&HostEndpoint>) -> Renderer {
        let mut renderer = Renderer::new(Options::default());
        let mut delta = Delta::default();
        renderer.interfaces(self.interfaces(host), &mut delta);
        let updates = updates(self.cluster, node.map(SmolStr::as_str));
        let updates = updates.into_iter().filter_map(|update| wired(update, host));
        renderer.update(&updates.collect::<Vec<_>>(), &mut delta);
        renderer
    }

    fn interfaces(&self, host: Option<&HostEndpoint>) -> Interfaces {
        let nodes = self.nodes.iter().flat_map(|node| self.cluster.node(node)).copied().collect();
        let own = host.map(|host| (interface(host), host.addresses.iter().copied().collect()));
        Interfaces { hosts: own.into_iter().collect(), nodes, ..Interfaces::default() }
    }
}

/// The interface a host endpoint is asked on.
fn interface(host: &HostEndpoint) -> SmolStr {
    match &host.interface {
        Interface::Named(name) => name.clone(),
        Interface::All | Interface::ByAddress => OUTSIDE.into(),
    }
}

/// An update as an agent would have it: workloads with interfaces, and of host endpoints one.
fn wired(update: Update, only: Option<&HostEndpoint>) -> Option<Update> {
    match update {
        Update::Endpoint(endpoint) => {
            let interface = interface_name(&endpoint.id);
            let endpoint = LocalEndpoint { interface, ..LocalEndpoint::clone(&endpoint) };
            Some(Update::Endpoint(Arc::new(endpoint)))
        }
        Update::Host(host) => {
            let host: &LocalHost = &host;
            let wanted = only.is_some_and(|only| only.name == host.name);
            wanted.then(|| Update::Host(Arc::new(host.clone())))
        }
        update => Some(update),
    }
}

impl Engine for Rendered<'_> {
    fn at_workload<'a>(
        &'a self,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Box<dyn Decider + 'a> {
        let own = interface_name(&endpoint.id);
        let (chain, from, to) = match direction {
            Direction::Egress => ("forward-from", own, OUTSIDE.into()),
            Direction::Ingress => ("forward-to", OUTSIDE.into(), own),
        };
        let deferred = endpoint.application_enforced && direction == Direction::Ingress;
        Box::new(Place {
            engine: self,
            renderer: self.renderer(endpoint.node.as_ref(), None),
            applicable: self.cluster.applicable(endpoint, direction),
            before: self.cluster.before_workload_policy(endpoint, direction, false),
            http: if deferred { HttpAtNetwork::Deferred } else { HttpAtNetwork::Unenforced },
            base: Some((chain, Some(from), Some(to))),
            mirrored: Vec::new(),
        })
    }

    fn at_host<'a>(
        &'a self,
        host: &HostEndpoint,
        direction: Direction,
        plane: Plane,
    ) -> Box<dyn Decider + 'a> {
        let own = Some(interface(host));
        let pod = Some(SmolStr::new_static("cali0"));
        let base = match (plane, direction) {
            (Plane::Untracked, Direction::Ingress) => Some(("raw-prerouting", own, None)),
            (Plane::Untracked, Direction::Egress) => Some(("raw-output", None, own)),
            (Plane::PreDnat, Direction::Ingress) => Some(("mangle-prerouting", own, None)),
            (Plane::PreDnat, Direction::Egress) => None,
            (Plane::Forward, Direction::Ingress) => Some(("forward-from", own, pod)),
            (Plane::Forward, Direction::Egress) => Some(("forward-to", pod, own)),
            (Plane::Normal, Direction::Ingress) => Some(("input-host", own, None)),
            (Plane::Normal, Direction::Egress) => Some(("output", None, own)),
        };
        let applicable = self.cluster.applicable_to_host(host, direction, plane);
        // Nothing is rendered where nothing is asked.
        let asked = plane == Plane::Normal || !applicable.tiers.is_empty();
        let forward = plane == Plane::Forward;
        let settings = self.cluster.settings(&host.node);
        let mirrored = match (plane, direction) {
            (Plane::Untracked, Direction::Ingress) => settings.failsafe_outbound,
            (Plane::Untracked, Direction::Egress) => settings.failsafe_inbound,
            _ => Vec::new(),
        };
        Box::new(Place {
            engine: self,
            renderer: self.renderer(Some(&host.node), Some(host)),
            applicable,
            before: match asked && !forward {
                true => self.cluster.before_host_policy(host, direction),
                false => Vec::new(),
            },
            http: HttpAtNetwork::Unenforced,
            base,
            mirrored,
        })
    }
}

/// A place where the ruleset is asked.
struct Place<'a> {
    engine: &'a Rendered<'a>,
    renderer: Arc<Renderer>,
    applicable: Applicable,
    before: Vec<BeforePolicy>,
    http: HttpAtNetwork,
    /// The base chain, and the interfaces from and to.
    base: Option<(&'static str, Option<SmolStr>, Option<SmolStr>)>,
    /// Failsafe ports whose answers pass where nobody knows yet which packets are answers.
    mirrored: Vec<tortie_policy::Failsafe>,
}

impl Decider for Place<'_> {
    fn is_open(&self) -> bool {
        self.applicable.tiers.is_empty()
    }

    fn flow(&self, flow: &Flow<'_>) -> Verdict<'_> {
        for known in completed(flow, self.http) {
            if let Err(difference) = self.compare(&known) {
                panic!("{difference}\n{:#?}\n{:#?}", self.base, self.renderer.ruleset());
            }
        }
        evaluate(&self.applicable, flow)
    }

    fn request(&self, request: &Request<'_>) -> Verdict<'_> {
        evaluate(&self.applicable, request)
    }
}

/// The flows of which everything is known that a flow may be.
fn completed<'f>(flow: &Flow<'f>, http: HttpAtNetwork) -> Vec<Flow<'f>> {
    let has_ports = [6, 17, 33, 132, 136].contains(&flow.protocol.number());
    let is_icmp = [Protocol::ICMP, Protocol::ICMPV6].contains(&flow.protocol);
    let ports = |port: Option<u16>, choice: &[u16]| match (has_ports, port) {
        // A packet without ports has none that a rule can mean.
        (false, _) => vec![0],
        (true, Some(port)) => vec![port],
        (true, None) => choice.to_vec(),
    };
    let sources = ports(flow.source.port, &[40000, 80]);
    let destinations = ports(flow.destination.port, &[80, 53, 8080, 1]);
    let kinds = match (is_icmp, flow.icmp) {
        (false, _) => vec![None],
        (true, Some((kind, Some(code)))) => vec![Some((kind, Some(code)))],
        (true, Some((kind, None))) => vec![Some((kind, Some(0))), Some((kind, Some(4)))],
        (true, None) => [(8, 0), (3, 4), (135, 0)].map(|(k, c)| Some((k, Some(c)))).to_vec(),
    };
    let mut flows = Vec::new();
    for source in &sources {
        for destination in &destinations {
            for icmp in &kinds {
                let mut known = Flow { icmp: *icmp, http, ..flow.clone() };
                known.source.port = Some(*source);
                known.destination.port = Some(*destination);
                flows.push(known);
            }
        }
    }
    flows
}

/// What must come of a flow: whether it passes, and what decides.
type Expected = (bool, Option<Origin>);

impl Place<'_> {
    fn compare(&self, flow: &Flow<'_>) -> Result<(), String> {
        let Some((chain, from, to)) = &self.base else { return Ok(()) };
        let (Some(source), Some(destination)) = (flow.source.ip, flow.destination.ip) else {
            return Ok(());
        };
        let (source, destination) = (source.to_canonical(), destination.to_canonical());
        if source.is_ipv4() != destination.is_ipv4() || self.is_answer(flow) {
            return Ok(());
        }
        let has_ports = [6, 17, 33, 132, 136].contains(&flow.protocol.number());
        let packet = Packet {
            from: from.clone(),
            to: to.clone(),
            source,
            destination,
            protocol: flow.protocol.number(),
            ports: has_ports
                .then_some((flow.source.port, flow.destination.port))
                .map(|(s, d)| (s.unwrap_or_default(), d.unwrap_or_default())),
            icmp: flow.icmp.map(|(kind, code)| (kind, code.unwrap_or_default())),
            state: ConnectionState::New,
            mark: 0,
            routed_back: true,
        };
        let leg = ask(self.renderer.ruleset(), chain, &packet).map_err(|e| e.to_string())?;
        self.engine.asked.fetch_add(1, Ordering::Relaxed);
        let verdict = evaluate(&self.applicable, flow);
        let (allowed, origin) = self.expected(flow, &verdict);
        let found = (leg.verdict == Kernel::Accept, leg.origin.clone());
        let passed = self.passed(flow, &verdict);
        match found == (allowed, origin.clone()) && passed == of_policies(&leg) {
            true => Ok(()),
            false => Err(format!(
                "{chain} says {leg:#?}\nof {packet:?}\nbut it must be {allowed} by {origin:?} \
                 after {passed:#?}"
            )),
        }
    }

    /// Whether a packet passes as the answer of an open port, which the reference leaves out.
    fn is_answer(&self, flow: &Flow<'_>) -> bool {
        let is = |f: &tortie_policy::Failsafe| {
            f.protocol == flow.protocol && Some(f.port) == flow.source.port
        };
        self.mirrored.iter().any(is)
    }

    fn expected(&self, flow: &Flow<'_>, verdict: &Verdict<'_>) -> Expected {
        let direction = self.applicable.direction;
        let origin = |subject, rule| Some(Origin { subject, direction, rule });
        if let Some(before) = self.decided_before(flow) {
            return (before.allows(), origin(Subject::Fixed(before.name().into()), None));
        }
        let decided = match verdict.trace.last().unwrap() {
            Step::Rule { policy, rule, .. } => {
                origin(Subject::Policy(policy.id.clone()), Some(rule.origin))
            }
            Step::TierDefault { tier, .. } => origin(Subject::Tier(tier.name.clone()), None),
            Step::Profile { profile, index, .. } => {
                // A profile that is not there is a denial without a rule.
                let rule = profile.rules(direction).get(*index).map(|rule| rule.origin);
                origin(Subject::Profile(profile.name.clone()), rule)
            }
            Step::NoProfile => origin(Subject::NoProfile, None),
            Step::Continue => None,
            other => panic!("{other:?} decides about policy"),
        };
        (verdict.allowed, decided)
    }

    fn decided_before(&self, flow: &Flow<'_>) -> Option<BeforePolicy> {
        let direction = self.applicable.direction;
        self.before.iter().copied().find(|before| before.decides(direction, flow))
    }

    /// The rules of policies that must have logged or passed a flow on.
    fn passed(&self, flow: &Flow<'_>, verdict: &Verdict<'_>) -> Vec<Origin> {
        if self.decided_before(flow).is_some() {
            return Vec::new();
        }
        let direction = self.applicable.direction;
        let mut passed: Vec<Origin> = Vec::new();
        for step in &verdict.trace {
            if let Step::Rule { policy, rule, action: Action::Log | Action::Pass, .. } = step {
                let subject = Subject::Policy(policy.id.clone());
                passed.push(Origin { subject, direction, rule: Some(rule.origin) });
            }
            debug_assert!(!matches!(
                step,
                Step::TierDefault { action: DefaultAction::Deny, .. } if verdict.allowed
            ));
        }
        passed.dedup();
        passed
    }
}

/// The rules of policies that logged a packet or passed it on; each once.
fn of_policies(leg: &Leg) -> Vec<Origin> {
    let of_policy = |origin: &&Origin| matches!(origin.subject, Subject::Policy(_));
    let mut passed: Vec<Origin> = leg.passed.iter().filter(of_policy).cloned().collect();
    passed.dedup();
    passed
}
