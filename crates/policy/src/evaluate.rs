//! The reference evaluator: what policy means. Short and obviously right; every other engine is
//! tested against it.
//!
//! For one endpoint and direction: tiers in order, in each tier its policies in order, in each
//! policy its rules in order. The first rule that allows or denies decides; a Pass leaves the tier;
//! a Log changes nothing. Where no rule of a tier matched, the tier's default decides. Where no tier
//! decided, the profiles do, and where they do not, the traffic is denied.

use crate::{
    Action, Applicable, CompatPoint, DefaultAction, End, EntityMatch, Facts, Failsafe, HttpMatch,
    Policy, PortMatch, Profile, Rule, Side, Tier, Tri,
};

/// The answer for one endpoint and direction, with the way to it.
#[derive(Debug, Clone)]
pub struct Verdict<'a> {
    /// Whether the traffic may pass.
    pub allowed: bool,
    /// What was asked, in order; the last step decided. Never empty.
    pub trace: Vec<Step<'a>>,
}

/// One step on the way to a verdict.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A rule of a policy matched.
    Rule {
        /// The policy.
        policy: &'a Policy,
        /// The rule.
        rule: &'a Rule,
        /// Position of the rule in the policy; its author's is [`Rule::origin`].
        index: usize,
        /// What came of it: a Pass or Deny that is only possibly meant denies.
        action: Action,
        /// True if the rule matched, unknown if nobody can tell.
        certainty: Tri,
    },
    /// No rule of a policy decided.
    NoMatch {
        /// The policy.
        policy: &'a Policy,
    },
    /// No rule of a tier decided, so its default action did.
    TierDefault {
        /// The tier.
        tier: &'a Tier,
        /// What it is.
        action: DefaultAction,
    },
    /// A rule of a profile decided.
    Profile {
        /// The profile.
        profile: &'a Profile,
        /// Position of the rule.
        index: usize,
        /// What came of it.
        action: Action,
    },
    /// Neither tiers nor profiles decided.
    NoProfile,
    /// No policy of a host endpoint's plane decided: the traffic goes on.
    Continue,
    /// A port that stays open whatever policy says.
    Failsafe(Failsafe),
    /// A fixed rule or setting decided.
    Fixed {
        /// Its name.
        name: &'static str,
        /// What came of it.
        allowed: bool,
    },
}

/// Decides what happens to traffic at an endpoint.
pub fn evaluate<'a>(applicable: &'a Applicable, facts: &dyn Facts) -> Verdict<'a> {
    let mut trace = Vec::new();
    let decision = match (tiers(applicable, facts, &mut trace), &applicable.end) {
        (Some(decision), _) => decision,
        (None, End::Profiles(list)) => profiles(list, applicable, facts, &mut trace),
        (None, End::Continue) => {
            trace.push(Step::Continue);
            Action::Allow
        }
    };
    Verdict { allowed: decision == Action::Allow, trace }
}

/// The decision of the tiers, unless each passed the traffic on.
fn tiers<'a>(
    applicable: &'a Applicable,
    facts: &dyn Facts,
    trace: &mut Vec<Step<'a>>,
) -> Option<Action> {
    for group in &applicable.tiers {
        match policies(&group.policies, applicable, facts, trace) {
            Some(Action::Pass) => {}
            Some(decision) => return Some(decision),
            None => {
                let action = group.default_action;
                trace.push(Step::TierDefault { tier: &group.tier, action });
                if action == DefaultAction::Deny {
                    return Some(Action::Deny);
                }
            }
        }
    }
    None
}

/// The first decision of a tier's policies: allow, deny, or pass.
fn policies<'a>(
    policies: &'a [std::sync::Arc<Policy>],
    applicable: &Applicable,
    facts: &dyn Facts,
    trace: &mut Vec<Step<'a>>,
) -> Option<Action> {
    for policy in policies {
        for (index, rule) in policy.rules(applicable.direction).iter().enumerate() {
            let certainty = matches(rule, facts);
            if let Some(action) = effect(rule.action, certainty) {
                trace.push(Step::Rule { policy, rule, index, action, certainty });
                if action != Action::Log {
                    return Some(action);
                }
            }
        }
        trace.push(Step::NoMatch { policy });
    }
    None
}

fn profiles<'a>(
    profiles: &'a [std::sync::Arc<Profile>],
    applicable: &Applicable,
    facts: &dyn Facts,
    trace: &mut Vec<Step<'a>>,
) -> Action {
    for profile in profiles {
        for (index, rule) in profile.rules(applicable.direction).iter().enumerate() {
            let effect = effect(rule.action, matches(rule, facts));
            match effect {
                Some(Action::Pass) if facts.compat().has(CompatPoint::ProfilePass) => {
                    trace.push(Step::Profile { profile, index, action: Action::Deny });
                    return Action::Deny;
                }
                Some(action @ (Action::Allow | Action::Deny)) => {
                    trace.push(Step::Profile { profile, index, action });
                    return action;
                }
                Some(Action::Pass) => break, // the next profile decides
                Some(Action::Log) | None => {}
            }
        }
    }
    trace.push(Step::NoProfile);
    Action::Deny
}

/// What a rule does: in doubt it does not allow, and does deny; a doubtful Pass denies, too.
pub fn effect(action: Action, certainty: Tri) -> Option<Action> {
    match (action, certainty) {
        (_, Tri::False) | (Action::Allow | Action::Log, Tri::Unknown) => None,
        (Action::Deny | Action::Pass, Tri::Unknown) => Some(Action::Deny),
        (action, Tri::True) => Some(action),
    }
}

/// Whether all criteria of a rule hold.
pub fn matches(rule: &Rule, facts: &dyn Facts) -> Tri {
    let mut result = Tri::True;
    for criterion in Criterion::ALL {
        result = result & holds(rule, criterion, facts);
        if result == Tri::False {
            break;
        }
    }
    result
}

/// A group of criteria of a rule, for messages about what a rule lacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    /// `ipVersion`, or the family of the rule's nets.
    IpVersion,
    /// `protocol` and `notProtocol`.
    Protocol,
    /// `icmp` and `notICMP`.
    Icmp,
    /// `services` of a side.
    Service(Side),
    /// `ports` and `notPorts` of a side.
    Ports(Side),
    /// `nets` and `notNets` of a side.
    Nets(Side),
    /// Selectors, namespaces and service accounts of a side.
    Peers(Side),
    /// That there is an HTTP request at all.
    Http,
    /// HTTP methods.
    Method,
    /// HTTP paths.
    Path,
}

impl Criterion {
    /// All criteria, the cheap ones first. The order never changes a result.
    pub const ALL: [Criterion; 14] = [
        Criterion::IpVersion,
        Criterion::Protocol,
        Criterion::Icmp,
        Criterion::Ports(Side::Destination),
        Criterion::Ports(Side::Source),
        Criterion::Nets(Side::Source),
        Criterion::Nets(Side::Destination),
        Criterion::Service(Side::Source),
        Criterion::Service(Side::Destination),
        Criterion::Peers(Side::Source),
        Criterion::Peers(Side::Destination),
        Criterion::Http,
        Criterion::Method,
        Criterion::Path,
    ];
}

/// Whether one group of criteria holds; a group without criteria does.
pub fn holds(rule: &Rule, criterion: Criterion, facts: &dyn Facts) -> Tri {
    match criterion {
        Criterion::IpVersion => rule.ip_version.map_or(Tri::True, |v| facts.ip_version(v)),
        Criterion::Protocol => {
            let is = rule.protocol.map_or(Tri::True, |p| facts.protocol(p));
            let is_not = rule.not_protocol.map_or(Tri::False, |p| facts.protocol(p));
            is & !is_not
        }
        Criterion::Icmp => {
            let is = rule.icmp.map_or(Tri::True, |icmp| facts.icmp(&icmp));
            let is_not = rule.not_icmp.map_or(Tri::False, |icmp| facts.icmp(&icmp));
            is & !is_not
        }
        Criterion::Service(side) => {
            rule.side(side).service.as_ref().map_or(Tri::True, |s| facts.service(side, s))
        }
        Criterion::Ports(side) => ports(rule.side(side), side, facts),
        Criterion::Nets(side) => nets(rule.side(side), side, facts),
        Criterion::Peers(side) => {
            rule.side(side).peers.as_ref().map_or(Tri::True, |p| facts.peers(side, p))
        }
        Criterion::Http => rule.http.as_ref().map_or(Tri::True, |_| facts.http()),
        Criterion::Method => rule.http.as_ref().map_or(Tri::True, |h| methods(h, facts)),
        Criterion::Path => rule.http.as_ref().map_or(Tri::True, |h| paths(h, facts)),
    }
}

fn ports(entity: &EntityMatch, side: Side, facts: &dyn Facts) -> Tri {
    let is = |port: &PortMatch| match port {
        PortMatch::Range(first, last) => facts.port(side, *first, *last),
        PortMatch::Named(name) => facts.named_port(side, name),
    };
    any_or_all(&entity.ports, is) & !Tri::any(entity.not_ports.iter().map(is))
}

fn nets(entity: &EntityMatch, side: Side, facts: &dyn Facts) -> Tri {
    let is = |net: &ipnet::IpNet| facts.net(side, net);
    any_or_all(&entity.nets, is) & !Tri::any(entity.not_nets.iter().map(is))
}

fn methods(http: &HttpMatch, facts: &dyn Facts) -> Tri {
    any_or_all(&http.methods, |method| facts.method(method))
}

fn paths(http: &HttpMatch, facts: &dyn Facts) -> Tri {
    any_or_all(&http.paths, |path| facts.path(path))
}

/// Any of the list; an empty list is no criterion.
fn any_or_all<T>(list: &[T], is: impl Fn(&T) -> Tri) -> Tri {
    if list.is_empty() { Tri::True } else { Tri::any(list.iter().map(is)) }
}
