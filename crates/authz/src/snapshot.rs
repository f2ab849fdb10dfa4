//! What one decision rests on: a cluster and the policy of the guarded workload, immutable.

use std::sync::Arc;

use tortie_policy::{Applicable, Cluster, Direction, EndpointId};

/// The state at one moment. Readers hold it for the length of a decision; a reload replaces it.
#[derive(Debug)]
pub struct Snapshot {
    /// Who is who.
    pub cluster: Cluster,
    /// The guarded workload.
    pub endpoint: EndpointId,
    /// The policies that apply to what reaches the workload; none if the cluster does not know it.
    pub applicable: Option<Applicable>,
}

impl Snapshot {
    /// Works out what applies to the workload.
    #[must_use]
    pub fn new(cluster: Cluster, endpoint: EndpointId) -> Self {
        let found = cluster.endpoint(&endpoint).map(Arc::clone);
        let applicable = found.map(|e| cluster.applicable(&e, Direction::Ingress));
        Self { cluster, endpoint, applicable }
    }

    /// Why nothing can be decided, if so.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match self.applicable {
            Some(_) => None,
            None => Some(format!("no workload `{}` is known", self.endpoint)),
        }
    }
}
