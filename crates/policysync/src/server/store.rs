//! What the agent has to tell, once for all its sidecars.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use prost::Message;
use prost::bytes::Bytes;
use smol_str::SmolStr;
use tortie_calc::{ActivePolicy, ActiveProfile, LocalEndpoint, SetId, Settings, Update};
use tortie_policy::{Account, EndpointId, Labels, PolicyId};

use super::directory::Directory;
use super::members::Members;
use crate::wire;

/// Changes that are remembered; who has missed older ones looks at everything.
const MAX_RECENT: usize = 4096;

/// The current state, and what changed lately.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Grows with every change.
    pub(super) version: u64,
    pub(super) sets: HashMap<SetId, Members>,
    pub(super) policies: HashMap<PolicyId, Item<ActivePolicy>>,
    pub(super) profiles: HashMap<SmolStr, Item<ActiveProfile>>,
    pub(super) endpoints: HashMap<EndpointId, Item<LocalEndpoint>>,
    pub(super) accounts: Directory<Account, Arc<Labels>>,
    pub(super) namespaces: Directory<SmolStr, Arc<Labels>>,
    pub(super) addresses: Directory<IpAddr, Arc<[Account]>>,
    pub(super) settings: Option<Arc<Settings>>,
    pub(super) in_sync: bool,
    recent: VecDeque<(u64, Key)>,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Set(SetId),
    Policy(PolicyId),
    Profile(SmolStr),
    Endpoint(EndpointId),
    /// Labels and addresses; readers keep their own place in those.
    Directory,
    /// Settings, or being in sync.
    Everything,
}

/// Something with its message, which is made once.
#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) value: Arc<T>,
    message: OnceLock<Bytes>,
}

impl<T> Item<T> {
    fn new(value: Arc<T>) -> Item<T> {
        Item { value, message: OnceLock::new() }
    }

    /// The message that tells of it.
    pub(super) fn message(&self, update: impl FnOnce(Arc<T>) -> Update) -> Bytes {
        let make = || encoded(&update(Arc::clone(&self.value)));
        self.message.get_or_init(make).clone()
    }
}

/// The one message of an update that has one.
pub(super) fn encoded(update: &Update) -> Bytes {
    let messages = wire::encode(update);
    messages.first().map(|message| message.encode_to_vec().into()).unwrap_or_default()
}

impl Store {
    /// Takes in one update.
    pub(super) fn apply(&mut self, update: Update) {
        self.version += 1;
        let version = self.version;
        let key = match update {
            Update::InSync => {
                self.in_sync = true;
                Key::Everything
            }
            Update::IpSet { id, kind, members } => {
                match self.sets.get_mut(&id) {
                    Some(set) => set.replace(kind, members, version),
                    None => {
                        self.sets.insert(id.clone(), Members::new(kind, members, version));
                    }
                }
                Key::Set(id)
            }
            Update::IpSetDelta { id, added, removed } => {
                if let Some(set) = self.sets.get_mut(&id) {
                    set.change(added, removed, version);
                }
                Key::Set(id)
            }
            Update::IpSetRemove(id) => {
                self.sets.remove(&id);
                Key::Set(id)
            }
            Update::Policy(policy) => {
                let id = policy.policy.id.clone();
                self.policies.insert(id.clone(), Item::new(policy));
                Key::Policy(id)
            }
            Update::PolicyRemove(id) => {
                self.policies.remove(&id);
                Key::Policy(id)
            }
            Update::Profile(profile) => {
                let name = profile.profile.name.clone();
                self.profiles.insert(name.clone(), Item::new(profile));
                Key::Profile(name)
            }
            Update::ProfileRemove(name) => {
                self.profiles.remove(&name);
                Key::Profile(name)
            }
            Update::Endpoint(endpoint) => {
                let id = endpoint.id.clone();
                self.endpoints.insert(id.clone(), Item::new(endpoint));
                Key::Endpoint(id)
            }
            Update::EndpointRemove(id) => {
                self.endpoints.remove(&id);
                Key::Endpoint(id)
            }
            Update::Settings(settings) => {
                self.settings = Some(settings);
                Key::Everything
            }
            // Not for sidecars; and the agent can read all its sets.
            Update::Host(_) | Update::HostRemove(_) | Update::IpSetIncomplete(..) => return,
            directory => {
                self.directory(directory, version);
                Key::Directory
            }
        };
        self.note(key);
    }

    /// Labels and addresses.
    fn directory(&mut self, update: Update, version: u64) {
        match update {
            Update::ServiceAccount(id, labels) => self.accounts.insert(id, labels, version),
            Update::ServiceAccountRemove(id) => self.accounts.remove(&id, version),
            Update::Namespace(name, labels) => self.namespaces.insert(name, labels, version),
            Update::NamespaceRemove(name) => self.namespaces.remove(&name, version),
            Update::Address(address, users) if users.is_empty() => {
                self.addresses.remove(&address, version);
            }
            Update::Address(address, users) => {
                self.addresses.insert(address, users.into(), version);
            }
            _ => {}
        }
    }

    fn note(&mut self, key: Key) {
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((self.version, key));
    }

    /// What changed behind a version; nothing if some of it is forgotten.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Key>> {
        let forgotten = self.recent.len() == MAX_RECENT
            && self.recent.front().is_some_and(|(oldest, _)| *oldest > version + 1);
        if forgotten {
            return None;
        }
        let start = self.recent.partition_point(|(changed, _)| *changed <= version);
        Some(self.recent.range(start..).map(|(_, key)| key))
    }
}
