//! What is said about packets: lines in the kernel's log, and records for whoever keeps flows.

use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use tortie_policy::{Direction, PolicyId, PolicyKind};

use super::names;
use crate::{Limit, Match, Origin, Rule, Statement, Subject, Verdict};

/// Most bytes of a record's prefix, as Calico's readers know them.
const MAX_PREFIX: usize = 64;
/// How much of a packet is recorded: its headers.
const HEADERS: u32 = 80;

/// What comes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Allow,
    Deny,
    Pass,
}

/// How denials, log lines and records look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// What becomes of denied packets, where they can be answered.
    pub(super) deny: Verdict,
    /// What log lines begin with.
    pub(super) log_prefix: SmolStr,
    /// Level of log lines.
    pub(super) log_level: u8,
    /// How many log lines there may be.
    pub(super) log_limit: Option<Limit>,
    /// Whether decisions are recorded.
    pub(super) records: bool,
}

impl Words {
    /// A rule that logs.
    pub(super) fn log(&self, mut matches: Vec<Match>, origin: &Origin) -> Rule {
        matches.extend(self.log_limit.map(Match::Limit));
        let prefix = format_smolstr!("{}: ", self.log_prefix);
        let log = Statement::Log { prefix, level: self.log_level };
        Rule { matches, statements: vec![log], verdict: None, origin: Some(origin.clone()) }
    }

    /// The record of a decision, if decisions are recorded.
    pub(super) fn record(&self, outcome: Outcome, origin: &Origin) -> Option<Statement> {
        if !self.records {
            return None;
        }
        let group = match origin.direction {
            Direction::Ingress => 1,
            Direction::Egress => 2,
        };
        let prefix = prefix(outcome, origin)?;
        Some(Statement::Nflog { group, prefix, length: HEADERS })
    }
}

/// The name of a deciding rule as Calico's readers of records know it: the outcome, who decided
/// (policy or profile), the direction, the position of the rule, and the name of the author.
fn prefix(outcome: Outcome, origin: &Origin) -> Option<SmolStr> {
    let outcome = match outcome {
        Outcome::Allow => 'A',
        Outcome::Deny => 'D',
        Outcome::Pass => 'P',
    };
    let direction = match origin.direction {
        Direction::Ingress => 'I',
        Direction::Egress => 'E',
    };
    let (owner, author) = match &origin.subject {
        Subject::Policy(id) => ('P', path(id)),
        Subject::Profile(name) => ('R', format_smolstr!("pro/{name}")),
        Subject::Tier(name) => ('P', name.clone()),
        Subject::NoProfile => return Some(format_smolstr!("{outcome}R{direction}")),
        Subject::Fixed(_) => return None,
    };
    let rule = origin.rule.map(|rule| rule.to_smolstr()).unwrap_or_default();
    let head = format_smolstr!("{outcome}{owner}{direction}{rule}|");
    let room = MAX_PREFIX - head.len();
    Some(format_smolstr!("{head}{}", shortened(&author, room)))
}

/// Text of at most so many bytes: what is longer keeps both ends, round a hash.
fn shortened(text: &str, room: usize) -> SmolStr {
    if text.len() <= room {
        return text.into();
    }
    let chars: Vec<char> = text.chars().collect();
    let first: String = chars.iter().take(10).collect();
    let last: String = chars.iter().skip(chars.len().saturating_sub(10)).collect();
    format_smolstr!("{first}_{}_{last}", names::hash(text))
}

/// A policy's kind, namespace and name, with the short word for its kind.
pub(super) fn path(id: &PolicyId) -> SmolStr {
    let kind = match id.kind {
        PolicyKind::GlobalNetworkPolicy => "gnp",
        PolicyKind::NetworkPolicy => "np",
        PolicyKind::KubernetesNetworkPolicy => "knp",
        PolicyKind::KubernetesClusterNetworkPolicy => "kcnp",
        PolicyKind::StagedGlobalNetworkPolicy => "sgnp",
        PolicyKind::StagedNetworkPolicy => "snp",
        PolicyKind::StagedKubernetesNetworkPolicy => "sknp",
    };
    match &id.namespace {
        Some(namespace) => format_smolstr!("{kind}/{namespace}/{}", id.name),
        None => format_smolstr!("{kind}/{}", id.name),
    }
}
