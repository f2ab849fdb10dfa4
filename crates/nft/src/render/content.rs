//! What chains are about. Equal contents have one chain, whoever jumps to it.

use std::fmt::Write as _;
use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};
use tortie_policy::{Direction, Plane, PolicyId};

use super::names;
use super::pool::Pool;
use super::rule::Place;
use super::words;

/// What a chain is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// All that is asked about packets of an endpoint in one direction.
    Endpoint(Endpoint),
    /// The policies of one tier.
    Tier(Arc<Tier>),
    /// The rules of one policy.
    Policy(PolicyId, Direction, Place),
    /// The rules of one profile.
    Profile(SmolStr, Direction, Place),
}

/// All that is asked about packets of an endpoint in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) direction: Direction,
    pub(super) role: Role,
    /// Whether planes before may have allowed packets for good.
    pub(super) after_early: bool,
    /// Tiers with policies that are enforced.
    pub(super) tiers: Vec<Arc<Tier>>,
    /// Profiles; only asked where policy must decide.
    pub(super) profiles: Vec<SmolStr>,
}

/// Whose packets they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A workload's.
    Workload {
        /// Whether a sidecar checks HTTP criteria of what comes to it.
        http: bool,
    },
    /// A host endpoint's, in one of its planes.
    Host { plane: Plane },
}

/// The policies of one tier.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tier {
    pub(super) name: SmolStr,
    pub(super) direction: Direction,
    pub(super) place: Place,
    /// Whether what no policy decides is denied.
    pub(super) denies: bool,
    /// Policies that are enforced, in order.
    pub(super) policies: Vec<PolicyId>,
}

impl Role {
    pub(super) fn place(self) -> Place {
        match self {
            Role::Workload { http } => Place::Filter { http },
            Role::Host { plane: Plane::Forward | Plane::Normal } => Place::Filter { http: false },
            Role::Host { plane: Plane::PreDnat } => Place::PreDnat,
            Role::Host { plane: Plane::Untracked } => Place::Untracked,
        }
    }
}

impl Endpoint {
    /// Whether packets go on where nothing decides.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.role, Role::Host { plane } if plane != Plane::Normal)
    }
}

impl Content {
    /// Whether it is about a host endpoint.
    pub(super) fn is_host(&self) -> bool {
        matches!(self, Content::Endpoint(Endpoint { role: Role::Host { .. }, .. }))
    }

    /// Shares its tiers with others.
    pub(super) fn share(&mut self, tiers: &mut Pool<Tier>) {
        let mut share = |tier: &mut Arc<Tier>| *tier = tiers.share(Arc::clone(tier));
        match self {
            Content::Endpoint(endpoint) => endpoint.tiers.iter_mut().for_each(share),
            Content::Tier(tier) => share(tier),
            Content::Policy(..) | Content::Profile(..) => {}
        }
    }

    /// The name of the chain.
    pub(super) fn name(&self) -> SmolStr {
        match self {
            Content::Endpoint(endpoint) => endpoint.name(),
            Content::Tier(tier) => {
                let head = format_smolstr!("tier-{}", suffix(tier.direction, tier.place));
                names::name(&[&head, &tier.name, &names::hash(&tier.text())])
            }
            Content::Policy(id, direction, place) => {
                let head = format_smolstr!("policy-{}", suffix(*direction, *place));
                names::name(&[&head, &words::path(id)])
            }
            Content::Profile(name, direction, place) => {
                let head = format_smolstr!("profile-{}", suffix(*direction, *place));
                names::name(&[&head, name])
            }
        }
    }
}

impl Endpoint {
    fn name(&self) -> SmolStr {
        let head = match (self.role, self.direction) {
            (Role::Workload { .. }, Direction::Egress) => "from-workload".to_owned(),
            (Role::Workload { .. }, Direction::Ingress) => "to-workload".to_owned(),
            (Role::Host { plane }, Direction::Ingress) => format!("from-host/{}", word(plane)),
            (Role::Host { plane }, Direction::Egress) => format!("to-host/{}", word(plane)),
        };
        let mut text = format!("{:?}", self.role);
        let _ = write!(text, " {} ", self.after_early);
        self.tiers.iter().for_each(|tier| text.push_str(&tier.text()));
        let _ = write!(text, "{:?}", self.profiles);
        names::name(&[&head, &names::hash(&text)])
    }
}

impl Tier {
    /// All of it as text.
    fn text(&self) -> String {
        let mut text = format!("{:?} {:?} {}", self.name, self.place, self.denies);
        for id in &self.policies {
            let _ = write!(text, " {}", words::path(id));
        }
        text.push('\n');
        text
    }
}

fn word(plane: Plane) -> &'static str {
    match plane {
        Plane::Untracked => "untracked",
        Plane::PreDnat => "prednat",
        Plane::Forward => "forward",
        Plane::Normal => "normal",
    }
}

fn suffix(direction: Direction, place: Place) -> SmolStr {
    let direction = match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    match place {
        Place::Filter { http: false } => direction.into(),
        Place::Filter { http: true } => format_smolstr!("{direction}.http"),
        Place::PreDnat => format_smolstr!("{direction}.prednat"),
        Place::Untracked => format_smolstr!("{direction}.untracked"),
    }
}
