//! Everything needed for decisions at one moment.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::{
    Action, CompatPoint, Direction, EndpointId, Labels, Plane, PolicyId, Profile, Rule,
};

use super::decision::Decision;
use super::place::Place;
use super::program::{Plan, Program};
use super::rule::{Compiled, Origin};
use super::sets::Sets;
use super::traffic::Traffic;
use super::world::World;
use crate::{ActivePolicy, ActiveProfile, LocalEndpoint, LocalHost, State};

/// What one node has to enforce, ready for decisions.
#[derive(Debug, Default)]
pub struct Snapshot {
    world: World,
    policies: BTreeMap<PolicyId, Arc<Compiled>>,
    profiles: BTreeMap<SmolStr, Arc<Compiled>>,
    programs: HashMap<Plan, Arc<Program>>,
    endpoints: HashMap<EndpointId, Workload>,
    by_address: HashMap<IpAddr, EndpointId>,
    hosts: HashMap<SmolStr, Vec<(Plane, Both)>>,
    in_sync: bool,
}

/// A workload with its programs.
#[derive(Debug)]
struct Workload {
    endpoint: Arc<LocalEndpoint>,
    programs: Both,
}

/// The programs of both directions.
#[derive(Debug)]
struct Both {
    ingress: Arc<Program>,
    egress: Arc<Program>,
}

impl Both {
    fn get(&self, direction: Direction) -> &Program {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// How big a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Endpoints of the node.
    pub endpoints: usize,
    /// Policies that apply to them.
    pub policies: usize,
    /// Different lists of rules: endpoints with the same policies share theirs.
    pub programs: usize,
    /// Rules in these lists, all together.
    pub rules: usize,
}

impl Snapshot {
    /// Compiles a state.
    pub fn new(state: &State) -> Snapshot {
        Snapshot::default().next(state)
    }

    /// Compiles a later state. Policies and sets that are the same as in this one, by the address
    /// of what they are shared by, are not compiled again.
    #[must_use]
    pub fn next(&self, state: &State) -> Snapshot {
        let mut world = self.world.clone();
        let worn = world.sets.is_worn(state);
        world.update(state);
        let nothing = Snapshot::default();
        // Compiled rules name slots, and new slots are not the old ones.
        let old = if worn { &nothing } else { self };
        let policies = compile_policies(old, state, &mut world.sets);
        let profiles = compile_profiles(old, state, &mut world.sets);
        world.sets.close();
        let mut next = Snapshot {
            world,
            policies,
            profiles,
            by_address: by_address(state),
            in_sync: state.in_sync,
            ..Snapshot::default()
        };
        for (id, endpoint) in &state.endpoints {
            let workload = next.workload_of(old, endpoint);
            next.endpoints.insert(id.clone(), workload);
        }
        for (name, host) in &state.hosts {
            let planes = next.planes_of(old, host);
            next.hosts.insert(name.clone(), planes);
        }
        next
    }

    /// What decides at a workload in one direction, if it is one of the node's.
    pub fn workload(&self, id: &EndpointId, direction: Direction) -> Option<Place<'_>> {
        let workload = self.endpoints.get(id)?;
        let program = workload.programs.get(direction);
        Some(Place { world: &self.world, program, snapshot: self })
    }

    /// What decides at a host endpoint in one direction, in one of its planes.
    pub fn host(&self, name: &str, direction: Direction, plane: Plane) -> Option<Place<'_>> {
        let (_, programs) = self.hosts.get(name)?.iter().find(|(p, _)| *p == plane)?;
        Some(Place { world: &self.world, program: programs.get(direction), snapshot: self })
    }

    /// What comes of traffic at a workload; nothing if it is none of the node's.
    pub fn decide(
        &self,
        id: &EndpointId,
        direction: Direction,
        traffic: &Traffic<'_>,
    ) -> Option<Decision<'_>> {
        Some(self.workload(id, direction)?.decide(traffic))
    }

    /// The workloads of the node, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<LocalEndpoint>> {
        self.endpoints.values().map(|workload| &workload.endpoint)
    }

    /// A workload of the node.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Arc<LocalEndpoint>> {
        self.endpoints.get(id).map(|workload| &workload.endpoint)
    }

    /// The workload of the node that has an address; none if several claim it.
    pub fn endpoint_at(&self, address: IpAddr) -> Option<&Arc<LocalEndpoint>> {
        self.endpoint(self.by_address.get(&address.to_canonical())?)
    }

    /// Whether everything that was there at the start has been told.
    pub fn in_sync(&self) -> bool {
        self.in_sync
    }

    /// How big it is.
    pub fn size(&self) -> Size {
        Size {
            endpoints: self.endpoints.len(),
            policies: self.policies.len(),
            programs: self.programs.len(),
            rules: self.programs.values().map(|program| program.len()).sum(),
        }
    }

    fn workload_of(&mut self, old: &Snapshot, endpoint: &Arc<LocalEndpoint>) -> Workload {
        let profiles: Arc<[SmolStr]> = endpoint.profiles.as_slice().into();
        let programs = self.both(old, &endpoint.tiers, &profiles, false);
        Workload { endpoint: Arc::clone(endpoint), programs }
    }

    fn planes_of(&mut self, old: &Snapshot, host: &LocalHost) -> Vec<(Plane, Both)> {
        let profiles: Arc<[SmolStr]> = host.profiles.as_slice().into();
        let tiers_of = |plane| {
            let found = host.planes.iter().find(|(p, _)| *p == plane);
            found.map(|(_, tiers)| Arc::clone(tiers)).unwrap_or_default()
        };
        let mut both = |plane| self.both(old, &tiers_of(plane), &profiles, plane != Plane::Normal);
        Plane::ALL.into_iter().map(|plane| (plane, both(plane))).collect()
    }

    fn both(
        &mut self,
        old: &Snapshot,
        tiers: &Arc<[crate::EndpointTier]>,
        profiles: &Arc<[SmolStr]>,
        goes_on: bool,
    ) -> Both {
        let mut program = |direction| {
            let (tiers, profiles) = (Arc::clone(tiers), Arc::clone(profiles));
            self.program(old, Plan { tiers, profiles, direction, goes_on })
        };
        Both { ingress: program(Direction::Ingress), egress: program(Direction::Egress) }
    }

    /// The program of a plan: one that is made already, here or in the snapshot before, or a new one.
    fn program(&mut self, old: &Snapshot, plan: Plan) -> Arc<Program> {
        let policy = |id: &PolicyId| self.policies.get(id).cloned();
        let profile = |name: &SmolStr| self.profiles.get(name).cloned();
        if let Some(program) = self.programs.get(&plan) {
            return Arc::clone(program);
        }
        let kept = old.programs.get(&plan).filter(|program| program.is_current(policy, profile));
        let new = || Arc::new(Program::new(plan.clone(), policy, profile, &self.world.sets));
        let program = kept.cloned().unwrap_or_else(new);
        self.programs.insert(plan, Arc::clone(&program));
        program
    }
}

fn compile_policies(
    old: &Snapshot,
    state: &State,
    sets: &mut Sets,
) -> BTreeMap<PolicyId, Arc<Compiled>> {
    let mut compile = |id: &PolicyId, policy: &Arc<ActivePolicy>| {
        let same = |c: &&Arc<Compiled>| match &c.origin {
            Origin::Policy(before) => Arc::ptr_eq(before, policy),
            Origin::Profile(_) => false,
        };
        let kept = old.policies.get(id).filter(same).cloned();
        kept.unwrap_or_else(|| Arc::new(Compiled::new(Origin::Policy(Arc::clone(policy)), sets)))
    };
    state.policies.iter().map(|(id, policy)| (id.clone(), compile(id, policy))).collect()
}

fn compile_profiles(
    old: &Snapshot,
    state: &State,
    sets: &mut Sets,
) -> BTreeMap<SmolStr, Arc<Compiled>> {
    let mut compile = |name: &SmolStr, profile: &Arc<ActiveProfile>| {
        let same = |c: &&Arc<Compiled>| match &c.origin {
            Origin::Profile(before) => Arc::ptr_eq(before, profile),
            Origin::Policy(_) => false,
        };
        let kept = old.profiles.get(name).filter(same).cloned();
        kept.unwrap_or_else(|| Arc::new(Compiled::new(Origin::Profile(Arc::clone(profile)), sets)))
    };
    let known = state.profiles.iter();
    let mut profiles: BTreeMap<_, _> =
        known.map(|(name, profile)| (name.clone(), compile(name, profile))).collect();
    let skipped =
        state.settings.as_ref().is_some_and(|s| s.compat.has(CompatPoint::MissingProfile));
    let of_workloads = state.endpoints.values().flat_map(|e| &e.profiles);
    let named = of_workloads.chain(state.hosts.values().flat_map(|h| &h.profiles));
    for name in named.filter(|_| !skipped) {
        let missing = || compile(name, &Arc::new(missing_profile(name)));
        profiles.entry(name.clone()).or_insert_with(missing);
    }
    profiles
}

/// What stands for a profile that an endpoint names but that is not there: it denies.
fn missing_profile(name: &SmolStr) -> ActiveProfile {
    let rules = vec![Rule::any(Action::Deny)];
    let profile = Profile {
        name: name.clone(),
        labels: Labels::new(),
        ingress: rules.clone(),
        egress: rules,
    };
    ActiveProfile::new(Arc::new(profile))
}

/// Addresses of the node's workloads; not those that several claim.
fn by_address(state: &State) -> HashMap<IpAddr, EndpointId> {
    let mut claims: HashMap<IpAddr, Option<EndpointId>> = HashMap::new();
    for endpoint in state.endpoints.values() {
        for address in &endpoint.addresses {
            let claim = claims.entry(address.to_canonical());
            claim.and_modify(|first| *first = None).or_insert_with(|| Some(endpoint.id.clone()));
        }
    }
    claims.into_iter().filter_map(|(address, id)| Some((address, id?))).collect()
}
