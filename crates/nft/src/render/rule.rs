//! From a rule of policy to rules of the kernel.

use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::RuleSets;
use tortie_policy::{Action, CompatPoint, Direction, Rule as PolicyRule};

use super::alternatives::{Alternative, Condition};
use super::criteria::{self, Certainty, Known};
use super::words::{Outcome, Words};
use crate::{Family, Match, Origin, Rule, Statement, Subject, Verdict};

/// Where a rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// Where connections are tracked and addresses are final.
    Filter {
        /// Whether a sidecar of the receiver checks HTTP criteria later.
        http: bool,
    },
    /// Before destination NAT.
    PreDnat,
    /// Before connection tracking: what is allowed is exempt from it.
    Untracked,
}

impl Place {
    /// Whether what is allowed is not asked about by later planes.
    fn is_early(self) -> bool {
        matches!(self, Place::PreDnat | Place::Untracked)
    }
}

/// Everything that rules depend on besides themselves.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) known: Known<'a>,
    pub(super) words: &'a Words,
    pub(super) place: Place,
    pub(super) direction: Direction,
}

impl Writer<'_> {
    /// The rules that one rule of a policy (of a tier) or profile becomes. What passes returns.
    pub(super) fn rules(
        &self,
        (subject, tier): (&Subject, &str),
        rule: &PolicyRule,
        sets: &RuleSets,
    ) -> Vec<Rule> {
        let (author, direction) = (subject.clone(), self.direction);
        let origin = Arc::new(Origin { subject: author, direction, rule: Some(rule.origin) });
        let written = |certainty, outcome| {
            let when = self.when(rule, sets, certainty);
            when.into_iter().map(|matches| self.decide(matches, outcome, &origin)).collect()
        };
        let is_profile = matches!(subject, Subject::Profile(_));
        let refuses_pass = is_profile && self.known.compat.has(CompatPoint::ProfilePass);
        match rule.action {
            Action::Allow => written(Certainty::Sure, Outcome::Allow),
            Action::Deny => written(Certainty::Possible, Outcome::Deny),
            Action::Pass if refuses_pass => written(Certainty::Possible, Outcome::Deny),
            Action::Pass => {
                let sure = written(Certainty::Sure, Outcome::Pass);
                let possible = self.when(rule, sets, Certainty::Possible);
                let doubt = match possible == self.when(rule, sets, Certainty::Sure) {
                    true => Vec::new(),
                    false => written(Certainty::Possible, Outcome::Deny),
                };
                sure.into_iter().chain(doubt).collect()
            }
            Action::Log => {
                let when = self.when(rule, sets, Certainty::Sure).into_iter();
                when.map(|matches| self.words.log(matches, &origin, tier)).collect()
            }
        }
    }

    /// A rule that decides.
    pub(super) fn decide(
        &self,
        matches: Vec<Match>,
        outcome: Outcome,
        origin: &Arc<Origin>,
    ) -> Rule {
        let mut statements = vec![Statement::Counter];
        if self.place != Place::Untracked {
            statements.extend(self.words.record(outcome, origin));
        }
        if self.place == Place::Untracked && outcome == Outcome::Allow {
            statements.push(Statement::NoTrack);
        }
        if self.place.is_early() && outcome == Outcome::Allow {
            statements.push(Statement::SetMark(self.words.mark));
        }
        let verdict = match outcome {
            Outcome::Allow => Verdict::Accept,
            Outcome::Pass => Verdict::Return,
            Outcome::Deny => match self.place {
                Place::Filter { .. } => self.words.deny.clone(),
                // Nothing can be refused with an answer that early.
                Place::PreDnat | Place::Untracked => Verdict::Drop,
            },
        };
        Rule { matches, statements, verdict: Some(verdict), origin: Some(Arc::clone(origin)) }
    }

    /// A rule that decides whatever comes to it.
    pub(super) fn finally(&self, subject: Subject, outcome: Outcome) -> Rule {
        let origin = Origin { subject, direction: self.direction, rule: None };
        self.decide(Vec::new(), outcome, &Arc::new(origin))
    }

    /// The alternatives under which a rule matches. Those that are the same for both families stand
    /// once, without a family.
    fn when(&self, rule: &PolicyRule, sets: &RuleSets, certainty: Certainty) -> Vec<Vec<Match>> {
        let http = self.place == Place::Filter { http: true };
        let of = |family| criteria::condition(self.known, (rule, sets), http, family, certainty);
        both_families(of(Family::V4), of(Family::V6))
    }
}

/// The alternatives for packets of both families.
pub(super) fn both_families(four: Condition, six: Condition) -> Vec<Vec<Match>> {
    let (common, four): (Vec<_>, Vec<_>) = four.0.into_iter().partition(|a| six.0.contains(a));
    let six = six.0.into_iter().filter(|alternative| !common.contains(alternative));
    let of = |family: Family| {
        move |alternative: Alternative| {
            let matches = alternative.into_matches();
            std::iter::once(Match::Family(family)).chain(matches).collect()
        }
    };
    let mut all: Vec<Vec<Match>> = four.into_iter().map(of(Family::V4)).collect();
    all.extend(six.map(of(Family::V6)));
    all.splice(0..0, common.iter().cloned().map(Alternative::into_matches));
    all
}

/// A subject that is always there.
pub(super) fn fixed(name: &'static str) -> Subject {
    Subject::Fixed(SmolStr::new_static(name))
}
