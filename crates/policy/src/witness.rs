//! Who answers for the criteria of rules where a verdict is put into words.

use crate::{Criterion, Direction, Facts, Policy, Side, Tri, holds};

/// Traffic that was asked about in one direction, as the engine that gave the verdict knows it.
pub trait Witness {
    /// The direction in which policies were asked.
    fn direction(&self) -> Direction;
    /// Whether one group of criteria of a policy's rule holds.
    fn holds(&self, policy: &Policy, index: usize, criterion: Criterion) -> Tri;
    /// A side in words; what makes its identity doubtful included.
    fn describe(&self, side: Side) -> String;
    /// Port, method or path of the traffic in words.
    fn describe_traffic(&self) -> String;
}

/// Facts answer for the rules of a policy as they are.
pub(crate) struct ByFacts<'f> {
    pub(crate) facts: &'f dyn Facts,
    pub(crate) direction: Direction,
}

impl Witness for ByFacts<'_> {
    fn direction(&self) -> Direction {
        self.direction
    }

    fn holds(&self, policy: &Policy, index: usize, criterion: Criterion) -> Tri {
        let rule = policy.rules(self.direction).get(index);
        rule.map_or(Tri::Unknown, |rule| holds(rule, criterion, self.facts))
    }

    fn describe(&self, side: Side) -> String {
        self.facts.describe(side)
    }

    fn describe_traffic(&self) -> String {
        self.facts.describe_traffic()
    }
}
