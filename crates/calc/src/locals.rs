//! The workloads and interfaces of the node, and the policies that apply to each, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use smol_str::SmolStr;
use tortie_policy::{
    DefaultAction, Direction, EndpointId, HostEndpoint, Interface, Plane, PolicyId, Tier,
    namespace_profile_name,
};

use crate::index::Store;
use crate::policies::{Policies, Slot};
use crate::what::{What, Workload};
use crate::world::{Change, Family, World, bits};
use crate::{EndpointTier, LocalEndpoint, LocalHost};

/// Everything on the node that policy is about.
#[derive(Default)]
pub(crate) struct Locals {
    /// Whether a host endpoint is of the node.
    node: Option<SmolStr>,
    locals: BTreeMap<u32, Local>,
    /// Those whose policies, or who themselves, may have changed.
    touched: BTreeSet<u32>,
    /// Names that may have come, gone or changed.
    names: BTreeSet<Name>,
    /// How many have a profile.
    profiles: BTreeMap<SmolStr, usize>,
    /// Profiles that may have come, gone or changed.
    touched_profiles: BTreeSet<SmolStr>,
}

/// One workload or interface.
#[derive(Default)]
struct Local {
    /// The subjects that match it.
    subjects: Vec<u32>,
    lists: Lists,
    profiles: Vec<SmolStr>,
}

/// The policies that apply.
#[derive(Debug, Clone, Default)]
struct Lists {
    planes: Arc<[(Plane, Arc<[EndpointTier]>)]>,
    policies: Arc<[PolicyId]>,
}

/// What a workload or interface is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Workload(EndpointId),
    Host(SmolStr),
}

type Holders = Store<What, Family>;

impl Locals {
    /// Of one node, or of all nodes together.
    pub(crate) fn new(node: Option<SmolStr>) -> Locals {
        Locals { node, ..Locals::default() }
    }

    fn name(&self, what: &What) -> Option<Name> {
        match what {
            What::Workload(w) if w.local && w.is_endpoint() => Some(Name::Workload(w.id.clone())),
            What::Host(h) if self.node.as_ref().is_none_or(|node| *node == h.node) => {
                Some(Name::Host(h.name.clone()))
            }
            _ => None,
        }
    }

    // === who is here ===

    /// Takes in that somebody with labels has changed.
    pub(crate) fn change(&mut self, change: &Change, store: &Holders, policies: &mut Policies) {
        let (id, was) = match change {
            Change::New(id) | Change::Inherited(id, _) => (*id, None),
            Change::Changed(id, was, _) | Change::Gone(id, was) => (*id, Some(was)),
            Change::Family(name, _) => {
                if self.profiles.contains_key(name) {
                    self.touched_profiles.insert(name.clone());
                }
                return;
            }
        };
        self.names.extend(was.and_then(|was| self.name(was)));
        let holder = match change {
            Change::Gone(..) => None,
            _ => store.get(id),
        };
        let here = holder.and_then(|holder| Some((holder, self.name(&holder.what)?)));
        let Some((holder, name)) = here else { return self.leave(id, policies) };
        self.names.insert(name);
        self.touched.insert(id);
        let old = self.locals.get(&id).map(|local| local.subjects.clone());
        let changed = if old.is_some() { bits(change) } else { crate::index::ALL_LABELS };
        let old = old.unwrap_or_default();
        let subjects = policies.subjects.selectors(holder, store, &old, changed);
        self.locals.entry(id).or_default().subjects = subjects;
    }

    fn leave(&mut self, id: u32, policies: &mut Policies) {
        let Some(local) = self.locals.remove(&id) else { return };
        self.touched.remove(&id);
        local.lists.policies.iter().for_each(|policy| policies.applies_not(policy));
        for name in &local.profiles {
            self.dismiss_profile(name);
        }
    }

    /// Subjects whose policies are not what they were.
    pub(crate) fn touch_subjects(&mut self, subjects: &[u32]) {
        for (id, local) in &self.locals {
            if subjects.iter().any(|subject| local.subjects.binary_search(subject).is_ok()) {
                self.touched.insert(*id);
            }
        }
    }

    /// A subject is no longer watched.
    pub(crate) fn forget_subjects(&mut self, subjects: &[u32], policies: &Policies) {
        for local in self.locals.values_mut() {
            local.subjects.retain(|subject| {
                !subjects.contains(subject)
                    || policies.with_subjects(std::slice::from_ref(subject)).next().is_some()
            });
        }
    }

    /// Finds who new subjects match.
    pub(crate) fn watch(&mut self, subjects: &[(u32, bool)], store: &Holders, policies: &Policies) {
        let here: Vec<u32> = self.locals.keys().copied().collect();
        let (mut known, mut new) = (Vec::new(), BTreeSet::new());
        for (subject, watched) in subjects {
            if *watched && !new.contains(subject) {
                known.push(*subject);
                continue;
            }
            new.insert(*subject);
            for id in policies.subjects.holders(*subject, store, Some(&here)) {
                self.touched.insert(id);
                let Some(local) = self.locals.get_mut(&id) else { continue };
                if let Err(place) = local.subjects.binary_search(subject) {
                    local.subjects.insert(place, *subject);
                }
            }
        }
        known.sort_unstable();
        known.dedup();
        self.touch_subjects(&known);
    }

    /// A tier is not what it was.
    pub(crate) fn touch_tier(&mut self, name: &SmolStr) {
        let has = |local: &Local| {
            let mut tiers = local.lists.planes.iter().flat_map(|(_, tiers)| tiers.iter());
            tiers.any(|tier| tier.name == *name)
        };
        let having = self.locals.iter().filter(|(_, local)| has(local));
        self.touched.extend(having.map(|(id, _)| *id));
    }

    // === which policies ===

    /// Works out the policies of everybody whose policies may have changed.
    pub(crate) fn settle(&mut self, store: &Holders, policies: &mut Policies) {
        let mut known: HashMap<(Vec<u32>, &[Plane]), Lists> = HashMap::new();
        for id in std::mem::take(&mut self.touched) {
            let Some(what) = store.get(id).map(|holder| &holder.what) else { continue };
            self.names.extend(self.name(what));
            let Some(local) = self.locals.get_mut(&id) else { continue };
            let planes = planes(what);
            let lists = known.entry((local.subjects.clone(), planes));
            let lists =
                lists.or_insert_with(|| lists_of(&local.subjects, planes, policies)).clone();
            let old = std::mem::replace(&mut local.lists, lists);
            if old.policies != local.lists.policies {
                local.lists.policies.iter().for_each(|policy| policies.applies(policy));
                old.policies.iter().for_each(|policy| policies.applies_not(policy));
            }
            self.settle_profiles(id, store);
        }
    }

    fn settle_profiles(&mut self, id: u32, store: &Holders) {
        let Some(holder) = store.get(id) else { return };
        let parents = holder.parents().iter().filter_map(|parent| store.parent(*parent));
        let profiles: Vec<SmolStr> = parents.map(|parent| parent.what.name.clone()).collect();
        let Some(local) = self.locals.get_mut(&id) else { return };
        if local.profiles == profiles {
            return;
        }
        let old = std::mem::replace(&mut local.profiles, profiles.clone());
        for name in profiles {
            *self.profiles.entry(name.clone()).or_default() += 1;
            self.touched_profiles.insert(name);
        }
        for name in old {
            self.dismiss_profile(&name);
        }
    }

    fn dismiss_profile(&mut self, name: &SmolStr) {
        if let Some(count) = self.profiles.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.profiles.remove(name);
                self.touched_profiles.insert(name.clone());
            }
        }
    }

    /// The profiles that may have changed, with whether somebody has them.
    pub(crate) fn take_profiles(&mut self) -> Vec<(SmolStr, bool)> {
        let touched = std::mem::take(&mut self.touched_profiles);
        touched
            .into_iter()
            .map(|name| {
                let had = self.profiles.contains_key(&name);
                (name, had)
            })
            .collect()
    }

    // === what they are ===

    /// The names that may have come, gone or changed.
    pub(crate) fn take_names(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.names)
    }

    /// A workload of the node as it is now.
    pub(crate) fn endpoint(&self, id: &EndpointId, world: &World) -> Option<LocalEndpoint> {
        let (number, holder) = world.workload(id)?;
        let What::Workload(workload) = &holder.what else { return None };
        let local = self.locals.get(&number)?;
        let tiers = local.lists.planes.first().map(|(_, tiers)| Arc::clone(tiers));
        Some(LocalEndpoint {
            id: id.clone(),
            interface: match &workload.interface {
                Some(name) => SmolStr::clone(name),
                None => crate::interface_name(id),
            },
            addresses: workload.addresses.to_vec(),
            account: Some(workload.account(&world.store.texts)),
            tiers: tiers.unwrap_or_default(),
            profiles: world.counting_profiles(&local.profiles),
            ports: workload.ports.to_vec(),
            application_enforced: is_enforced(workload, world),
            spoofed_sources: Vec::new(),
        })
    }

    /// An interface of the node as it is now.
    pub(crate) fn host(&self, name: &SmolStr, world: &World) -> Option<LocalHost> {
        let (number, holder) = world.host(name)?;
        let What::Host(host) = &holder.what else { return None };
        let local = self.locals.get(&number)?;
        let HostEndpoint { interface, addresses, .. } = &**host;
        Some(LocalHost {
            name: name.clone(),
            interface: interface.clone(),
            addresses: addresses.clone(),
            planes: local.lists.planes.to_vec(),
            profiles: world.counting_profiles(&local.profiles),
        })
    }
}

fn is_enforced(workload: &Workload, world: &World) -> bool {
    let namespace = namespace_profile_name(&workload.id.namespace);
    let asks = || world.existing(&namespace).is_some_and(|(family, _)| family.sidecars);
    workload.enforced || workload.sidecar && asks()
}

/// The planes in which policies are asked.
fn planes(what: &What) -> &'static [Plane] {
    match what {
        What::Workload(_) | What::Set(_) => &[Plane::Normal],
        What::Host(host) if host.interface == Interface::All => {
            &[Plane::PreDnat, Plane::Forward, Plane::Normal]
        }
        What::Host(_) => &Plane::ALL,
    }
}

fn lists_of(subjects: &[u32], planes: &[Plane], policies: &Policies) -> Lists {
    let mut found: Vec<&Slot> = policies.with_subjects(subjects).map(|(_, slot)| slot).collect();
    found.sort_by_cached_key(|slot| (slot.order, slot.id.tie_key(), slot.id.clone()));
    let mut by_tier: BTreeMap<&SmolStr, Vec<&Slot>> = BTreeMap::new();
    for slot in found {
        by_tier.entry(&slot.tier).or_default().push(slot);
    }
    let mut tiers: Vec<(Tier, Vec<&Slot>)> =
        by_tier.into_iter().map(|(name, slots)| (policies.tier(name), slots)).collect();
    tiers.sort_by(|(a, _), (b, _)| a.sort_key().cmp(&b.sort_key()));
    let planes: Arc<[(Plane, Arc<[EndpointTier]>)]> = planes
        .iter()
        .map(|plane| (*plane, tiers_in(*plane, &tiers)))
        .filter(|(_, tiers)| !tiers.is_empty())
        .collect();
    let named = planes.iter().flat_map(|(_, tiers)| tiers.iter());
    let named = named.flat_map(|tier| tier.ingress.iter().chain(&tier.egress));
    let mut named: Vec<PolicyId> = named.cloned().collect();
    named.sort_unstable();
    named.dedup();
    Lists { planes, policies: named.into() }
}

fn tiers_in(plane: Plane, tiers: &[(Tier, Vec<&Slot>)]) -> Arc<[EndpointTier]> {
    let of = |slots: &[&Slot], direction| {
        let governing = slots.iter().filter(|s| s.applies_in(plane) && s.governs(direction));
        governing.map(|slot| slot.id.clone()).collect::<Vec<_>>()
    };
    let tiers = tiers.iter().map(|(tier, slots)| EndpointTier {
        name: tier.name.clone(),
        default_action: match plane {
            Plane::Untracked | Plane::PreDnat => DefaultAction::Pass,
            Plane::Forward | Plane::Normal => tier.default_action,
        },
        ingress: of(slots, Direction::Ingress),
        egress: of(slots, Direction::Egress),
    });
    tiers.filter(|tier| !tier.ingress.is_empty() || !tier.egress.is_empty()).collect()
}
