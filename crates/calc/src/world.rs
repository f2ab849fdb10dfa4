//! Everything with labels, as it is now: workloads, host endpoints and network sets, and the
//! namespaces, service accounts and profiles they inherit from.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use tortie_policy::{
    Account, Endpoint, EndpointId, Labels, Profile, account_profile, account_profile_name,
    missing_profile, namespace_profile, namespace_profile_name, unseen_account, unseen_namespace,
};

use crate::index::{ALL_LABELS, Holder, Pair, Store};
use crate::intern::{Atom, Interner};
use crate::what::{Claim, Nets, What, Workload};

/// Everything with labels.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) store: Store<What, Family>,
    workloads: HashMap<EndpointId, u32>,
    hosts: HashMap<SmolStr, u32>,
    nets: HashMap<(Option<SmolStr>, SmolStr), u32>,
    families: HashMap<SmolStr, u32>,
    /// Workloads that several resources describe, with all descriptions.
    contested: HashMap<EndpointId, BTreeMap<Claim, Described>>,
    /// What has happened and is not yet known elsewhere.
    pub(crate) changes: Vec<Change>,
    /// Whether profiles that do not exist are passed over.
    pub(crate) passes_missing_profiles: bool,
}

/// Where the rules of a profile come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// They are those of every namespace, or of every service account.
    Generated,
    /// A Profile, with this specification.
    Written(Arc<[u8]>),
    /// There is no such profile.
    Missing,
}

/// Who inherits from a profile, by its name.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) name: SmolStr,
    /// Whether a resource describes it: a Namespace, a ServiceAccount or a Profile.
    described: bool,
    /// How many use a namespace or service account, which is there if only for that.
    users: u32,
    /// Whether a namespace asks for sidecars.
    pub(crate) sidecars: bool,
    /// A Profile that is written out.
    profile: Option<Written>,
}

/// A Profile that is written out, without its labels: who enforces rules has no use for them.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    profile: Arc<Profile>,
    /// Its specification as text, to tell whether it has changed.
    text: Arc<[u8]>,
}

impl Family {
    /// Whether it exists, if only because it is used.
    pub(crate) fn exists(&self) -> bool {
        self.described || self.users > 0
    }
}

/// A workload with what it inherits from.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) workload: Workload,
    pub(crate) labels: Labels,
    pub(crate) profiles: Vec<SmolStr>,
}

/// What happened to somebody with labels.
#[derive(Debug)]
pub(crate) enum Change {
    /// Somebody new.
    New(u32),
    /// Somebody is not what it was; the bits are of labels that changed.
    Changed(u32, What, u64),
    /// Somebody inherits other labels, of these bits.
    Inherited(u32, u64),
    /// Somebody is gone.
    Gone(u32, What),
    /// A namespace, service account or profile came, went or changed. Its labels before, if it was
    /// there.
    Family(SmolStr, Option<Box<[Pair]>>),
}

/// What a profile's name says it belongs to.
pub(crate) enum FamilyName<'n> {
    Namespace(&'n str),
    Account(Account),
    Profile,
}

impl FamilyName<'_> {
    pub(crate) fn of(name: &SmolStr) -> FamilyName<'_> {
        let account = |rest: &str| {
            let (namespace, name) = rest.split_once('.')?;
            Some(Account { namespace: namespace.into(), name: name.into() })
        };
        match (name.strip_prefix("kns."), name.strip_prefix("ksa.").and_then(account)) {
            (Some(namespace), _) => FamilyName::Namespace(namespace),
            (_, Some(account)) => FamilyName::Account(account),
            _ => FamilyName::Profile,
        }
    }
}

impl World {
    // === workloads, host endpoints and network sets ===

    /// A resource describes a workload, or does not any more.
    pub(crate) fn claim(&mut self, id: &EndpointId, claim: &Claim, described: Option<Described>) {
        let current = self.workload(id).map(|(_, holder)| holder);
        let current = current.and_then(|holder| match &holder.what {
            What::Workload(workload) => Some(workload.claim.clone()),
            _ => None,
        });
        let sole = current.as_ref().is_none_or(|current| current == claim);
        if !self.contested.contains_key(id) && sole {
            return self.put_workload(id, described);
        }
        let first = match self.contested.contains_key(id) {
            true => None,
            false => current.zip(self.described(id)),
        };
        let claims = self.contested.entry(id.clone()).or_default();
        claims.extend(first);
        match described {
            Some(described) => drop(claims.insert(claim.clone(), described)),
            None => drop(claims.remove(claim)),
        }
        let winner = claims.values().next().cloned();
        if claims.len() < 2 {
            self.contested.remove(id);
        }
        self.put_workload(id, winner);
    }

    fn put_workload(&mut self, id: &EndpointId, described: Option<Described>) {
        let old = self.workloads.get(id).copied();
        let Some(Described { workload, labels, profiles }) = described else {
            self.workloads.remove(id);
            return self.remove(old);
        };
        let what = What::Workload(workload);
        let used = used_by(&what, &self.store.texts);
        let before = old.and_then(|id| self.users_of(id)).unwrap_or_default();
        if used == before {
            self.put(old, what, &labels, &profiles);
            return;
        }
        used.iter().for_each(|name| self.employ(name));
        if let Some(id) = self.put(old, what, &labels, &profiles) {
            self.workloads.insert(self.id_of(id), id);
        }
        before.iter().for_each(|name| self.dismiss(name));
    }

    /// The namespace and service account that somebody uses.
    fn users_of(&self, id: u32) -> Option<Vec<SmolStr>> {
        Some(used_by(&self.store.get(id)?.what, &self.store.texts))
    }

    fn id_of(&self, id: u32) -> EndpointId {
        match self.store.get(id).map(|holder| &holder.what) {
            Some(What::Workload(workload)) => workload.id.clone(),
            _ => EndpointId { namespace: SmolStr::default(), name: SmolStr::default() },
        }
    }

    /// A host endpoint is there, or is not any more.
    pub(crate) fn put_host(&mut self, name: &SmolStr, host: Option<tortie_policy::HostEndpoint>) {
        let old = self.hosts.get(name).copied();
        let Some(mut host) = host else {
            self.hosts.remove(name);
            return self.remove(old);
        };
        let (labels, profiles) = (std::mem::take(&mut host.labels), host.profiles.clone());
        if let Some(id) = self.put(old, What::Host(Box::new(host)), &labels, &profiles) {
            self.hosts.insert(name.clone(), id);
        }
    }

    /// A network set is there, or is not any more.
    pub(crate) fn put_set(&mut self, key: (Option<SmolStr>, SmolStr), set: Option<(Nets, Labels)>) {
        let old = self.nets.get(&key).copied();
        let Some((nets, labels)) = set else {
            self.nets.remove(&key);
            return self.remove(old);
        };
        let family = key.0.as_deref().map(namespace_profile_name);
        family.iter().for_each(|name| self.employ(name));
        let before = old.and_then(|id| self.users_of(id));
        let profiles: Vec<SmolStr> = family.into_iter().collect();
        if let Some(id) = self.put(old, What::Set(Box::new(nets)), &labels, &profiles) {
            self.nets.insert(key, id);
        }
        before.into_iter().flatten().for_each(|name| self.dismiss(&name));
    }

    /// Puts something in the place of `old`, if there is one; returns the id of something new.
    fn put(
        &mut self,
        old: Option<u32>,
        what: What,
        labels: &Labels,
        profiles: &[SmolStr],
    ) -> Option<u32> {
        let own = self.pairs(labels);
        let parents: Box<[u32]> = profiles.iter().map(|name| self.family(name)).collect();
        let Some(id) = old else {
            let id = self.store.insert(own, parents, what);
            self.changes.push(Change::New(id));
            return Some(id);
        };
        let before: Box<[u32]> = self.store.get(id).map(|h| h.parents().into()).unwrap_or_default();
        let same = self.store.get(id).is_some_and(|holder| {
            holder.what == what && *holder.own() == *own && before == parents
        });
        if !same {
            let bits = self.store.relabel(id, own, parents);
            if let Some(was) = self.store.replace(id, what) {
                self.changes.push(Change::Changed(id, was, bits));
            }
        }
        self.abandon(&before);
        None
    }

    fn remove(&mut self, id: Option<u32>) {
        let Some((id, holder)) = id.and_then(|id| Some((id, self.store.remove(id)?))) else {
            return;
        };
        let used = used_by(&holder.what, &self.store.texts);
        let parents: Box<[u32]> = holder.parents().into();
        self.changes.push(Change::Gone(id, holder.what));
        self.abandon(&parents);
        used.iter().for_each(|name| self.dismiss(name));
    }

    /// The workload of a name.
    pub(crate) fn workload(&self, id: &EndpointId) -> Option<(u32, &Holder<What>)> {
        let number = *self.workloads.get(id)?;
        Some((number, self.store.get(number)?))
    }

    /// The host endpoint of a name.
    pub(crate) fn host(&self, name: &str) -> Option<(u32, &Holder<What>)> {
        let number = *self.hosts.get(name)?;
        Some((number, self.store.get(number)?))
    }

    /// A workload as it was described.
    pub(crate) fn described(&self, id: &EndpointId) -> Option<Described> {
        let (_, holder) = self.workload(id)?;
        let What::Workload(workload) = &holder.what else { return None };
        let profiles = holder.parents().iter().filter_map(|p| self.store.parent(*p));
        Some(Described {
            workload: workload.clone(),
            labels: self.labels(holder.own()),
            profiles: profiles.map(|parent| parent.what.name.clone()).collect(),
        })
    }

    /// Gives a workload other addresses.
    pub(crate) fn readdress(&mut self, id: &EndpointId, addresses: Box<[std::net::IpAddr]>) {
        let Some((number, holder)) = self.workload(id) else { return };
        let What::Workload(workload) = &holder.what else { return };
        if workload.addresses == addresses {
            return;
        }
        let what = What::Workload(Workload { addresses, ..workload.clone() });
        if let Some(was) = self.store.replace(number, what) {
            self.changes.push(Change::Changed(number, was, 0));
        }
    }

    /// The workloads of a namespace, with their own labels alone, as endpoints.
    pub(crate) fn endpoints_of(&self, namespace: &str) -> Vec<(Endpoint, &Workload)> {
        let workloads = self.store.iter().filter_map(|(_, holder)| match &holder.what {
            What::Workload(workload) if workload.id.namespace == namespace => {
                Some((self.endpoint(holder, workload), workload))
            }
            _ => None,
        });
        workloads.collect()
    }

    /// A workload as an endpoint without addresses and labels.
    pub(crate) fn bare_endpoint(&self, id: &EndpointId) -> Option<Endpoint> {
        let (_, holder) = self.workload(id)?;
        let What::Workload(workload) = &holder.what else { return None };
        let endpoint = self.endpoint(holder, workload);
        Some(Endpoint { addresses: Vec::new(), labels: Labels::new(), ..endpoint })
    }

    fn endpoint(&self, holder: &Holder<What>, workload: &Workload) -> Endpoint {
        let account = self.store.texts.text(workload.user.1).clone();
        Endpoint {
            id: workload.id.clone(),
            node: None,
            addresses: workload.addresses.to_vec(),
            account: Account { namespace: workload.id.namespace.clone(), name: account },
            labels: self.labels(holder.own()),
            ports: workload.ports.to_vec(),
            profiles: Vec::new(),
            application_enforced: false,
        }
    }

    // === namespaces, service accounts and profiles ===

    /// A Namespace or ServiceAccount describes a family, by its profile's name; or none does.
    pub(crate) fn describe(&mut self, name: &SmolStr, described: Option<(&Labels, bool)>) {
        let id = self.family(name);
        let before = self.family_labels(id);
        let sidecars = described.is_some_and(|(_, sidecars)| sidecars);
        let mut turned = false;
        if let Some(family) = self.store.parent_mut(id) {
            family.described = described.is_some();
            turned = std::mem::replace(&mut family.sidecars, sidecars) != sidecars;
        }
        let labels = described.map(|(labels, _)| inherited(name, labels));
        self.settle(id, before, labels, turned);
    }

    /// A Profile is there, with its specification as text, or is not any more.
    pub(crate) fn put_profile(&mut self, name: &SmolStr, profile: Option<(Profile, Arc<[u8]>)>) {
        let id = self.family(name);
        let before = self.family_labels(id);
        let labels = profile.as_ref().map(|(profile, _)| profile.labels.clone());
        if let Some(family) = self.store.parent_mut(id) {
            family.described = profile.is_some();
            family.profile = profile.map(|(profile, text)| Written {
                profile: Arc::new(Profile { labels: Labels::new(), ..profile }),
                text,
            });
        }
        self.settle(id, before, labels, true);
    }

    /// One more uses a namespace or service account.
    pub(crate) fn employ(&mut self, name: &SmolStr) {
        let id = self.family(name);
        let before = self.family_labels(id);
        let Some(family) = self.store.parent_mut(id) else { return };
        family.users += 1;
        if !family.described && family.users == 1 {
            self.settle(id, before, None, false);
        }
    }

    /// One less uses a namespace or service account.
    pub(crate) fn dismiss(&mut self, name: &SmolStr) {
        let Some(id) = self.families.get(name).copied() else { return };
        let before = self.family_labels(id);
        let Some(family) = self.store.parent_mut(id) else { return };
        family.users = family.users.saturating_sub(1);
        if !family.exists() {
            self.settle(id, before, None, false);
        }
    }

    /// Gives a family the labels it has now: as described, or those of one that is merely used.
    fn settle(
        &mut self,
        id: u32,
        before: Option<Box<[Pair]>>,
        described: Option<Labels>,
        turned: bool,
    ) {
        let Some(family) = self.store.parent(id) else { return };
        let name = family.what.name.clone();
        let labels = match described {
            Some(labels) => labels,
            None if family.what.exists() => unseen(&name),
            None => Labels::new(),
        };
        let there = family.what.exists();
        let pairs = self.pairs(&labels);
        let bits = self.store.relabel_parent(id, pairs);
        if bits == 0 && !turned && before.is_some() == there {
            return self.abandon(&[id]);
        }
        let children: Vec<u32> = self.store.children(id).collect();
        self.changes.extend(children.into_iter().map(|child| Change::Inherited(child, bits)));
        self.changes.push(Change::Family(name, before));
        self.abandon(&[id]);
    }

    /// The labels of a family that exists.
    fn family_labels(&self, id: u32) -> Option<Box<[Pair]>> {
        let exists = self.store.parent(id).is_some_and(|family| family.what.exists());
        exists.then(|| self.store.parent_labels(id).into())
    }

    /// The id of a family, which may not exist yet.
    fn family(&mut self, name: &SmolStr) -> u32 {
        if let Some(id) = self.families.get(name) {
            return *id;
        }
        let id = self.store.insert_parent(Family { name: name.clone(), ..Family::default() });
        self.families.insert(name.clone(), id);
        id
    }

    /// Forgets families that neither exist nor have children.
    fn abandon(&mut self, ids: &[u32]) {
        for id in ids {
            let Some(family) = self.store.parent(*id) else { continue };
            if family.what.exists() || self.store.children(*id).next().is_some() {
                continue;
            }
            let name = family.what.name.clone();
            self.store.remove_parent(*id);
            self.families.remove(&name);
        }
    }

    /// A family that exists.
    pub(crate) fn existing(&self, name: &str) -> Option<(&Family, &[Pair])> {
        let id = *self.families.get(name)?;
        let family = self.store.parent(id).filter(|family| family.what.exists())?;
        Some((&family.what, self.store.parent_labels(id)))
    }

    /// All families that exist.
    pub(crate) fn all_existing(&self) -> impl Iterator<Item = &Family> {
        let families = self.families.values().filter_map(|id| self.store.parent(*id));
        families.map(|family| &family.what).filter(|family| family.exists())
    }

    /// The rules of a profile, and where they come from. One that does not exist denies, or is
    /// passed over where that is chosen.
    pub(crate) fn profile(&self, name: &SmolStr) -> Option<(Arc<Profile>, Origin)> {
        let Some((family, _)) = self.existing(name) else {
            let missing = || (Arc::new(missing_profile(name)), Origin::Missing);
            return (!self.passes_missing_profiles).then(missing);
        };
        if let Some(Written { profile, text }) = &family.profile {
            return Some((Arc::clone(profile), Origin::Written(Arc::clone(text))));
        }
        let none = Labels::new();
        let generated = match FamilyName::of(name) {
            FamilyName::Namespace(namespace) => namespace_profile(namespace, &none),
            FamilyName::Account(account) => account_profile(&account, &none),
            FamilyName::Profile => return None,
        };
        Some((Arc::new(generated), Origin::Generated))
    }

    /// The profiles that somebody has, as far as they count.
    pub(crate) fn counting_profiles(&self, names: &[SmolStr]) -> Vec<SmolStr> {
        let counts =
            |name: &&SmolStr| !self.passes_missing_profiles || self.existing(name).is_some();
        names.iter().filter(counts).cloned().collect()
    }

    // === labels ===

    /// Forgets texts that are in use neither here nor, as `mark` says, elsewhere.
    pub(crate) fn sweep(&mut self, mark: impl FnOnce(&mut dyn FnMut(Atom))) {
        self.store.sweep(
            |what, used| {
                if let What::Workload(Workload { user: (namespace, name), .. }) = what {
                    used(*namespace);
                    used(*name);
                }
            },
            mark,
        );
    }

    /// Labels as numbers, by key.
    fn pairs(&mut self, labels: &Labels) -> Box<[Pair]> {
        let texts = &mut self.store.texts;
        let mut pairs: Vec<Pair> =
            labels.iter().map(|(key, value)| (texts.intern(key), texts.intern(value))).collect();
        pairs.sort_unstable();
        pairs.into()
    }

    /// Labels as texts.
    pub(crate) fn labels(&self, pairs: &[Pair]) -> Labels {
        let text = |atom| self.store.texts.text(atom).clone();
        pairs.iter().map(|(key, value)| (text(*key), text(*value))).collect()
    }

    /// The labels of a namespace or service account as selectors see them, without the prefix by
    /// which they are inherited.
    pub(crate) fn unprefixed(&self, pairs: &[Pair]) -> Labels {
        let text = |atom| self.store.texts.text(atom);
        let bare = |key: &SmolStr| {
            let bare = key.strip_prefix("pcns.").or_else(|| key.strip_prefix("pcsa."));
            bare.unwrap_or(key).to_smolstr()
        };
        pairs.iter().map(|(key, value)| (bare(text(*key)), text(*value).clone())).collect()
    }
}

/// All labels are new to a new holder.
pub(crate) fn bits(change: &Change) -> u64 {
    match change {
        Change::New(_) => ALL_LABELS,
        Change::Changed(_, _, bits) | Change::Inherited(_, bits) => *bits,
        Change::Gone(..) | Change::Family(..) => 0,
    }
}

/// The namespace and service account something uses, by the names of their profiles.
fn used_by(what: &What, texts: &Interner) -> Vec<SmolStr> {
    match what {
        What::Workload(workload) => {
            let account = workload.account(texts);
            let account = Some(account).filter(|account| !account.name.is_empty());
            let account = account.map(|account| account_profile_name(&account));
            let namespace = namespace_profile_name(&workload.id.namespace);
            [Some(namespace), account].into_iter().flatten().collect()
        }
        What::Set(set) => {
            set.namespace.as_deref().map(namespace_profile_name).into_iter().collect()
        }
        What::Host(_) => Vec::new(),
    }
}

/// The labels by which a namespace or service account is inherited.
fn inherited(name: &SmolStr, labels: &Labels) -> Labels {
    match FamilyName::of(name) {
        FamilyName::Namespace(namespace) => namespace_profile(namespace, labels).labels,
        FamilyName::Account(account) => account_profile(&account, labels).labels,
        FamilyName::Profile => Labels::new(),
    }
}

/// The labels by which a namespace or service account is inherited that nobody described.
fn unseen(name: &SmolStr) -> Labels {
    let labels = match FamilyName::of(name) {
        FamilyName::Namespace(namespace) => unseen_namespace(&namespace.into()),
        FamilyName::Account(account) => unseen_account(&account.name),
        FamilyName::Profile => Labels::new(),
    };
    inherited(name, &labels)
}

/// Text of a key under which a workload kind claims pods.
pub(crate) fn replica_claim(key: &crate::Key) -> Claim {
    Claim::Replica(format_smolstr!("{key}"))
}
