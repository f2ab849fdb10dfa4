//! Conditions as the kernel takes them: any of some alternatives, each a list of matches that all
//! must hold.

use std::collections::BTreeSet;

use crate::Match;

/// A condition: any of its alternatives. Without one it never holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition(pub(super) Vec<Alternative>);

/// Matches of which all must hold. Protocols are apart, as they stand before all else and exclude
/// each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Alternative {
    pub(super) protocols: Protocols,
    pub(super) matches: Vec<Match>,
}

/// Protocols by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocols {
    /// This one.
    Only(u8),
    /// All but these.
    Except(BTreeSet<u8>),
}

impl Default for Protocols {
    fn default() -> Self {
        Protocols::Except(BTreeSet::new())
    }
}

impl Protocols {
    fn and(&self, other: &Protocols) -> Option<Protocols> {
        match (self, other) {
            (Protocols::Only(one), Protocols::Only(two)) => (one == two).then(|| self.clone()),
            (Protocols::Only(one), Protocols::Except(not))
            | (Protocols::Except(not), Protocols::Only(one)) => {
                (!not.contains(one)).then_some(Protocols::Only(*one))
            }
            (Protocols::Except(a), Protocols::Except(b)) => Some(Protocols::Except(a | b)),
        }
    }

    fn matches(&self) -> Vec<Match> {
        match self {
            Protocols::Only(number) => vec![Match::Protocol { not: false, number: *number }],
            Protocols::Except(numbers) => numbers
                .iter()
                .map(|number| Match::Protocol { not: true, number: *number })
                .collect(),
        }
    }
}

impl Alternative {
    /// All of it as matches, in order.
    pub(super) fn into_matches(self) -> Vec<Match> {
        let mut all = self.protocols.matches();
        all.extend(self.matches);
        all
    }
}

impl Condition {
    /// It always holds.
    pub(super) fn always() -> Condition {
        Condition(vec![Alternative::default()])
    }

    /// It never holds.
    pub(super) fn never() -> Condition {
        Condition(Vec::new())
    }

    /// It always or never holds.
    pub(super) fn constant(holds: bool) -> Condition {
        if holds { Condition::always() } else { Condition::never() }
    }

    /// One match holds.
    pub(super) fn one(one: Match) -> Condition {
        Condition(vec![Alternative { matches: vec![one], ..Alternative::default() }])
    }

    /// The protocol is this one.
    pub(super) fn protocol(number: u8) -> Condition {
        Condition::of(Protocols::Only(number))
    }

    /// The protocol is none of these.
    pub(super) fn no_protocol(numbers: &[u8]) -> Condition {
        Condition::of(Protocols::Except(numbers.iter().copied().collect()))
    }

    fn of(protocols: Protocols) -> Condition {
        Condition(vec![Alternative { protocols, matches: Vec::new() }])
    }

    /// Both hold.
    pub(super) fn and(self, other: Condition) -> Condition {
        let mut all = Vec::new();
        for left in &self.0 {
            for right in &other.0 {
                let Some(protocols) = left.protocols.and(&right.protocols) else { continue };
                let matches = left.matches.iter().chain(&right.matches).cloned().collect();
                all.push(Alternative { protocols, matches });
            }
        }
        Condition(all)
    }

    /// One of both holds.
    pub(super) fn or(mut self, other: Condition) -> Condition {
        let always = Alternative::default();
        if self.0.contains(&always) || other.0.contains(&always) {
            return Condition::always();
        }
        for alternative in other.0 {
            if !self.0.contains(&alternative) {
                self.0.push(alternative);
            }
        }
        self
    }

    /// Any of some conditions holds.
    pub(super) fn any(all: impl IntoIterator<Item = Condition>) -> Condition {
        all.into_iter().fold(Condition::never(), Condition::or)
    }

    /// All of some conditions hold.
    pub(super) fn all(all: impl IntoIterator<Item = Condition>) -> Condition {
        all.into_iter().fold(Condition::always(), Condition::and)
    }
}
