//! A verdict in words and as data: which rule decided, and what an Allow rule lacked.

use std::fmt;

use serde::Serialize;

use crate::witness::ByFacts;
use crate::{
    Action, Criterion, DefaultAction, Direction, EntityMatch, Facts, Policy, Rule, Side, Step, Tri,
    Verdict, Witness,
};

/// One step of a trace as the command contract writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceEntry {
    /// Tier; absent for profiles.
    pub tier: Option<String>,
    /// Kind of the policy; `Profile` for profiles; absent for a tier's default.
    pub kind: Option<String>,
    /// Namespace of the policy.
    pub namespace: Option<String>,
    /// Name of the policy or profile.
    pub name: Option<String>,
    /// `allow`, `deny`, `pass`, `log`, `no-match`, `tier-default` or `profile`.
    pub action: &'static str,
    /// Position of the rule in the list its author wrote, from 0.
    pub rule: Option<usize>,
    /// Which list of a host endpoint was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plane: Option<&'static str>,
}

impl From<&Step<'_>> for TraceEntry {
    fn from(step: &Step<'_>) -> TraceEntry {
        let of_policy = |policy: &Policy, action, rule| TraceEntry {
            tier: Some(policy.tier.to_string()),
            kind: Some(policy.id.kind.as_str().to_owned()),
            namespace: policy.id.namespace.as_ref().map(ToString::to_string),
            name: Some(policy.id.name.to_string()),
            action,
            rule,
            plane: None,
        };
        let of_profile = |name: Option<String>, rule| TraceEntry {
            tier: None,
            kind: Some("Profile".to_owned()),
            namespace: None,
            name,
            action: "profile",
            rule,
            plane: None,
        };
        let fixed = |kind: &str, name, allowed| TraceEntry {
            tier: None,
            kind: Some(kind.to_owned()),
            namespace: None,
            name,
            action: if allowed { "allow" } else { "deny" },
            rule: None,
            plane: None,
        };
        match step {
            Step::Rule { policy, rule, action, .. } => {
                of_policy(policy, action_word(*action), Some(rule.origin))
            }
            Step::NoMatch { policy } => of_policy(policy, "no-match", None),
            Step::TierDefault { tier, .. } => TraceEntry {
                tier: Some(tier.name.to_string()),
                kind: None,
                namespace: None,
                name: None,
                action: "tier-default",
                rule: None,
                plane: None,
            },
            Step::Profile { profile, index, .. } => {
                of_profile(Some(profile.name.to_string()), Some(*index))
            }
            Step::NoProfile => of_profile(None, None),
            Step::Continue => fixed("Plane", None, true),
            Step::Failsafe(failsafe) => {
                let name = format!("{}/{}", failsafe.protocol, failsafe.port).to_lowercase();
                fixed("Failsafe", Some(name), true)
            }
            Step::Fixed { name, allowed } => fixed("Fixed", Some((*name).to_owned()), *allowed),
        }
    }
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Log => "log",
        Action::Pass => "pass",
    }
}

/// An Allow rule that did not match, and the criteria it lacked.
#[derive(Debug, Clone)]
pub struct Lack<'a> {
    /// Its policy.
    pub policy: &'a Policy,
    /// Position of the rule.
    pub index: usize,
    /// Criteria that do not hold, or of which nobody can tell.
    pub criteria: Vec<(Criterion, Tri)>,
}

/// The Allow rule of the deciding tier that lacked least, of those asked before a denial was
/// decided.
pub fn nearest<'a>(
    verdict: &Verdict<'a>,
    facts: &dyn Facts,
    direction: Direction,
) -> Option<Lack<'a>> {
    nearest_by(verdict, &ByFacts { facts, direction })
}

fn nearest_by<'a>(verdict: &Verdict<'a>, witness: &dyn Witness) -> Option<Lack<'a>> {
    let direction = witness.direction();
    let (tier, before) = match verdict.trace.last()? {
        Step::TierDefault { tier, .. } => (&tier.name, None),
        Step::Rule { policy, index, action: Action::Deny, .. } => {
            (&policy.tier, Some((*policy, *index)))
        }
        _ => return None,
    };
    let whole = verdict.trace.iter().filter_map(|step| match step {
        Step::NoMatch { policy } if policy.tier == *tier => Some((*policy, usize::MAX)),
        _ => None,
    });
    let rules = whole.chain(before).flat_map(|(policy, end)| {
        let rules = policy.rules(direction).iter().enumerate().take(end);
        rules.filter(|(_, r)| r.action == Action::Allow).map(move |(i, _)| (policy, i))
    });
    let lacks = rules.map(|(policy, index)| Lack {
        policy,
        index,
        criteria: lacking(policy, index, witness),
    });
    lacks.min_by_key(|lack| lack.criteria.len())
}

fn lacking(policy: &Policy, index: usize, witness: &dyn Witness) -> Vec<(Criterion, Tri)> {
    let results = Criterion::ALL.map(|c| (c, witness.holds(policy, index, c)));
    results.into_iter().filter(|(_, result)| *result != Tri::True).collect()
}

impl Verdict<'_> {
    /// The verdict in one sentence: what decided, and for a denial by default what the nearest
    /// Allow rule lacked. Holds no header, query or body.
    pub fn reason(&self, facts: &dyn Facts, direction: Direction) -> String {
        self.reason_by(&ByFacts { facts, direction })
    }

    /// The same in the words of another engine.
    pub fn reason_by(&self, witness: &dyn Witness) -> String {
        let Some(last) = self.trace.last() else { return "nothing decided".to_owned() };
        let mut sentence = decision(last, witness);
        let by_default = matches!(last, Step::TierDefault { .. });
        if by_default && let Some(lack) = nearest_by(self, witness) {
            sentence.push_str(&format!("; {}", LackText { lack: &lack, witness }));
        }
        sentence
    }

    /// Whether the denial rests on a path that has no safe normal form: some Allow rule would have
    /// matched if its path criterion could be answered.
    pub fn rests_on_path(&self, facts: &dyn Facts, direction: Direction) -> bool {
        let witness = ByFacts { facts, direction };
        let asked = self.trace.iter().filter_map(|step| match step {
            Step::NoMatch { policy } => Some(*policy),
            _ => None,
        });
        let mut rules = asked.flat_map(|policy| {
            let rules = policy.rules(direction).iter().enumerate();
            rules.filter(|(_, r)| r.action == Action::Allow).map(move |(i, _)| (policy, i))
        });
        !self.allowed
            && rules.any(|(policy, index)| {
                lacking(policy, index, &witness) == [(Criterion::Path, Tri::Unknown)]
            })
    }
}

fn decision(step: &Step<'_>, witness: &dyn Witness) -> String {
    match step {
        Step::Rule { policy, rule, action, certainty, .. } => {
            let doubt = match certainty {
                Tri::True => String::new(),
                _ => doubt(witness),
            };
            let did = if *action == Action::Allow { "allowed" } else { "denied" };
            format!("{did} by rule {} of {} (tier {}){doubt}", rule.origin, policy.id, policy.tier)
        }
        Step::NoMatch { policy } => format!("no rule of {} matched", policy.id),
        Step::TierDefault { tier, action } => {
            let did = match action {
                DefaultAction::Deny => "denied",
                DefaultAction::Pass => "passed on",
            };
            format!("{did} by the default of tier {}, no rule allows it", tier.name)
        }
        Step::Profile { profile, index, action } => {
            let did = if *action == Action::Allow { "allowed" } else { "denied" };
            format!("{did} by rule {index} of profile {}, no policy applies", profile.name)
        }
        Step::Continue => "goes on, no policy decides".to_owned(),
        Step::Failsafe(failsafe) => {
            format!("allowed before policy: failsafe {} port {}", failsafe.protocol, failsafe.port)
        }
        Step::Fixed { name, allowed } => {
            format!("{} by {name}, before policy", if *allowed { "allowed" } else { "denied" })
        }
        Step::NoProfile => "denied, no policy applies and no profile allows it".to_owned(),
    }
}

fn doubt(witness: &dyn Witness) -> String {
    format!(
        ", in doubt: source is {}, destination is {}",
        witness.describe(Side::Source),
        witness.describe(Side::Destination)
    )
}

/// What an Allow rule lacked, in words.
struct LackText<'a> {
    lack: &'a Lack<'a>,
    witness: &'a dyn Witness,
}

impl fmt::Display for LackText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lack { policy, index, criteria } = self.lack;
        let rules = policy.rules(self.witness.direction());
        let Some(rule) = rules.get(*index) else { return Ok(()) };
        write!(f, "rule {} of {} would allow ", rule.origin, policy.id)?;
        let mut separator = "";
        for (criterion, _) in criteria {
            f.write_str(separator)?;
            write_lack(f, rule, *criterion, self.witness)?;
            separator = ", and ";
        }
        Ok(())
    }
}

fn write_lack(
    f: &mut fmt::Formatter<'_>,
    rule: &Rule,
    criterion: Criterion,
    witness: &dyn Witness,
) -> fmt::Result {
    let who = |side| format!("the {side} is {}", witness.describe(side));
    let what = || format!("this is {}", witness.describe_traffic());
    match criterion {
        Criterion::Peers(side) => {
            let wanted = rule.side(side).peers.as_ref().map_or("", |p| p.text.as_str());
            write!(f, "{side} {wanted}, but {}", who(side))
        }
        Criterion::Ports(side) => {
            write!(f, "{side} {}, but {}", port_text(rule.side(side)), what())
        }
        Criterion::Nets(side) => {
            write!(f, "{side} {}, but {}", net_text(rule.side(side)), who(side))
        }
        Criterion::Service(side) => {
            let service = rule.side(side).service.as_ref().map(ToString::to_string);
            write!(f, "{side} service `{}`, but {}", service.unwrap_or_default(), who(side))
        }
        Criterion::Method => {
            let methods = rule.http.iter().flat_map(|h| &h.methods);
            write!(f, "method {}, but {}", list(methods), what())
        }
        Criterion::Path => write!(f, "other paths, but {}", what()),
        Criterion::Http => write!(f, "HTTP requests, but {}", what()),
        Criterion::Icmp => write!(f, "other ICMP messages, but {}", what()),
        Criterion::Protocol => {
            let wanted = rule.protocol.map(|p| p.to_string());
            let wanted = wanted.unwrap_or_else(|| "another protocol".to_owned());
            write!(f, "{wanted}, but {}", what())
        }
        Criterion::IpVersion => {
            let wanted = rule.ip_version.map(|v| v.to_string()).unwrap_or_default();
            write!(f, "{wanted}, but {}", who(Side::Source))
        }
    }
}

fn port_text(entity: &EntityMatch) -> String {
    match entity.ports.as_slice() {
        [] => format!("ports other than {}", list(&entity.not_ports)),
        ports => format!("port {}", list(ports)),
    }
}

fn net_text(entity: &EntityMatch) -> String {
    match entity.nets.as_slice() {
        [] => format!("addresses outside {}", list(&entity.not_nets)),
        nets => format!("addresses in {}", list(nets)),
    }
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" or ")
}
