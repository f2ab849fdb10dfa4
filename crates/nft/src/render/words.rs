//! What is said about packets: lines in the kernel's log, and records for whoever keeps flows.

use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use tortie_policy::{DenyAction, Direction, HostSettings, LogSettings, PolicyId, PolicyKind};

use super::{Options, names};
use crate::{Limit, Match, Origin, Rule, Statement, Subject, Verdict};

/// Most bytes of a record's prefix, as Calico's readers know them.
const MAX_PREFIX: usize = 64;
/// Most bytes a log line begins with, before the colon.
const MAX_LOG: usize = 125;
/// The level of log lines, as Calico has it.
const NOTICE: u8 = 5;
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
    /// The bit of packets' marks that says that they are allowed for good.
    pub(super) mark: u32,
    log: LogSettings,
    /// Whether decisions are recorded.
    pub(super) records: bool,
    /// Whether packets that belong to no connection are dropped.
    pub(super) drop_invalid: bool,
}

impl Words {
    /// As the settings of the host say.
    pub(super) fn new(settings: &HostSettings, options: &Options) -> Words {
        let deny = match settings.deny {
            DenyAction::Drop => Verdict::Drop,
            DenyAction::Reject => Verdict::Reject,
        };
        let Options { mark, records, drop_invalid, .. } = *options;
        Words { deny, mark, log: settings.log.clone(), records, drop_invalid }
    }

    /// A rule that logs.
    pub(super) fn log(&self, mut matches: Vec<Match>, origin: &Arc<Origin>, tier: &str) -> Rule {
        matches.extend(self.log.limit.map(|limit| {
            let (packets, seconds) = (limit.lines.into(), limit.seconds.into());
            Match::Limit(Limit { packets, seconds, burst: limit.burst })
        }));
        let mut prefix = said(&self.log.prefix, origin, tier);
        let end = (0..=MAX_LOG).rev().find(|end| prefix.is_char_boundary(*end));
        prefix.truncate(end.unwrap_or_default());
        prefix.push_str(": ");
        let log = Statement::Log { prefix: prefix.into(), level: NOTICE };
        Rule { matches, statements: vec![log], verdict: None, origin: Some(Arc::clone(origin)) }
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

/// What a log line begins with, with the words that stand for who wrote the rule.
fn said(prefix: &str, origin: &Origin, tier: &str) -> String {
    let (kind, name, full) = match &origin.subject {
        Subject::Policy(id) => {
            let full = match &id.namespace {
                Some(namespace) => format!("{namespace}/{}", id.name),
                None => id.name.to_string(),
            };
            (kind(id.kind), id.name.as_str(), full)
        }
        Subject::Profile(name) => ("pro", name.as_str(), name.to_string()),
        Subject::Tier(_) | Subject::NoProfile | Subject::Fixed(_) => ("", "", String::new()),
    };
    let (mut said, mut chars) = (String::new(), prefix.chars().peekable());
    while let Some(letter) = chars.next() {
        let word = match (letter, chars.peek()) {
            ('%', Some('t')) => tier,
            ('%', Some('k')) => kind,
            ('%', Some('n')) => name,
            ('%', Some('p')) => &full,
            ('%', Some('%')) => "%",
            _ => {
                said.push(letter);
                continue;
            }
        };
        said.push_str(word);
        chars.next();
    }
    said
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
    let kind = kind(id.kind);
    match &id.namespace {
        Some(namespace) => format_smolstr!("{kind}/{namespace}/{}", id.name),
        None => format_smolstr!("{kind}/{}", id.name),
    }
}

/// The short word for a kind of policy.
fn kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::GlobalNetworkPolicy => "gnp",
        PolicyKind::NetworkPolicy => "np",
        PolicyKind::KubernetesNetworkPolicy => "knp",
        PolicyKind::KubernetesClusterNetworkPolicy => "kcnp",
        PolicyKind::StagedGlobalNetworkPolicy => "sgnp",
        PolicyKind::StagedNetworkPolicy => "snp",
        PolicyKind::StagedKubernetesNetworkPolicy => "sknp",
    }
}
