//! Things that give verdicts: the reference evaluator, and everything measured by it.

use anyhow::anyhow;
use tortie_model::Resource;
use tortie_policy::{Cluster, Compat, Explanation, Query, Trust, Word, explain};

/// A thing that takes resources and gives verdicts.
pub trait Engine {
    /// What to call it in a failure.
    fn name(&self) -> &'static str;

    /// Takes in the resources of one scenario.
    ///
    /// # Errors
    /// If the engine refuses them.
    fn open(&self, resources: &[Resource], trust: &Trust) -> anyhow::Result<Box<dyn Session>>;

    /// The same, read in another way than strictly and all or nothing; nothing if the engine knows
    /// no other.
    ///
    /// # Errors
    /// If the engine refuses the resources.
    fn open_as(
        &self,
        resources: &[Resource],
        trust: &Trust,
        reading: Reading,
    ) -> anyhow::Result<Option<Box<dyn Session>>> {
        match reading == Reading::default() {
            true => self.open(resources, trust).map(Some),
            false => Ok(None),
        }
    }
}

/// How resources are read; by default strictly, all or nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// The points in which Calico's behaviour is chosen, besides those of the resources.
    pub compat: Compat,
    /// Whether what cannot be enforced as written is mended, not refused.
    pub mended: bool,
}

impl Reading {
    /// The cluster of resources read in this way.
    pub(crate) fn cluster(self, resources: &[Resource]) -> anyhow::Result<Cluster> {
        match self.mended {
            true => Ok(Cluster::build_mended(resources, self.compat)),
            false => Cluster::build_with(resources, self.compat)
                .map_err(|invalid| anyhow!("{invalid:#?}")),
        }
    }
}

/// An engine that has taken in resources.
pub trait Session {
    /// Answers a question about one flow, as policy is enforced or, with `staged`, as it would be
    /// if staged policies were enforced.
    ///
    /// # Errors
    /// If the question makes no sense for these resources.
    fn ask(&self, query: &Query, staged: bool) -> anyhow::Result<Answer>;
}

/// What an engine says of a flow.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The verdict of every leg, with the rules that decided.
    Explained(Box<Explanation>),
    /// The verdict alone.
    Verdict(Word),
    /// The engine does not judge such flows: HTTP requests in the kernel, say.
    OutOfScope,
}

/// The reference evaluator of `tortie-policy`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

struct ReferenceSession {
    enforced: Cluster,
    pending: Cluster,
    trust: Trust,
}

impl Engine for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn open(&self, resources: &[Resource], trust: &Trust) -> anyhow::Result<Box<dyn Session>> {
        let session = self.open_as(resources, trust, Reading::default())?;
        session.ok_or_else(|| anyhow!("the reference can read in every way"))
    }

    fn open_as(
        &self,
        resources: &[Resource],
        trust: &Trust,
        reading: Reading,
    ) -> anyhow::Result<Option<Box<dyn Session>>> {
        let enforced = reading.cluster(resources)?;
        let pending = enforced.pending();
        Ok(Some(Box::new(ReferenceSession { enforced, pending, trust: trust.clone() })))
    }
}

impl Session for ReferenceSession {
    fn ask(&self, query: &Query, staged: bool) -> anyhow::Result<Answer> {
        let cluster = if staged { &self.pending } else { &self.enforced };
        Ok(Answer::Explained(Box::new(explain(cluster, &self.trust, query)?)))
    }
}
