//! What an engine knows after the updates it was sent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::{Account, EndpointId, Labels, PolicyId};

use crate::{
    ActivePolicy, ActiveProfile, ByAddress, EndpointTier, LocalEndpoint, LocalHost, Member,
    RuleSets, SetId, SetKind, Settings, Update,
};

/// Everything one node has to enforce, as told by [`Update`]s. Clones share what is big.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// IP sets. Copies of a state share them.
    pub sets: HashMap<SetId, Arc<IpSet>>,
    /// Policies that apply to an endpoint of the node.
    pub policies: BTreeMap<PolicyId, Arc<ActivePolicy>>,
    /// Profiles of the node's endpoints.
    pub profiles: BTreeMap<SmolStr, Arc<ActiveProfile>>,
    /// The node's workloads.
    pub endpoints: BTreeMap<EndpointId, Arc<LocalEndpoint>>,
    /// The node's interfaces.
    pub hosts: BTreeMap<SmolStr, Arc<LocalHost>>,
    /// Labels of service accounts.
    pub accounts: BTreeMap<Account, Arc<Labels>>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<SmolStr, Arc<Labels>>,
    /// Who uses an address; more than one account where it is disputed.
    pub addresses: ByAddress<Arc<[Account]>>,
    /// Settings, if the sender knows of them.
    pub settings: Option<Arc<Settings>>,
    /// Whether everything that was there at the start has been told.
    pub in_sync: bool,
    references: References,
}

/// How often something is named: a removal must come after the last.
#[derive(Debug, Clone, Default)]
struct References {
    sets: HashMap<SetId, usize>,
    policies: HashMap<PolicyId, usize>,
    profiles: HashMap<SmolStr, usize>,
}

/// One IP set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpSet {
    /// What its members are.
    pub kind: SetKind,
    /// Members.
    pub members: HashSet<Member>,
    /// Whether there are members that could not be read, so that what is no member may be one all
    /// the same.
    pub incomplete: bool,
}

/// An update that breaks the order of updates. It has been applied all the same, as far as it
/// makes sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disorder {
    /// A rule names a set that is not there.
    #[error("{0} names the set `{1}`, which is not there")]
    UnknownSet(String, SetId),
    /// An endpoint names a policy that is not there.
    #[error("{0} names {1}, which is not there")]
    UnknownPolicy(String, PolicyId),
    /// A delta or removal of a set that is not there.
    #[error("the set `{0}` changes before it is there")]
    UnknownSetChanged(SetId),
    /// Something removed that was never there, or still is referred to.
    #[error("{0} is removed, but {1}")]
    Removal(String, &'static str),
}

impl State {
    /// Takes in one update.
    ///
    /// # Errors
    /// If the update breaks the order of updates; see [`Disorder`].
    pub fn apply(&mut self, update: Update) -> Result<(), Disorder> {
        match update {
            Update::InSync => self.in_sync = true,
            Update::IpSet { id, kind, members } => {
                let members = members.into_iter().collect();
                self.sets.insert(id, Arc::new(IpSet { kind, members, incomplete: false }));
            }
            Update::IpSetDelta { id, added, removed } => return self.delta(&id, added, &removed),
            Update::IpSetIncomplete(id, incomplete) => self.set(&id)?.incomplete = incomplete,
            Update::IpSetRemove(id) => return self.remove_set(&id),
            Update::Policy(policy) => return self.policy(policy),
            Update::PolicyRemove(id) => return self.remove_policy(&id),
            Update::Profile(profile) => return self.profile(profile),
            Update::ProfileRemove(name) => return self.remove_profile(&name),
            Update::Endpoint(endpoint) => return self.endpoint(endpoint),
            Update::EndpointRemove(id) => return self.remove_endpoint(&id),
            Update::Host(host) => self.host(host),
            Update::HostRemove(name) => return self.remove_host(&name),
            Update::ServiceAccount(account, labels) => {
                self.accounts.insert(account, labels);
            }
            Update::ServiceAccountRemove(account) => drop(self.accounts.remove(&account)),
            Update::Namespace(name, labels) => drop(self.namespaces.insert(name, labels)),
            Update::NamespaceRemove(name) => drop(self.namespaces.remove(&name)),
            Update::Address(address, accounts) if accounts.is_empty() => {
                self.addresses.remove(&address.to_canonical());
            }
            Update::Address(address, accounts) => {
                self.addresses.insert(address.to_canonical(), accounts.into());
            }
            Update::Settings(settings) => self.settings = Some(settings),
        }
        Ok(())
    }

    fn set(&mut self, id: &SetId) -> Result<&mut IpSet, Disorder> {
        let set = self.sets.get_mut(id).map(Arc::make_mut);
        set.ok_or_else(|| Disorder::UnknownSetChanged(id.clone()))
    }

    fn delta(
        &mut self,
        id: &SetId,
        added: Vec<Member>,
        removed: &[Member],
    ) -> Result<(), Disorder> {
        let set = self.set(id)?;
        set.members.extend(added);
        for member in removed {
            set.members.remove(member);
        }
        Ok(())
    }

    fn remove_set(&mut self, id: &SetId) -> Result<(), Disorder> {
        if self.sets.remove(id).is_none() {
            return Err(Disorder::UnknownSetChanged(id.clone()));
        }
        unreferred(&self.references.sets, id, || format!("the set `{id}`"))
    }

    fn policy(&mut self, policy: Arc<ActivePolicy>) -> Result<(), Disorder> {
        let missing = self.refer_to_sets(policy.all_sets());
        let id = policy.policy.id.clone();
        if let Some(old) = self.policies.insert(id.clone(), policy) {
            release_all(&mut self.references.sets, old.all_sets().flat_map(RuleSets::ids));
        }
        found(missing, |set| Disorder::UnknownSet(id.to_string(), set))
    }

    fn remove_policy(&mut self, id: &PolicyId) -> Result<(), Disorder> {
        let Some(old) = self.policies.remove(id) else { return Err(absent(id.to_string())) };
        release_all(&mut self.references.sets, old.all_sets().flat_map(RuleSets::ids));
        unreferred(&self.references.policies, id, || id.to_string())
    }

    fn profile(&mut self, profile: Arc<ActiveProfile>) -> Result<(), Disorder> {
        let missing = self.refer_to_sets(profile.all_sets());
        let name = profile.profile.name.clone();
        if let Some(old) = self.profiles.insert(name.clone(), profile) {
            release_all(&mut self.references.sets, old.all_sets().flat_map(RuleSets::ids));
        }
        found(missing, |set| Disorder::UnknownSet(format!("profile {name}"), set))
    }

    fn remove_profile(&mut self, name: &SmolStr) -> Result<(), Disorder> {
        let what = || format!("profile {name}");
        let Some(old) = self.profiles.remove(name) else { return Err(absent(what())) };
        release_all(&mut self.references.sets, old.all_sets().flat_map(RuleSets::ids));
        unreferred(&self.references.profiles, name, what)
    }

    fn endpoint(&mut self, endpoint: Arc<LocalEndpoint>) -> Result<(), Disorder> {
        let named = endpoint.tiers.iter().flat_map(|t| t.ingress.iter().chain(&t.egress));
        let missing = named.into_iter().find(|id| !self.policies.contains_key(*id)).cloned();
        self.refer(endpoint.tiers.iter(), &endpoint.profiles);
        let id = endpoint.id.clone();
        if let Some(old) = self.endpoints.insert(id.clone(), endpoint) {
            self.release(old.tiers.iter(), &old.profiles);
        }
        found(missing, |policy| Disorder::UnknownPolicy(id.to_string(), policy))
    }

    fn remove_endpoint(&mut self, id: &EndpointId) -> Result<(), Disorder> {
        let Some(old) = self.endpoints.remove(id) else { return Err(absent(id.to_string())) };
        self.release(old.tiers.iter(), &old.profiles);
        Ok(())
    }

    fn host(&mut self, host: Arc<LocalHost>) {
        self.refer(host.all_tiers(), &host.profiles);
        if let Some(old) = self.hosts.insert(host.name.clone(), host) {
            self.release(old.all_tiers(), &old.profiles);
        }
    }

    fn remove_host(&mut self, name: &SmolStr) -> Result<(), Disorder> {
        let Some(old) = self.hosts.remove(name) else {
            return Err(absent(format!("host endpoint {name}")));
        };
        self.release(old.all_tiers(), &old.profiles);
        Ok(())
    }

    /// Counts the sets as named, and says which is not there.
    fn refer_to_sets<'a>(&mut self, sets: impl Iterator<Item = &'a RuleSets>) -> Option<SetId> {
        let mut missing = None;
        for id in sets.flat_map(RuleSets::ids) {
            *self.references.sets.entry(id.clone()).or_default() += 1;
            if missing.is_none() && !self.sets.contains_key(id) {
                missing = Some(id.clone());
            }
        }
        missing
    }

    fn refer<'a>(
        &mut self,
        tiers: impl IntoIterator<Item = &'a EndpointTier>,
        profiles: &[SmolStr],
    ) {
        for id in tiers.into_iter().flat_map(|t| t.ingress.iter().chain(&t.egress)) {
            *self.references.policies.entry(id.clone()).or_default() += 1;
        }
        for name in profiles {
            *self.references.profiles.entry(name.clone()).or_default() += 1;
        }
    }

    fn release<'a>(
        &mut self,
        tiers: impl IntoIterator<Item = &'a EndpointTier>,
        profiles: &[SmolStr],
    ) {
        let named = tiers.into_iter().flat_map(|t| t.ingress.iter().chain(&t.egress));
        release_all(&mut self.references.policies, named);
        release_all(&mut self.references.profiles, profiles);
    }
}

impl ActivePolicy {
    /// The sets of all rules.
    fn all_sets(&self) -> impl Iterator<Item = &RuleSets> {
        self.ingress.iter().chain(&self.egress)
    }
}

impl ActiveProfile {
    /// The sets of all rules.
    fn all_sets(&self) -> impl Iterator<Item = &RuleSets> {
        self.ingress.iter().chain(&self.egress)
    }
}

impl LocalHost {
    /// The tiers of all planes.
    fn all_tiers(&self) -> impl Iterator<Item = &EndpointTier> {
        self.planes.iter().flat_map(|(_, tiers)| tiers.iter())
    }
}

fn release_all<'a, K: Hash + Eq + 'a>(
    references: &mut HashMap<K, usize>,
    named: impl IntoIterator<Item = &'a K>,
) {
    for key in named {
        let left = references.get_mut(key).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            references.remove(key);
        }
    }
}

fn found<T>(missing: Option<T>, disorder: impl FnOnce(T) -> Disorder) -> Result<(), Disorder> {
    missing.map_or(Ok(()), |missing| Err(disorder(missing)))
}

fn absent(what: String) -> Disorder {
    Disorder::Removal(what, "it is not there")
}

fn unreferred<K: Hash + Eq>(
    references: &HashMap<K, usize>,
    key: &K,
    what: impl FnOnce() -> String,
) -> Result<(), Disorder> {
    match references.contains_key(key) {
        true => Err(Disorder::Removal(what(), "something still names it")),
        false => Ok(()),
    }
}
