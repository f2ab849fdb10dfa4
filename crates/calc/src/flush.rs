//! What a flush tells, in its order: whatever is referred to is told before what refers to it, and
//! taken back after it.

use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::{Account, PolicyId, Profile};

use crate::definition;
use crate::index::Pair;
use crate::locals::Name;
use crate::policies::{self, Body};
use crate::world::{FamilyName, Origin};
use crate::{ActivePolicy, ActiveProfile, Calculation, Update};

impl Calculation {
    /// Tells everything that is not as it was told before; nothing before [`Calculation::in_sync`].
    ///
    /// The order is: IP sets that are new, changes of their members, policies, profiles, endpoints;
    /// endpoints, profiles, policies and IP sets that are gone; service accounts, namespaces,
    /// addresses, settings; and at the end of the first flush, that everything has been told.
    pub fn flush(&mut self, out: &mut Vec<Update>) {
        if !self.in_sync {
            return;
        }
        self.settle_settings();
        self.settle_addresses();
        self.settle_index();
        let watched = self.policies.watch_subjects(&mut self.world.store);
        self.locals.watch(&watched, &self.world.store, &self.policies);
        self.locals.settle(&self.world.store, &mut self.policies);
        let mut removed = Removed::default();
        let policies = self.settle_policies(&mut removed);
        let profiles = self.settle_profiles(&mut removed);
        self.settle_services();
        self.sets.tell(out);
        out.extend(policies);
        out.extend(profiles);
        self.tell_locals(out);
        out.extend(removed.profiles.into_iter().map(Update::ProfileRemove));
        out.extend(removed.policies.into_iter().map(Update::PolicyRemove));
        self.sets.tell_removals(&self.world.store, out);
        self.tell_families(out);
        self.tell_rest(out);
        self.sweep();
    }

    /// Files selectors anew if the numbers of who has a label have changed much.
    fn settle_index(&mut self) {
        if self.world.store.take_growth() {
            self.sets.refile(&self.world.store);
            self.policies.subjects.refile(&self.world.store);
        }
    }

    /// Forgets texts that are in use no more. Nothing that was told is kept as numbers now.
    fn sweep(&mut self) {
        if !self.world.store.texts.wants_sweep() {
            return;
        }
        let (sets, policies, addresses) = (&self.sets, &self.policies, &self.addresses);
        self.world.sweep(|used| {
            sets.for_each_atom(used);
            policies.subjects.for_each_atom(used);
            addresses.for_each_atom(used);
        });
    }

    /// Takes up the sets of policies that are new, and leaves those of policies that are gone.
    fn settle_policies(&mut self, removed: &mut Removed) -> Vec<Update> {
        let mut updates = Vec::new();
        for (id, body) in self.policies.take_touched() {
            let told = self.told.policies.get(&id).map(|(told, _)| told);
            if told == body.as_ref() {
                continue;
            }
            let active = body.and_then(|body| self.activate(&id, body));
            match active {
                Some(active) => updates.push(Update::Policy(active)),
                None => {
                    let old = self.told.policies.remove(&id);
                    removed.policies.extend(old.is_some().then_some(id));
                    old.into_iter().for_each(|(_, sets)| self.release(&sets));
                }
            }
        }
        updates
    }

    fn activate(&mut self, id: &PolicyId, body: Body) -> Option<Arc<ActivePolicy>> {
        let policy = policies::unpack(id, &body, self.compat)?;
        let sets = definition::of_rules(|direction| policy.rules(direction));
        let sets = sets.map(|set| self.sets.acquire(set, &mut self.world.store)).collect();
        let old = self.told.policies.insert(id.clone(), (body, sets));
        old.into_iter().for_each(|(_, sets)| self.release(&sets));
        Some(Arc::new(ActivePolicy::new(policy)))
    }

    fn release(&mut self, sets: &[u32]) {
        sets.iter().for_each(|set| self.sets.release(*set));
    }

    fn settle_profiles(&mut self, removed: &mut Removed) -> Vec<Update> {
        let mut updates = Vec::new();
        for (name, had) in self.locals.take_profiles() {
            let profile = had.then(|| self.world.profile(&name)).flatten();
            match profile {
                Some((profile, origin)) => updates.extend(self.take_up(&name, profile, origin)),
                None => {
                    let old = self.told.profiles.remove(&name);
                    removed.profiles.extend(old.is_some().then_some(name));
                    old.into_iter().for_each(|(_, sets)| self.release(&sets));
                }
            }
        }
        updates
    }

    fn take_up(&mut self, name: &SmolStr, profile: Arc<Profile>, origin: Origin) -> Option<Update> {
        if self.told.profiles.get(name).is_some_and(|(told, _)| *told == origin) {
            return None;
        }
        let sets = definition::of_rules(|direction| profile.rules(direction));
        let sets = sets.map(|set| self.sets.acquire(set, &mut self.world.store)).collect();
        let old = self.told.profiles.insert(name.clone(), (origin, sets));
        old.into_iter().for_each(|(_, sets)| self.release(&sets));
        Some(Update::Profile(Arc::new(ActiveProfile::new(profile))))
    }

    /// Tells of workloads and interfaces: first those that are there, then those that are gone.
    fn tell_locals(&mut self, out: &mut Vec<Update>) {
        let mut gone = Vec::new();
        for name in self.locals.take_names() {
            match name {
                Name::Workload(id) => match self.locals.endpoint(&id, &self.world).map(Arc::new) {
                    Some(now) if self.told.endpoints.get(&id) == Some(&now) => {}
                    Some(now) => {
                        self.told.endpoints.insert(id, Arc::clone(&now));
                        out.push(Update::Endpoint(now));
                    }
                    None if self.told.endpoints.remove(&id).is_some() => {
                        gone.push(Update::EndpointRemove(id));
                    }
                    None => {}
                },
                Name::Host(name) => match self.locals.host(&name, &self.world).map(Arc::new) {
                    Some(now) if self.told.hosts.get(&name) == Some(&now) => {}
                    Some(now) => {
                        self.told.hosts.insert(name, Arc::clone(&now));
                        out.push(Update::Host(now));
                    }
                    None if self.told.hosts.remove(&name).is_some() => {
                        gone.push(Update::HostRemove(name));
                    }
                    None => {}
                },
            }
        }
        out.append(&mut gone);
    }

    /// Tells of service accounts, and then of namespaces; of each first who is gone.
    fn tell_families(&mut self, out: &mut Vec<Update>) {
        let first = !self.told.started;
        let changed: Vec<(SmolStr, Option<Box<[Pair]>>)> = match first {
            true => {
                let mut names: Vec<SmolStr> =
                    self.world.all_existing().map(|family| family.name.clone()).collect();
                names.sort_unstable();
                names.into_iter().map(|name| (name, None)).collect()
            }
            false => std::mem::take(&mut self.told.families).into_iter().collect(),
        };
        let (mut accounts, mut namespaces) = (Changed::default(), Changed::default());
        for (name, before) in changed {
            let now = self.world.existing(&name).map(|(_, labels)| labels);
            if now == before.as_deref() {
                continue;
            }
            let labels = now.map(|labels| Arc::new(self.world.unprefixed(labels)));
            match (FamilyName::of(&name), labels) {
                (FamilyName::Account(account), Some(labels)) => {
                    accounts.there.push(Update::ServiceAccount(account, labels));
                }
                (FamilyName::Account(account), None) => {
                    accounts.gone.push(Update::ServiceAccountRemove(account));
                }
                (FamilyName::Namespace(name), Some(labels)) => {
                    namespaces.there.push(Update::Namespace(name.into(), labels));
                }
                (FamilyName::Namespace(name), None) => {
                    namespaces.gone.push(Update::NamespaceRemove(name.into()));
                }
                (FamilyName::Profile, _) => {}
            }
        }
        for mut list in [accounts.gone, accounts.there, namespaces.gone, namespaces.there] {
            out.append(&mut list);
        }
    }

    fn tell_rest(&mut self, out: &mut Vec<Update>) {
        let addresses = self.addresses.changes(&self.world.store.texts);
        let users = |(address, users): (_, Vec<Account>)| Update::Address(address, users);
        out.extend(addresses.into_iter().map(users));
        if self.told.settings.as_ref() != Some(&self.current_settings) {
            self.told.settings = Some(Arc::clone(&self.current_settings));
            out.push(Update::Settings(Arc::clone(&self.current_settings)));
        }
        if !std::mem::replace(&mut self.told.started, true) {
            out.push(Update::InSync);
        }
    }
}

/// Names that are gone, to be told after those who referred to them.
#[derive(Default)]
struct Removed {
    policies: Vec<PolicyId>,
    profiles: Vec<SmolStr>,
}

#[derive(Default)]
struct Changed {
    gone: Vec<Update>,
    there: Vec<Update>,
}
