//! Rules of one tier or profile: the first of them that matches decides.

use std::sync::Arc;

use tortie_policy::{
    Action, CompatPoint, DefaultAction, Direction, Policy, PolicyId, Profile, Rule, Step, Tier,
    Tri, effect,
};

use super::decision::{Decision, NOT_THERE};
use super::index::Index;
use super::rule::{Compiled, CompiledRule, Origin};
use super::seen::Seen;
use super::sets::Sets;

/// Rules of which the first that matches decides.
#[derive(Debug)]
pub(super) struct Group {
    /// The tier; absent for a profile.
    pub(super) tier: Option<Tier>,
    pub(super) sources: Box<[Source]>,
    /// Position of each source's first rule.
    starts: Box<[u32]>,
    pub(super) len: u32,
    pub(super) index: Index,
}

/// Where rules of a group come from.
#[derive(Debug)]
pub(super) enum Source {
    Rules(Arc<Compiled>),
    /// A policy that an endpoint names, but that is not there.
    Missing(PolicyId),
}

/// What the first rule of a group that matches does.
pub(super) enum Hit<'p> {
    Rule { source: &'p Compiled, rule: &'p Rule, index: usize, action: Action, certainty: Tri },
    Missing(&'p PolicyId),
}

impl Group {
    pub(super) fn new(
        tier: Option<Tier>,
        sources: Vec<Source>,
        direction: Direction,
        sets: &Sets,
    ) -> Group {
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

    pub(super) fn start_of_source(&self, at: u32) -> u32 {
        let index = self.starts.partition_point(|start| *start <= at);
        index.checked_sub(1).and_then(|i| self.starts.get(i)).copied().unwrap_or(0)
    }

    pub(super) fn rule(
        &self,
        direction: Direction,
        at: u32,
    ) -> Option<(&Compiled, usize, CompiledRule<'_>)> {
        match self.source(at)? {
            (Source::Rules(compiled), index) => {
                Some((compiled, index, compiled.rule(direction, index)?))
            }
            (Source::Missing(_), _) => None,
        }
    }

    /// What the rule at a position does to traffic, if anything.
    pub(super) fn judge(&self, direction: Direction, at: u32, seen: &Seen<'_>) -> Option<Hit<'_>> {
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

    pub(super) fn hit_position(&self, direction: Direction, seen: &Seen<'_>) -> Option<u32> {
        self.index.first(seen, self.len, |at| self.judge(direction, at, seen).is_some())
    }

    pub(super) fn hit(&self, direction: Direction, seen: &Seen<'_>) -> Option<Hit<'_>> {
        self.judge(direction, self.hit_position(direction, seen)?, seen)
    }

    /// The decision a hit means; none if the next group is asked.
    pub(super) fn effect_of<'p>(&'p self, hit: &Hit<'p>, seen: &Seen<'_>) -> Option<Decision<'p>> {
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

    pub(super) fn tier_default(&self) -> Option<Step<'_>> {
        self.tier.as_ref().map(|tier| Step::TierDefault { tier, action: tier.default_action })
    }

    /// The tier's default, if it decides.
    pub(super) fn default_step(&self) -> Option<Step<'_>> {
        let denies = |tier: &Tier| tier.default_action == DefaultAction::Deny;
        self.tier_default().filter(|_| self.tier.as_ref().is_some_and(denies))
    }

    /// What the group's rules do, and the way to it: nothing, if none decides.
    pub(super) fn walk<'p>(
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
