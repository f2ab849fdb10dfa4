//! The places that decide about a piece of traffic, each with what it knows.

use std::net::IpAddr;

use tortie_policy::{
    Address, Applicable, Cluster, Direction, EndpointId, Facts, Flow, HttpAtNetwork, HttpRequest,
    Principal, Protocol, Request, Trust, evaluate,
};

use super::{Certificate, Pod, Traffic, World};

/// One place that decides.
pub struct Leg<'c> {
    /// Which one.
    pub place: Place,
    /// The pod it guards.
    pub pod: &'c Pod,
    /// The policies that are asked.
    pub applicable: Applicable,
    /// What is known.
    pub facts: Box<dyn Facts + 'c>,
}

/// Which place decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The sender's network.
    Egress,
    /// The receiver's network.
    Ingress,
    /// The receiver's sidecar.
    Application,
}

impl Leg<'_> {
    /// Whether the traffic may pass.
    pub fn allowed(&self) -> bool {
        evaluate(&self.applicable, &*self.facts).allowed
    }
}

impl World {
    /// The places that decide about a piece of traffic: none between strangers, or if the ends have
    /// no address family in common.
    pub fn legs<'c>(&'c self, cluster: &'c Cluster, traffic: &'c Traffic) -> Vec<Leg<'c>> {
        let Some((from, to)) = self.ends(traffic) else { return Vec::new() };
        let facts = |place| self.facts(cluster, traffic, place, (from, to));
        let leg = |place, pod: &'c Pod| {
            let id = EndpointId { namespace: pod.namespace.into(), name: pod.name.as_str().into() };
            let direction = match place {
                Place::Egress => Direction::Egress,
                Place::Ingress | Place::Application => Direction::Ingress,
            };
            let applicable = cluster.applicable(cluster.endpoint(&id)?, direction);
            Some(Leg { place, pod, applicable, facts: facts(place) })
        };
        let sender = self.pod(traffic.from).and_then(|pod| leg(Place::Egress, pod));
        let receiver = self.pod(traffic.to);
        let ingress = receiver.and_then(|pod| leg(Place::Ingress, pod));
        let application = receiver.and_then(|pod| leg(Place::Application, pod));
        [sender, ingress, application].into_iter().flatten().collect()
    }

    fn facts<'c>(
        &'c self,
        cluster: &'c Cluster,
        traffic: &'c Traffic,
        place: Place,
        (from, to): (IpAddr, IpAddr),
    ) -> Box<dyn Facts + 'c> {
        let source = Address::new(from, traffic.source_port);
        let destination = Address::new(to, traffic.port);
        let protocol = Protocol::parse(&traffic.protocol.to_string()).unwrap_or(Protocol::TCP);
        let sidecar = self.pod(traffic.to).is_some_and(|pod| self.has_sidecar(pod));
        let http = match place {
            Place::Application => {
                let principal = (source, self.principal(traffic));
                let http = traffic.http.map(|(method, path)| HttpRequest::new(method, path));
                let own = (destination, Principal::Plaintext);
                let trust = Trust::default();
                return Box::new(Request::new(cluster, &trust, principal, own, protocol, http));
            }
            Place::Ingress if sidecar => HttpAtNetwork::Deferred,
            Place::Ingress | Place::Egress => HttpAtNetwork::Unenforced,
        };
        Box::new(Flow { cluster, source, destination, protocol, icmp: None, http })
    }

    fn has_sidecar(&self, pod: &Pod) -> bool {
        let asked = self.namespaces.iter().any(|n| n.name == pod.namespace && n.sidecars);
        asked && !pod.no_sidecar
    }

    /// What the sender's certificate says.
    fn principal(&self, traffic: &Traffic) -> Principal {
        let own = self.pod(traffic.from).map(|pod| (pod.namespace, pod.account()));
        let (domain, account) = match traffic.certificate {
            Certificate::None => return Principal::Plaintext,
            Certificate::Foreign => return Principal::Foreign,
            Certificate::Own => ("cluster.local", own),
            Certificate::Of(namespace, account) => ("cluster.local", Some((namespace, account))),
            Certificate::Untrusted => ("elsewhere.example", own.or(Some(("one", "robot")))),
        };
        let Some((namespace, account)) = account else { return Principal::Plaintext };
        Principal::parse(&format!("spiffe://{domain}/ns/{namespace}/sa/{account}"))
    }
}
