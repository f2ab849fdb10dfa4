//! What is asked of traffic at one place in one direction: tiers and profiles, each with an index
//! over all rules of its policies.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::{
    Action, Criterion, Direction, Order, Policy, PolicyId, Step, Tier, Tri, Verdict,
};

use super::decision::{Code, Decision};
use super::group::{Group, Source};
use super::rule::Compiled;
use super::seen::Seen;
use super::sets::Sets;
use crate::EndpointTier;

/// What a program is made from. Endpoints that have these in common share the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) tiers: Arc<[EndpointTier]>,
    pub(super) profiles: Arc<[SmolStr]>,
    pub(super) direction: Direction,
    /// Whether traffic goes on where no tier decides, and no profile is asked.
    pub(super) goes_on: bool,
}

/// By names alone, which tell nearly all plans apart.
impl Hash for Plan {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for tier in self.tiers.iter() {
            (&tier.name, tier.policies(self.direction)).hash(state);
        }
        (&self.profiles, self.direction, self.goes_on).hash(state);
    }
}

/// The rules of tiers and profiles, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) plan: Plan,
    groups: Box<[Group]>,
}

impl Program {
    /// Puts a program together of compiled policies and profiles, by name. Staged policies are left
    /// out, and so are profiles that are not there.
    pub(super) fn new(
        plan: Plan,
        policy: impl Fn(&PolicyId) -> Option<Arc<Compiled>>,
        profile: impl Fn(&SmolStr) -> Option<Arc<Compiled>>,
        sets: &Sets,
    ) -> Program {
        let mut groups = Vec::new();
        for tier in plan.tiers.iter() {
            let ids = tier.policies(plan.direction).iter();
            let sources = ids.filter_map(|id| match policy(id) {
                None if id.kind.is_staged() => None,
                None => Some(Source::Missing(id.clone())),
                Some(compiled) if compiled.is_staged() => None,
                Some(compiled) => Some(Source::Rules(compiled)),
            });
            let sources: Vec<Source> = sources.collect();
            if !sources.is_empty() {
                groups.push(Group::new(Some(as_tier(tier)), sources, plan.direction, sets));
            }
        }
        let profiles = plan.profiles.iter().filter(|_| !plan.goes_on);
        for compiled in profiles.filter_map(profile) {
            groups.push(Group::new(None, vec![Source::Rules(compiled)], plan.direction, sets));
        }
        Program { plan, groups: groups.into() }
    }

    /// Whether the policies and profiles are still those the program was made of.
    pub(super) fn is_current(
        &self,
        policy: impl Fn(&PolicyId) -> Option<Arc<Compiled>>,
        profile: impl Fn(&SmolStr) -> Option<Arc<Compiled>>,
    ) -> bool {
        let mut ours = self.groups.iter().flat_map(|group| group.sources.iter());
        let ids = self.plan.tiers.iter().flat_map(|tier| tier.policies(self.plan.direction));
        let policies = ids.filter_map(|id| match policy(id) {
            None if id.kind.is_staged() => None,
            Some(compiled) if compiled.is_staged() => None,
            found => Some(found),
        });
        let profiles = self.plan.profiles.iter().filter(|_| !self.plan.goes_on);
        let wanted = policies.chain(profiles.filter_map(profile).map(Some));
        let same = |ours: &Source, wanted: &Option<Arc<Compiled>>| match (ours, wanted) {
            (Source::Rules(ours), Some(wanted)) => Arc::ptr_eq(ours, wanted),
            (Source::Missing(_), None) => true,
            _ => false,
        };
        wanted.into_iter().all(|wanted| ours.next().is_some_and(|ours| same(ours, &wanted)))
            && ours.next().is_none()
    }

    /// Whether no policy applies.
    pub(super) fn is_open(&self) -> bool {
        self.groups.iter().all(|group| group.tier.is_none())
    }

    /// How many rules it has.
    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(|group| group.len as usize).sum()
    }

    /// What decides.
    pub(super) fn decide(&self, seen: &Seen<'_>) -> Decision<'_> {
        let mut decision = self.first_decision(seen);
        let denied = decision.code == Code::PermissionDenied;
        if denied && seen.traffic.has_invalid_path() && self.rests_on_path(seen) {
            decision.code = Code::InvalidArgument;
        }
        decision
    }

    fn first_decision(&self, seen: &Seen<'_>) -> Decision<'_> {
        for group in &self.groups {
            let decided = match group.hit(self.plan.direction, seen) {
                Some(hit) => group.effect_of(&hit, seen),
                None => group.default_step().map(|step| Decision::new(false, step)),
            };
            if let Some(decision) = decided {
                return decision;
            }
        }
        match self.plan.goes_on {
            true => Decision::new(true, Step::Continue),
            false => Decision::new(false, Step::NoProfile),
        }
    }

    /// Whether an Allow rule that was asked would have matched if its path criterion could be
    /// answered.
    fn rests_on_path(&self, seen: &Seen<'_>) -> bool {
        let direction = self.plan.direction;
        for group in self.groups.iter().filter(|group| group.tier.is_some()) {
            let hit = group.hit_position(direction, seen);
            let before = hit.map_or(group.len, |at| group.start_of_source(at));
            let lacks_path = |at| {
                group.rule(direction, at).is_some_and(|(_, _, rule)| rule.lacks_only_path(seen))
            };
            if group.index.first(seen, before, lacks_path).is_some() {
                return true;
            }
            let decided = match hit.and_then(|at| group.judge(direction, at, seen)) {
                Some(hit) => group.effect_of(&hit, seen).is_some(),
                None => group.default_step().is_some(),
            };
            if decided {
                return false;
            }
        }
        false
    }

    /// The whole way to the decision, without the index. A policy that is not there ends it.
    pub(super) fn walk(&self, seen: &Seen<'_>) -> Verdict<'_> {
        let mut trace = Vec::new();
        for group in &self.groups {
            let decision = match group.walk(self.plan.direction, seen, &mut trace) {
                Some(action) => Some(action).filter(|action| *action != Action::Pass),
                None => {
                    trace.extend(group.tier_default());
                    group.default_step().map(|_| Action::Deny)
                }
            };
            if let Some(action) = decision {
                return Verdict { allowed: action == Action::Allow, trace };
            }
        }
        trace.push(if self.plan.goes_on { Step::Continue } else { Step::NoProfile });
        Verdict { allowed: self.plan.goes_on, trace }
    }

    /// Whether one group of criteria of a policy's rule holds, by the name of the policy.
    pub(super) fn holds(
        &self,
        policy: &Policy,
        index: usize,
        criterion: Criterion,
        seen: &Seen<'_>,
    ) -> Tri {
        let sources = self.groups.iter().flat_map(|group| group.sources.iter());
        let compiled = sources.filter_map(|source| match source {
            Source::Rules(compiled) => Some(compiled),
            Source::Missing(_) => None,
        });
        let mut own = compiled.filter(|c| c.policy().is_some_and(|p| p.id == policy.id));
        let rule = own.next().and_then(|c| c.rule(self.plan.direction, index));
        rule.map_or(Tri::Unknown, |rule| rule.holds(criterion, seen))
    }
}

/// A tier as policy knows it; its place is that among the endpoint's tiers.
fn as_tier(tier: &EndpointTier) -> Tier {
    Tier {
        name: tier.name.clone(),
        order: Order::LAST,
        default_action: tier.default_action,
        defined: true,
    }
}
