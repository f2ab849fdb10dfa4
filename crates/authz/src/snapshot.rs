//! What one decision rests on: a cluster and the policy of the guarded workload, immutable.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, OnceLock};

use prost::bytes::Bytes;
use tortie_policy::{Action, Applicable, Cluster, Direction, EndpointId, Rule};

/// The state at one moment. Readers hold it for the length of a decision; a reload replaces it.
#[derive(Debug)]
pub struct Snapshot {
    /// Who is who.
    pub cluster: Cluster,
    /// The guarded workload.
    pub endpoint: EndpointId,
    /// The policies that apply to what reaches the workload; none if the cluster does not know it.
    pub applicable: Option<Applicable>,
    /// The metadata of what each Allow rule allows, made for the first request and the same for
    /// all others: an allowed request says which rule allowed it, and nothing of itself.
    allowed: HashMap<usize, OnceLock<Bytes>>,
}

/// An Allow rule of a snapshot's policies.
#[derive(Debug, Clone, Copy)]
pub struct AllowRule<'a>(pub(crate) &'a Rule);

impl AllowRule<'_> {
    /// Where the rule is, which is who it is for as long as its snapshot lives.
    fn key(self) -> usize {
        ptr::from_ref(self.0).addr()
    }
}

impl Snapshot {
    /// Works out what applies to the workload.
    #[must_use]
    pub fn new(cluster: Cluster, endpoint: EndpointId) -> Self {
        let found = cluster.endpoint(&endpoint).map(Arc::clone);
        let applicable = found.map(|e| cluster.applicable(&e, Direction::Ingress));
        let allowed = applicable.iter().flat_map(allow_rules).map(|r| (r.key(), OnceLock::new()));
        Self { allowed: allowed.collect(), cluster, endpoint, applicable }
    }

    /// Why nothing can be decided, if so.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match self.applicable {
            Some(_) => None,
            None => Some(format!("no workload `{}` is known", self.endpoint)),
        }
    }

    /// The metadata of what a rule of this snapshot allows.
    pub(crate) fn metadata(&self, rule: AllowRule<'_>, make: impl FnOnce() -> Bytes) -> Bytes {
        match self.allowed.get(&rule.key()) {
            Some(made) => made.get_or_init(make).clone(),
            None => make(),
        }
    }
}

fn allow_rules(applicable: &Applicable) -> impl Iterator<Item = AllowRule<'_>> {
    let direction = applicable.direction;
    let policies = applicable.tiers.iter().flat_map(|tier| &tier.policies);
    let of_policies = policies.flat_map(move |policy| policy.rules(direction));
    let of_profiles =
        applicable.profiles().iter().flat_map(move |profile| profile.rules(direction));
    of_policies.chain(of_profiles).filter(|rule| rule.action == Action::Allow).map(AllowRule)
}
