//! The reference evaluator's view of one packet, of which nothing is left open.

use tortie_policy::{
    Address, Applicable, Cluster, Decider, Direction, Endpoint, Engine, Flow, HostEndpoint, Plane,
    Request, Verdict, evaluate,
};

/// The reference evaluator, told the source port, too: questions leave it open, packets do not.
#[derive(Debug, Clone, Copy)]
pub struct Exact<'c> {
    /// Who is who.
    pub cluster: &'c Cluster,
    /// The port the packet comes from.
    pub source_port: u16,
}

struct Told {
    applicable: Applicable,
    source_port: u16,
}

impl Exact<'_> {
    fn told<'a>(&self, applicable: Applicable) -> Box<dyn Decider + 'a> {
        Box::new(Told { applicable, source_port: self.source_port })
    }
}

impl Engine for Exact<'_> {
    fn at_workload<'a>(
        &'a self,
        endpoint: &Endpoint,
        direction: Direction,
    ) -> Box<dyn Decider + 'a> {
        self.told(self.cluster.applicable(endpoint, direction))
    }

    fn at_host<'a>(
        &'a self,
        host: &HostEndpoint,
        direction: Direction,
        plane: Plane,
    ) -> Box<dyn Decider + 'a> {
        self.told(self.cluster.applicable_to_host(host, direction, plane))
    }
}

impl Decider for Told {
    fn is_open(&self) -> bool {
        self.applicable.tiers.is_empty()
    }

    fn flow(&self, flow: &Flow<'_>) -> Verdict<'_> {
        let source = Address { port: Some(self.source_port), ..flow.source };
        evaluate(&self.applicable, &Flow { source, ..flow.clone() })
    }

    fn request(&self, request: &Request<'_>) -> Verdict<'_> {
        evaluate(&self.applicable, request)
    }
}
