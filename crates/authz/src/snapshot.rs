//! What one decision rests on: compiled policy and the guarded workloads, immutable.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, OnceLock};

use prometheus_client::metrics::counter::Counter;
use prost::bytes::Bytes;
use tortie_calc::compiled::{self, Place};
use tortie_calc::{Settings, State};
use tortie_policy::{Compat, Direction, EndpointId, Rule, Step, Trust};

use crate::guarded::{Guarded, Local, Mode};
use crate::metrics::Size;

/// Whom a server guards and what it believes, whatever the policy.
#[derive(Debug, Clone)]
pub struct View {
    /// How the workload of a check is found.
    pub mode: Mode,
    /// The direction of checks whose listener does not say.
    pub direction: Direction,
    /// Trust domain in place of the one that comes with policy.
    pub trust_domain: Option<String>,
    /// Trust domains besides those that come with policy.
    pub trust_domain_aliases: Vec<String>,
    /// Points of compatibility besides those that come with policy.
    pub compat: Compat,
}

impl View {
    /// Of a mode, strict, with nothing besides what comes with policy.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            direction: Direction::Ingress,
            trust_domain: None,
            trust_domain_aliases: Vec::new(),
            compat: Compat::STRICT,
        }
    }

    /// The settings that come with policy, and what is set here over them.
    fn settings(&self, given: Option<&Settings>) -> Settings {
        let mut settings = given.cloned().unwrap_or_default();
        if let Some(domain) = &self.trust_domain {
            settings.trust.domain = domain.into();
        }
        let aliases = self.trust_domain_aliases.iter().map(Into::into);
        let given = settings.trust.aliases.into_iter();
        settings.trust =
            Trust { aliases: given.chain(aliases).collect(), domain: settings.trust.domain };
        settings.compat = settings.compat.union(self.compat);
        settings
    }
}

/// The state at one moment. Readers hold it for the length of a decision; the next one replaces it.
#[derive(Debug)]
pub struct Snapshot {
    /// The guarded workloads.
    pub guarded: Guarded,
    engine: compiled::Snapshot,
    size: Size,
    /// Of every rule what is the same for all that it decides. A rule is known by its address: it
    /// does not move as long as its snapshot lives.
    told: HashMap<usize, Told>,
}

/// What is the same for all requests that a rule decides, made for the first of them.
#[derive(Debug, Default)]
pub struct Told {
    /// The answer of an Allow rule.
    pub answer: OnceLock<Bytes>,
    /// Counts what it decides.
    pub count: OnceLock<Counter>,
}

impl Snapshot {
    /// Before anything is known: refuses everything.
    #[must_use]
    pub fn nothing(view: &View) -> Self {
        Self {
            guarded: Guarded::new(view.mode.clone(), view.direction, Vec::new()),
            engine: compiled::Snapshot::default(),
            size: Size::default(),
            told: HashMap::new(),
        }
    }

    /// Compiles a state. What is the same as in this one is not compiled again. Where the mode leaves
    /// it open, `newest` is the workload that was told of last.
    #[must_use]
    pub fn next(&self, state: &State, view: &View, newest: Option<&EndpointId>) -> Self {
        let mut state = state.clone();
        state.settings = Some(Arc::new(view.settings(state.settings.as_deref())));
        let engine = self.engine.next(&state);
        let mut locals: Vec<_> = state
            .endpoints
            .values()
            .map(|e| Local { id: e.id.clone(), addresses: e.addresses.clone() })
            .collect();
        locals.sort_by_key(|local| Some(&local.id) == newest);
        let told: HashMap<_, _> = rules(&state).map(|rule| (key(rule), Told::default())).collect();
        Self {
            guarded: Guarded::new(view.mode.clone(), view.direction, locals),
            size: Size {
                endpoints: state.endpoints.len(),
                policies: state.policies.len() + state.profiles.len(),
                rules: told.len(),
                sets: state.sets.len(),
                members: state.sets.values().map(|set| set.members.len()).sum(),
            },
            engine,
            told,
        }
    }

    /// Whether everything that was there at the start has been told.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        self.engine.in_sync()
    }

    /// What decides at a guarded workload, by its position, in one direction.
    #[must_use]
    pub fn place(&self, index: usize, direction: Direction) -> Option<Place<'_>> {
        self.engine.workload(&self.guarded.locals().get(index)?.id, direction)
    }

    /// How large it is.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// What is the same for all that a step's rule decides; none if no rule decided.
    #[must_use]
    pub fn told(&self, step: &Step<'_>, direction: Direction) -> Option<&Told> {
        let rule = match *step {
            Step::Rule { rule, .. } => rule,
            Step::Profile { profile, index, .. } => profile.rules(direction).get(index)?,
            _ => return None,
        };
        self.told.get(&key(rule))
    }
}

fn key(rule: &Rule) -> usize {
    ptr::from_ref(rule).addr()
}

fn rules(state: &State) -> impl Iterator<Item = &Rule> {
    let both = [Direction::Ingress, Direction::Egress];
    let of_policies = state.policies.values().flat_map(move |active| {
        both.into_iter().flat_map(|direction| active.policy.rules(direction))
    });
    let of_profiles = state.profiles.values().flat_map(move |active| {
        both.into_iter().flat_map(|direction| active.profile.rules(direction))
    });
    of_policies.chain(of_profiles)
}
