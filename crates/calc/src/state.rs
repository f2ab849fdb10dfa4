//! What an engine knows after the updates it was sent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::{Account, EndpointId, Labels, PolicyId};

use crate::{
    ActivePolicy, ActiveProfile, LocalEndpoint, LocalHost, Member, RuleSets, SetId, SetKind,
    Settings, Update,
};

/// Everything one node has to enforce, as told by [`Update`]s.
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
    /// Who uses an address.
    pub addresses: HashMap<IpAddr, Vec<Account>>,
    /// Settings, if the sender knows of them.
    pub settings: Option<Arc<Settings>>,
    /// Whether everything that was there at the start has been told.
    pub in_sync: bool,
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
            Update::IpSetIncomplete(id, incomplete) => {
                self.set(&id)?.incomplete = incomplete;
            }
            Update::IpSetRemove(id) => return self.remove_set(&id),
            Update::Policy(policy) => {
                let missing = self.missing_set(policy.ingress.iter().chain(&policy.egress));
                let id = policy.policy.id.clone();
                self.policies.insert(id.clone(), policy);
                return found(missing, |set| Disorder::UnknownSet(id.to_string(), set));
            }
            Update::PolicyRemove(id) => return self.remove_policy(&id),
            Update::Profile(profile) => {
                let missing = self.missing_set(profile.ingress.iter().chain(&profile.egress));
                let name = profile.profile.name.clone();
                self.profiles.insert(name.clone(), profile);
                return found(missing, |set| Disorder::UnknownSet(format!("profile {name}"), set));
            }
            Update::ProfileRemove(name) => return self.remove_profile(&name),
            Update::Endpoint(endpoint) => return self.endpoint(endpoint),
            Update::EndpointRemove(id) => {
                let was = self.endpoints.remove(&id);
                return existed(was.is_some(), || id.to_string());
            }
            Update::Host(host) => drop(self.hosts.insert(host.name.clone(), host)),
            Update::HostRemove(name) => {
                let was = self.hosts.remove(&name);
                return existed(was.is_some(), || format!("host endpoint {name}"));
            }
            Update::ServiceAccount(account, labels) => {
                self.accounts.insert(account, labels);
            }
            Update::ServiceAccountRemove(account) => drop(self.accounts.remove(&account)),
            Update::Namespace(name, labels) => drop(self.namespaces.insert(name, labels)),
            Update::NamespaceRemove(name) => drop(self.namespaces.remove(&name)),
            Update::Address(address, accounts) if accounts.is_empty() => {
                self.addresses.remove(&address);
            }
            Update::Address(address, accounts) => drop(self.addresses.insert(address, accounts)),
            Update::Settings(settings) => self.settings = Some(settings),
        }
        Ok(())
    }

    fn set(&mut self, id: &SetId) -> Result<&mut IpSet, Disorder> {
        let set = self.sets.get_mut(id).map(Arc::make_mut);
        set.ok_or_else(|| Disorder::UnknownSetChanged(id.clone()))
    }

    fn delta(&mut self, id: &SetId, added: Vec<Member>, removed: &[Member]) -> Result<(), Disorder> {
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
        let policies = self.policies.values().flat_map(|p| p.ingress.iter().chain(&p.egress));
        let profiles = self.profiles.values().flat_map(|p| p.ingress.iter().chain(&p.egress));
        let named = policies.chain(profiles).flat_map(RuleSets::ids).any(|named| named == id);
        unreferred(named, || format!("the set `{id}`"))
    }

    fn remove_policy(&mut self, id: &PolicyId) -> Result<(), Disorder> {
        existed(self.policies.remove(id).is_some(), || id.to_string())?;
        let mut tiers = self.endpoints.values().flat_map(|e| e.tiers.iter());
        let named = tiers.any(|tier| tier.ingress.contains(id) || tier.egress.contains(id));
        unreferred(named, || id.to_string())
    }

    fn remove_profile(&mut self, name: &SmolStr) -> Result<(), Disorder> {
        existed(self.profiles.remove(name).is_some(), || format!("profile {name}"))?;
        let named = self.endpoints.values().any(|e| e.profiles.contains(name));
        unreferred(named, || format!("profile {name}"))
    }

    fn endpoint(&mut self, endpoint: Arc<LocalEndpoint>) -> Result<(), Disorder> {
        let named = endpoint.tiers.iter().flat_map(|t| t.ingress.iter().chain(&t.egress));
        let missing = named.into_iter().find(|id| !self.policies.contains_key(*id)).cloned();
        let id = endpoint.id.clone();
        self.endpoints.insert(id.clone(), endpoint);
        found(missing, |policy| Disorder::UnknownPolicy(id.to_string(), policy))
    }

    fn missing_set<'a>(&self, sets: impl Iterator<Item = &'a RuleSets>) -> Option<SetId> {
        sets.flat_map(RuleSets::ids).find(|id| !self.sets.contains_key(*id)).cloned()
    }
}

fn found<T>(missing: Option<T>, disorder: impl FnOnce(T) -> Disorder) -> Result<(), Disorder> {
    missing.map_or(Ok(()), |missing| Err(disorder(missing)))
}

fn existed(was: bool, what: impl FnOnce() -> String) -> Result<(), Disorder> {
    if was { Ok(()) } else { Err(Disorder::Removal(what(), "it is not there")) }
}

fn unreferred(named: bool, what: impl FnOnce() -> String) -> Result<(), Disorder> {
    if named { Err(Disorder::Removal(what(), "something still names it")) } else { Ok(()) }
}
