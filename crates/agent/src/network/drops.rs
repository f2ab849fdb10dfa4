//! Which counters are of rules that deny.

use std::collections::{BTreeMap, HashMap};

use tortie_nft::{Counter, Origin, Rule, Ruleset, Statement, Subject, Verdict};
use tortie_policy::Direction;

/// Remembers what denies: rules that are gone have denied what they counted.
#[derive(Debug, Default)]
pub(super) struct Drops {
    denies: HashMap<Origin, bool>,
}

/// What a rule has dropped, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drop {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) direction: &'static str,
    pub(super) rule: String,
    pub(super) counter: Counter,
}

impl Drops {
    /// What the rules that deny have counted.
    pub(super) fn of(
        &mut self,
        ruleset: &Ruleset,
        counters: &BTreeMap<Origin, Counter>,
    ) -> Vec<Drop> {
        self.denies.retain(|origin, _| counters.contains_key(origin));
        let rules = ruleset.chains.values().flat_map(|chain| &chain.rules);
        for rule in rules.filter(|rule| rule.statements.contains(&Statement::Counter)) {
            if let Some(origin) = rule.origin.as_deref() {
                match self.denies.get_mut(origin) {
                    Some(before) => *before |= denies(rule),
                    None => drop(self.denies.insert(origin.clone(), denies(rule))),
                }
            }
        }
        let denied = counters.iter().filter(|(origin, _)| self.denies.get(origin) == Some(&true));
        denied.map(|(origin, counter)| Drop::new(origin, *counter)).collect()
    }
}

fn denies(rule: &Rule) -> bool {
    matches!(rule.verdict, Some(Verdict::Drop | Verdict::Reject))
}

impl Drop {
    fn new(origin: &Origin, counter: Counter) -> Drop {
        let Origin { subject, direction, rule } = origin;
        let (kind, namespace, name) = match subject {
            Subject::Policy(id) => (id.kind.as_str(), id.namespace.as_deref(), id.name.as_str()),
            Subject::Profile(name) => ("Profile", None, name.as_str()),
            Subject::Tier(name) => ("Tier", None, name.as_str()),
            Subject::NoProfile => ("Profile", None, ""),
            Subject::Fixed(name) => ("Fixed", None, name.as_str()),
        };
        Drop {
            kind: kind.to_owned(),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: name.to_owned(),
            direction: match direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            },
            rule: rule.map(|rule| rule.to_string()).unwrap_or_default(),
            counter,
        }
    }
}
