//! The rules of each chain, from its content and the state.

use std::sync::Arc;

use smol_str::SmolStr;
use tortie_calc::SetId;
use tortie_policy::{Action, BeforePolicy, CompatPoint, Direction, Plane, PolicyId};

use super::content::{Content, Endpoint, Role, Tier};
use super::failsafes;
use super::rule::{Place, Writer, fixed};
use super::state::State;
use super::words::{Outcome, Words};
use crate::{ConnectionState, Match, Origin, Rule, Statement, Subject, Verdict};

/// Something that chains are written from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Input {
    Policy(PolicyId),
    Profile(SmolStr),
    Set(SetId),
}

/// A chain as written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) rules: Vec<Rule>,
    /// The chains it jumps to, with their names.
    pub(super) targets: Vec<(SmolStr, Content)>,
    /// What it was written from, besides settings.
    pub(super) inputs: Vec<Input>,
}

/// Writes a chain.
pub(super) fn write(content: &Content, state: &State, words: &Words, nodes: &Nodes) -> Written {
    match content {
        Content::Endpoint(endpoint) => {
            let writer = state.writer(words, endpoint.role.place(), endpoint.direction);
            write_endpoint(endpoint, state, &writer, nodes)
        }
        Content::Tier(tier) => {
            write_tier(tier, state, &state.writer(words, tier.place, tier.direction))
        }
        Content::Policy(id, direction, place) => {
            let mut written = Written::default();
            written.policy(id, state, &state.writer(words, *place, *direction));
            written
        }
        Content::Profile(name, direction, place) => {
            write_profile(name, state, &state.writer(words, *place, *direction))
        }
    }
}

/// The addresses of the cluster's nodes.
pub(super) type Nodes = std::collections::BTreeSet<std::net::IpAddr>;

impl Written {
    fn jump(&mut self, target: Content) {
        let name = target.name();
        self.rules.push(Rule { verdict: Some(Verdict::Jump(name.clone())), ..Rule::default() });
        self.targets.push((name, target));
    }

    /// The rules of a policy. One that is missing denies.
    fn policy(&mut self, id: &PolicyId, state: &State, writer: &Writer<'_>) {
        self.inputs.push(Input::Policy(id.clone()));
        let subject = Subject::Policy(id.clone());
        let Some(active) = state.policies.get(id) else {
            self.rules.push(writer.finally(subject, Outcome::Deny));
            return;
        };
        let rules = active.policy.rules(writer.direction);
        for (rule, sets) in rules.iter().zip(active.sets(writer.direction)) {
            self.inputs.extend(sets.ids().cloned().map(Input::Set));
            self.rules.extend(writer.rules((&subject, &active.policy.tier), rule, sets));
        }
    }
}

fn write_tier(tier: &Tier, state: &State, writer: &Writer<'_>) -> Written {
    let mut written = Written::default();
    for id in &tier.policies {
        let active = state.policies.get(id);
        let rules = active.map(|active| active.policy.rules(tier.direction)).unwrap_or_default();
        // To pass is to leave the tier, which only a rule of the tier's own chain can.
        if rules.iter().any(|rule| rule.action == Action::Pass) {
            written.policy(id, state, writer);
            continue;
        }
        let place = match tier.place {
            // Policies without HTTP criteria are the same for everybody.
            Place::Filter { http } => {
                Place::Filter { http: http && rules.iter().any(|rule| rule.http.is_some()) }
            }
            place => place,
        };
        written.inputs.push(Input::Policy(id.clone()));
        written.jump(Content::Policy(id.clone(), tier.direction, place));
    }
    let subject = Subject::Tier(tier.name.clone());
    if tier.denies {
        written.rules.push(writer.finally(subject, Outcome::Deny));
    } else if writer.words.records && tier.place != Place::Untracked {
        written.rules.push(writer.finally(subject, Outcome::Pass));
    }
    written
}

/// The rules of a profile. One that is missing denies, unless Calico's behaviour is chosen.
fn write_profile(name: &SmolStr, state: &State, writer: &Writer<'_>) -> Written {
    let mut written = Written::default();
    written.inputs.push(Input::Profile(name.clone()));
    let subject = Subject::Profile(name.clone());
    let Some(active) = state.profiles.get(name) else {
        if !state.compat().has(CompatPoint::MissingProfile) {
            written.rules.push(writer.finally(subject, Outcome::Deny));
        }
        return written;
    };
    let rules = active.profile.rules(writer.direction);
    for (rule, sets) in rules.iter().zip(active.sets(writer.direction)) {
        written.inputs.extend(sets.ids().cloned().map(Input::Set));
        written.rules.extend(writer.rules((&subject, ""), rule, sets));
    }
    written
}

fn write_endpoint(
    endpoint: &Endpoint,
    state: &State,
    writer: &Writer<'_>,
    nodes: &Nodes,
) -> Written {
    let rules = before(endpoint, state, writer, nodes);
    let mut written = Written { rules, ..Written::default() };
    for tier in &endpoint.tiers {
        written.jump(Content::Tier(Arc::clone(tier)));
    }
    if endpoint.goes_on() {
        return written;
    }
    for profile in &endpoint.profiles {
        // HTTP criteria are checked for workloads alone, whichever list they are in.
        let has_http = state.profiles.get(profile).is_some_and(|active| {
            active.profile.rules(endpoint.direction).iter().any(|rule| rule.http.is_some())
        });
        let http = has_http && writer.place == Place::Filter { http: true };
        written.inputs.push(Input::Profile(profile.clone()));
        let place = Place::Filter { http };
        written.jump(Content::Profile(profile.clone(), endpoint.direction, place));
    }
    written.rules.push(writer.finally(Subject::NoProfile, Outcome::Deny));
    written
}

/// What decides before policy.
fn before(endpoint: &Endpoint, state: &State, writer: &Writer<'_>, nodes: &Nodes) -> Vec<Rule> {
    let invalid = writer.words.drop_invalid.then(|| drop_invalid(writer));
    match (endpoint.role, endpoint.direction) {
        (Role::Workload { .. }, Direction::Ingress) => Vec::from_iter(invalid),
        (Role::Workload { .. }, Direction::Egress) => {
            let tunnels = no_tunnels(state).into_iter().map(|(before, matches)| {
                let subject = fixed(before.name());
                let origin = Origin { subject, direction: Direction::Egress, rule: None };
                writer.decide(matches, Outcome::Deny, &origin.into())
            });
            invalid.into_iter().chain(tunnels).collect()
        }
        (Role::Host { plane }, _) => {
            let mut rules = Vec::new();
            rules.extend(endpoint.after_early.then(|| allowed_before(writer)));
            rules.extend(invalid.filter(|_| plane != Plane::Untracked));
            if plane != Plane::Forward {
                rules.extend(failsafes::rules(state.host(), plane, endpoint.direction, nodes));
            }
            rules
        }
    }
}

/// What an earlier plane has allowed is not asked about again.
fn allowed_before(writer: &Writer<'_>) -> Rule {
    let matches = vec![Match::Mark(writer.words.mark)];
    Rule { matches, verdict: Some(Verdict::Accept), ..Rule::default() }
}

/// What belongs to no connection and cannot begin one is dropped.
fn drop_invalid(writer: &Writer<'_>) -> Rule {
    let subject = fixed("invalid packet");
    Rule {
        matches: vec![Match::Connection(vec![ConnectionState::Invalid])],
        statements: vec![Statement::Counter],
        verdict: Some(Verdict::Drop),
        origin: Some(Origin { subject, direction: writer.direction, rule: None }.into()),
    }
}

/// Tunnels that workloads must not open.
fn no_tunnels(state: &State) -> Vec<(BeforePolicy, Vec<Match>)> {
    let host = state.host();
    let vxlan = BeforePolicy::Vxlan(host.vxlan_port);
    let vxlan = (!host.vxlan_from_workloads)
        .then(|| (vxlan, failsafes::to_port(tortie_policy::Protocol::UDP, host.vxlan_port)));
    let number = tortie_policy::Protocol::IP_IN_IP.number();
    let ip_in_ip = (!host.ip_in_ip_from_workloads)
        .then(|| (BeforePolicy::IpInIp, vec![Match::Protocol { not: false, number }]));
    vxlan.into_iter().chain(ip_in_ip).collect()
}
