//! Rules that never match, that come too late, or that nobody asks.

use std::collections::BTreeMap;

use super::contradiction::{self, Contradiction};
use super::{Code, Found, Surroundings, cover};
use crate::{Action, Direction, Rule};

pub(super) fn check(surroundings: &Surroundings<'_>, found: &mut Found<'_>) {
    for direction in [Direction::Ingress, Direction::Egress] {
        let rules = found.policy.rules(direction);
        if found.policy.governs(direction) {
            written(surroundings, direction, rules, found);
        } else if !rules.is_empty() {
            inert(direction, found);
        }
    }
}

fn inert(direction: Direction, found: &mut Found<'_>) {
    let reason = format!("the policy does not govern {direction}, so nobody asks these rules");
    let hint = match super::is_calico(found.policy.id.kind) {
        true => "add the direction to `types`, or remove the rules",
        false => "add the direction to `policyTypes`, or remove the rules",
    };
    found.warn(Code::DirectionNotGoverned, format!("spec.{direction}"), reason, hint);
}

/// The rules of one direction as their author wrote them: one that became several is warned of if
/// all of them deserve it.
fn written(
    surroundings: &Surroundings<'_>,
    direction: Direction,
    rules: &[Rule],
    found: &mut Found<'_>,
) {
    let mut by_origin: BTreeMap<usize, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        by_origin.entry(rule.origin).or_default().push(rule);
    }
    for (origin, these) in &by_origin {
        let contradictions = these.iter().map(|rule| contradiction::of(&surroundings.logic, rule));
        match contradictions.collect::<Option<Vec<_>>>() {
            Some(all) => never(direction, *origin, all, found),
            None => {
                let earlier = rules.iter().take_while(|rule| rule.origin < *origin);
                let earlier: Vec<&Rule> = earlier.filter(|r| r.action != Action::Log).collect();
                shadowed(surroundings, direction, *origin, these, &earlier, found);
            }
        }
    }
}

fn never(direction: Direction, origin: usize, all: Vec<Contradiction>, found: &mut Found<'_>) {
    let Some(Contradiction { part, reason }) = all.into_iter().next() else { return };
    let field = found.rule_field(direction, origin, &part);
    let reason = format!("{reason}, so the rule never matches");
    found.warn(Code::RuleNeverMatches, field, reason, "correct the criteria, or remove the rule");
}

fn shadowed(
    surroundings: &Surroundings<'_>,
    direction: Direction,
    origin: usize,
    these: &[&Rule],
    earlier: &[&Rule],
    found: &mut Found<'_>,
) {
    let by = |rule: &&Rule| {
        let covers = |wide: &&&Rule| cover::covers(&surroundings.logic, wide, rule);
        earlier.iter().find(covers).map(|wide| wide.origin)
    };
    let Some(by) = these.iter().map(by).collect::<Option<Vec<_>>>() else { return };
    let Some(by) = by.into_iter().max() else { return };
    let field = found.rule_field(direction, origin, "");
    let reason = format!("rule {by} before it decides about everything that this rule matches");
    let hint = "remove the rule, or put it before that one";
    found.warn(Code::RuleShadowed, field, reason, hint);
}
