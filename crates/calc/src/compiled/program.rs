//! What is asked of traffic at one place in one direction: tiers and profiles, each with an index
//! over all rules of its policies.

use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::{
    Action, CompatPoint, Criterion, DefaultAction, Direction, Order, Policy, PolicyId, Profile,
    Rule, Step, Tier, Tri, Verdict, effect,
};

use super::decision::{Code, Decision, NOT_THERE};
use super::index::Index;
use super::rule::{Compiled, CompiledRule, Origin};
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

/// The rules of tiers and profiles, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) plan: Plan,
    groups: Box<[Group]>,
}

/// Rules of which the first that matches decides.
#[derive(Debug)]
struct Group {
    /// The tier; absent for a profile.
    tier: Option<Tier>,
    sources: Box<[Source]>,
    /// Position of each source's first rule.
    starts: Box<[u32]>,
    len: u32,
    index: Index,
}

/// Where rules of a group come from.
#[derive(Debug)]
enum Source {
    Rules(Arc<Compiled>),
    /// A policy that an endpoint names, but that is not there.
    Missing(PolicyId),
}

/// What the first rule of a group that matches does.
enum Hit<'p> {
    Rule { source: &'p Compiled, rule: &'p Rule, index: usize, action: Action, certainty: Tri },
    Missing(&'p PolicyId),
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

impl Group {
    fn new(tier: Option<Tier>, sources: Vec<Source>, direction: Direction, sets: &Sets) -> Group {
        let (mut starts, mut missing, mut len) = (Vec::new(), Vec::new(), 0u32);
        for source in &sources {
            starts.push(len);
            len += match source {
                Source::Rules(compiled) => compiled.len(direction),
                Source::Missing(_) => {
                    missing.push(len);
                    1
                }
            };
        }
        let rules = sources.iter().zip(&starts).flat_map(|(source, start)| {
            let compiled = match source {
                Source::Rules(compiled) => Some(compiled.rules(direction)),
                Source::Missing(_) => None,
            };
            (*start..).zip(compiled.into_iter().flatten())
        });
        let effective = rules.filter(|(_, rule)| rule.rule.action != Action::Log);
        let index = Index::new(effective, missing, direction, sets);
        Group { tier, starts: starts.into(), len, index, sources: sources.into() }
    }

    /// The source of a position, and the position in it.
    fn source(&self, at: u32) -> Option<(&Source, usize)> {
        let index = self.starts.partition_point(|start| *start <= at).checked_sub(1)?;
        Some((self.sources.get(index)?, (at - self.starts.get(index)?) as usize))
    }

    fn start_of_source(&self, at: u32) -> u32 {
        let index = self.starts.partition_point(|start| *start <= at);
        index.checked_sub(1).and_then(|i| self.starts.get(i)).copied().unwrap_or(0)
    }

    fn rule(&self, direction: Direction, at: u32) -> Option<(&Compiled, usize, CompiledRule<'_>)> {
        match self.source(at)? {
            (Source::Rules(compiled), index) => {
                Some((compiled, index, compiled.rule(direction, index)?))
            }
            (Source::Missing(_), _) => None,
        }
    }

    /// What the rule at a position does to traffic, if anything.
    fn judge(&self, direction: Direction, at: u32, seen: &Seen<'_>) -> Option<Hit<'_>> {
        match self.source(at)? {
            (Source::Missing(id), _) => Some(Hit::Missing(id)),
            (Source::Rules(source), index) => {
                let rule = source.rule(direction, index)?;
                let certainty = rule.matches(seen);
                let action = effect(rule.rule.action, certainty)?;
                Some(Hit::Rule { source, rule: rule.rule, index, action, certainty })
            }
        }
    }

    fn hit_position(&self, direction: Direction, seen: &Seen<'_>) -> Option<u32> {
        self.index.first(seen, self.len, |at| self.judge(direction, at, seen).is_some())
    }

    fn hit(&self, direction: Direction, seen: &Seen<'_>) -> Option<Hit<'_>> {
        self.judge(direction, self.hit_position(direction, seen)?, seen)
    }

    /// The decision a hit means; none if the next group is asked.
    fn effect_of<'p>(&'p self, hit: &Hit<'p>, seen: &Seen<'_>) -> Option<Decision<'p>> {
        match hit {
            Hit::Missing(id) => Some(Decision::undecidable(id)),
            Hit::Rule { source, rule, index, action, certainty } => {
                let action = pass(*action, self.tier.is_none(), seen)?;
                let step = match &source.origin {
                    Origin::Policy(policy) => Step::Rule {
                        policy: &policy.policy,
                        rule,
                        index: *index,
                        action,
                        certainty: *certainty,
                    },
                    Origin::Profile(profile) => {
                        Step::Profile { profile: &profile.profile, index: *index, action }
                    }
                };
                Some(Decision::new(action == Action::Allow, step))
            }
        }
    }

    fn tier_default(&self) -> Option<Step<'_>> {
        self.tier.as_ref().map(|tier| Step::TierDefault { tier, action: tier.default_action })
    }

    /// The tier's default, if it decides.
    fn default_step(&self) -> Option<Step<'_>> {
        let denies = |tier: &Tier| tier.default_action == DefaultAction::Deny;
        self.tier_default().filter(|_| self.tier.as_ref().is_some_and(denies))
    }

    /// What the group's rules do, and the way to it: nothing, if none decides.
    fn walk<'p>(
        &'p self,
        direction: Direction,
        seen: &Seen<'_>,
        trace: &mut Vec<Step<'p>>,
    ) -> Option<Action> {
        for source in &self.sources {
            let compiled = match source {
                Source::Rules(compiled) => compiled,
                Source::Missing(_) => {
                    trace.push(Step::Fixed { name: NOT_THERE, allowed: false });
                    return Some(Action::Deny);
                }
            };
            let decided = match &compiled.origin {
                Origin::Policy(policy) => {
                    walk_policy(compiled, &policy.policy, direction, seen, trace)
                }
                Origin::Profile(profile) => {
                    walk_profile(compiled, &profile.profile, direction, seen, trace)
                }
            };
            if decided.is_some() {
                return decided;
            }
        }
        None
    }
}

fn walk_policy<'p>(
    compiled: &'p Compiled,
    policy: &'p Policy,
    direction: Direction,
    seen: &Seen<'_>,
    trace: &mut Vec<Step<'p>>,
) -> Option<Action> {
    for (index, rule) in compiled.rules(direction).enumerate() {
        let certainty = rule.matches(seen);
        if let Some(action) = effect(rule.rule.action, certainty) {
            trace.push(Step::Rule { policy, rule: rule.rule, index, action, certainty });
            if action != Action::Log {
                return Some(action);
            }
        }
    }
    trace.push(Step::NoMatch { policy });
    None
}

fn walk_profile<'p>(
    compiled: &'p Compiled,
    profile: &'p Profile,
    direction: Direction,
    seen: &Seen<'_>,
    trace: &mut Vec<Step<'p>>,
) -> Option<Action> {
    for (index, rule) in compiled.rules(direction).enumerate() {
        let action = effect(rule.rule.action, rule.matches(seen));
        match action.filter(|action| *action != Action::Log) {
            None => {}
            Some(action) => {
                let Some(action) = pass(action, true, seen) else { return Some(Action::Pass) };
                trace.push(Step::Profile { profile, index, action });
                return Some(action);
            }
        }
    }
    None
}

/// What an action comes to: nothing, if it is to leave the group. Where that is chosen, a Pass in a
/// profile denies.
fn pass(action: Action, in_profile: bool, seen: &Seen<'_>) -> Option<Action> {
    match action {
        Action::Pass if in_profile && seen.world.compat().has(CompatPoint::ProfilePass) => {
            Some(Action::Deny)
        }
        Action::Pass => None,
        action => Some(action),
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
