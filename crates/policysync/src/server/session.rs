//! What one sidecar was told, and what it has to be told next.
//!
//! Nothing is queued for a sidecar: it is compared with the current state whenever it is ready for
//! another message. However slow it is, all that is kept for it is what it already has.
//!
//! The comparison makes a plan: sets, then what names them, then the endpoint, which names that; then
//! what is not named any more, in reverse. Sets are read as they are when it is their turn; should
//! one be gone by then, the rest of the plan is out of date and a new one is made.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use prost::Message;
use prost::bytes::{Bytes, BytesMut};
use smol_str::SmolStr;
use tortie_calc::{ActivePolicy, ActiveProfile, LocalEndpoint, SetId, SetKind, Settings, Update};
use tortie_policy::{EndpointId, PolicyId};
use tortie_proto::felix::ToDataplane;

use super::directory::Lagging;
use super::members::{Part, Sent};
use super::need::Interest;
use super::others::{Kind, Others};
use super::store::{Key, Store, encoded};
use crate::wire;

/// Members whose messages are not made between those of others: it takes a millisecond.
const MANY: usize = 4096;

/// One sidecar.
#[derive(Debug)]
pub(super) struct Session {
    id: EndpointId,
    /// The version that was compared with last.
    version: u64,
    /// What it has.
    sets: HashMap<SetId, Sent>,
    policies: HashMap<PolicyId, Arc<ActivePolicy>>,
    profiles: HashMap<SmolStr, Arc<ActiveProfile>>,
    endpoint: Option<Arc<LocalEndpoint>>,
    settings: Option<Arc<Settings>>,
    in_sync: bool,
    others: Others,
    plan: VecDeque<Step>,
    /// Messages of the step that was taken last.
    ready: VecDeque<Bytes>,
    /// Whether the last message said that more belongs to it.
    open: bool,
    /// Whether a look at what changed is not enough to know what to tell.
    lost: bool,
    /// Whether it was told that the workload is gone.
    ended: bool,
}

/// One thing to tell.
#[derive(Debug)]
enum Step {
    Others(Kind),
    Settings(Arc<Settings>),
    Set(SetId),
    Policy(Arc<ActivePolicy>, Bytes),
    Profile(Arc<ActiveProfile>, Bytes),
    Endpoint(Arc<LocalEndpoint>, Bytes),
    PolicyRemove(PolicyId),
    ProfileRemove(SmolStr),
    SetRemove(SetId),
    InSync,
    /// The workload is gone, and with it the stream.
    EndpointRemove,
}

/// What to do for a sidecar that is ready.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send it a message.
    Send(Bytes),
    /// Make messages where that delays nobody, and hand them to [`Session::put`].
    Make(Work),
    /// Wait for a change.
    Wait,
    /// End the stream.
    End,
}

impl Session {
    /// A sidecar that has nothing yet.
    pub(super) fn new(id: EndpointId, store: &Store) -> Session {
        Session {
            id,
            version: 0,
            sets: HashMap::new(),
            policies: HashMap::new(),
            profiles: HashMap::new(),
            endpoint: None,
            settings: None,
            in_sync: false,
            others: Others::new(store),
            plan: VecDeque::new(),
            ready: VecDeque::new(),
            open: false,
            lost: true,
            ended: false,
        }
    }

    /// What to do next. The store is not asked for longer than it takes to copy one message's worth.
    ///
    /// # Errors
    /// If the sidecar has been too slow for too long, and must start over.
    pub(super) fn next(&mut self, store: &std::sync::RwLock<Store>) -> Result<Next, Lagging> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Next::Send(self.mark(message)));
            }
            if self.ended {
                return Ok(Next::End);
            }
            let parts = {
                let store = store.read().unwrap_or_else(std::sync::PoisonError::into_inner);
                if self.plan.is_empty() {
                    self.make_plan(&store);
                }
                match self.plan.front() {
                    None => return Ok(self.rest()),
                    Some(Step::Set(id)) => {
                        let id = id.clone();
                        self.set(id, &store)
                    }
                    Some(_) => self.step(&store)?,
                }
            };
            match parts {
                Taken::Messages(messages) => self.ready.extend(messages),
                Taken::Part(work) if work.part.len() > MANY => return Ok(Next::Make(work)),
                Taken::Part(work) => self.ready.extend(work.messages()),
            }
        }
    }

    /// Whether more belongs to what was told last.
    pub(super) fn has_more(&self) -> bool {
        self.open
    }

    /// Takes messages that were made; they are next.
    pub(super) fn put(&mut self, messages: Vec<Bytes>) {
        self.ready.extend(messages);
    }

    /// Closes the change that is being told, or waits.
    fn rest(&mut self) -> Next {
        if self.open {
            self.open = false;
            return Next::Send(ToDataplane::default().encode_to_vec().into());
        }
        Next::Wait
    }

    /// Says in a message whether more belongs to it: fields of a message may come in any order.
    fn mark(&mut self, message: Bytes) -> Bytes {
        self.open = !self.ready.is_empty() || !self.plan.is_empty();
        if !self.open {
            return message;
        }
        let more = ToDataplane { more: true, ..Default::default() };
        let mut marked = BytesMut::with_capacity(message.len() + more.encoded_len());
        marked.extend_from_slice(&message);
        marked.extend_from_slice(&more.encode_to_vec());
        marked.freeze()
    }

    fn make_plan(&mut self, store: &Store) {
        if !store.in_sync || (!self.lost && self.version == store.version) {
            return;
        }
        match self.changed_sets(store) {
            Some(sets) => {
                self.plan_others(store);
                self.plan.extend(sets.into_iter().map(Step::Set));
            }
            None => self.plan_all(store),
        }
        (self.version, self.lost) = (store.version, false);
    }

    /// The sets that changed since the last plan, if nothing else did that concerns the sidecar.
    fn changed_sets(&self, store: &Store) -> Option<Vec<SetId>> {
        if self.lost {
            return None;
        }
        let mut changed = HashSet::new();
        for key in store.since(self.version)? {
            match key {
                Key::Set(id) if self.sets.contains_key(id) => drop(changed.insert(id.clone())),
                Key::Policy(id) if self.policies.contains_key(id) => return None,
                Key::Profile(name) if self.profiles.contains_key(name) => return None,
                Key::Endpoint(id) if *id == self.id => return None,
                Key::Everything => return None,
                _ => {}
            }
        }
        let lacking =
            |id: &SetId| store.sets.get(id).is_none_or(|set| set.has_news(self.sets.get(id)));
        Some(changed.into_iter().filter(lacking).collect())
    }

    fn plan_all(&mut self, store: &Store) {
        let endpoint = store.endpoints.get(&self.id);
        if endpoint.is_none() && self.endpoint.is_some() {
            self.plan.push_back(Step::EndpointRemove);
            return;
        }
        let interest = endpoint.map(|item| Interest::of(&item.value, store)).unwrap_or_default();
        self.others.widen(&interest.identities, store);
        self.plan_others(store);
        self.plan_updates(&interest, store);
        if let Some(item) = endpoint
            && !self.endpoint.as_ref().is_some_and(|sent| Arc::ptr_eq(sent, &item.value))
        {
            let message = item.message(Update::Endpoint);
            self.plan.push_back(Step::Endpoint(Arc::clone(&item.value), message));
        }
        self.plan_removals(&interest);
        if !self.in_sync {
            self.plan.push_back(Step::InSync);
        }
    }

    fn plan_others(&mut self, store: &Store) {
        self.plan.extend(self.others.news(store).map(Step::Others));
        let addresses = self.others.has_addresses();
        if let Some(settings) = &store.settings {
            let settings = Settings {
                addresses: settings.addresses && addresses,
                nodes: Arc::default(),
                ..Settings::clone(settings)
            };
            if self.settings.as_deref() != Some(&settings) {
                self.plan.push_back(Step::Settings(Arc::new(settings)));
            }
        }
    }

    fn plan_updates(&mut self, interest: &Interest, store: &Store) {
        for id in &interest.sets {
            if store.sets.get(id).is_some_and(|set| set.has_news(self.sets.get(id))) {
                self.plan.push_back(Step::Set(id.clone()));
            }
        }
        for item in interest.policies.iter().filter_map(|id| store.policies.get(id)) {
            let sent = self.policies.get(&item.value.policy.id);
            if !sent.is_some_and(|sent| Arc::ptr_eq(sent, &item.value)) {
                let message = item.message(Update::Policy);
                self.plan.push_back(Step::Policy(Arc::clone(&item.value), message));
            }
        }
        for item in interest.profiles.iter().filter_map(|name| store.profiles.get(name)) {
            let sent = self.profiles.get(&item.value.profile.name);
            if !sent.is_some_and(|sent| Arc::ptr_eq(sent, &item.value)) {
                let message = item.message(Update::Profile);
                self.plan.push_back(Step::Profile(Arc::clone(&item.value), message));
            }
        }
    }

    fn plan_removals(&mut self, interest: &Interest) {
        let policies: HashSet<_> = interest.policies.iter().collect();
        let stale = self.policies.keys().filter(|id| !policies.contains(id)).cloned();
        self.plan.extend(stale.map(Step::PolicyRemove));
        let profiles: HashSet<_> = interest.profiles.iter().collect();
        let stale = self.profiles.keys().filter(|name| !profiles.contains(name)).cloned();
        self.plan.extend(stale.map(Step::ProfileRemove));
        let sets: HashSet<_> = interest.sets.iter().collect();
        let stale = self.sets.keys().filter(|id| !sets.contains(id)).cloned();
        self.plan.extend(stale.map(Step::SetRemove));
    }

    /// The next part of a set. It stays in the plan until its reader has all of it.
    fn set(&mut self, id: SetId, store: &Store) -> Taken {
        let Some(set) = store.sets.get(&id) else {
            // The set went away, and so did whatever the plan wanted it for.
            self.plan.clear();
            self.lost = true;
            return Taken::Messages(Vec::new());
        };
        let Some((part, sent)) = set.next(self.sets.get(&id).copied()) else {
            self.plan.pop_front();
            return Taken::Messages(Vec::new());
        };
        self.sets.insert(id.clone(), sent);
        if !set.has_news(Some(&sent)) {
            self.plan.pop_front();
        }
        Taken::Part(Work { id, kind: set.kind, part })
    }

    fn step(&mut self, store: &Store) -> Result<Taken, Lagging> {
        if let Some(Step::Others(kind)) = self.plan.front() {
            let (messages, done) = self.others.tell(*kind, store)?;
            if done {
                self.plan.pop_front();
            }
            return Ok(Taken::Messages(messages));
        }
        let message = match self.plan.pop_front() {
            Some(Step::Settings(settings)) => {
                let message = encoded(&Update::Settings(Arc::clone(&settings)));
                self.settings = Some(settings);
                message
            }
            Some(Step::Policy(policy, message)) => {
                self.policies.insert(policy.policy.id.clone(), policy);
                message
            }
            Some(Step::Profile(profile, message)) => {
                self.profiles.insert(profile.profile.name.clone(), profile);
                message
            }
            Some(Step::Endpoint(endpoint, message)) => {
                self.endpoint = Some(endpoint);
                message
            }
            Some(Step::PolicyRemove(id)) => {
                self.policies.remove(&id);
                encoded(&Update::PolicyRemove(id))
            }
            Some(Step::ProfileRemove(name)) => {
                self.profiles.remove(&name);
                encoded(&Update::ProfileRemove(name))
            }
            Some(Step::SetRemove(id)) => {
                self.sets.remove(&id);
                encoded(&Update::IpSetRemove(id))
            }
            Some(Step::InSync) => {
                self.in_sync = true;
                encoded(&Update::InSync)
            }
            Some(Step::EndpointRemove) => {
                self.ended = true;
                encoded(&Update::EndpointRemove(self.id.clone()))
            }
            _ => return Ok(Taken::Messages(Vec::new())), // told above
        };
        Ok(Taken::Messages(vec![message]))
    }
}

/// What was taken from the store, to be made into messages without it.
enum Taken {
    Messages(Vec<Bytes>),
    Part(Work),
}

/// A part of a set, to be made into messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    id: SetId,
    kind: SetKind,
    part: Part,
}

impl Work {
    /// Takes long for a large part.
    pub(super) fn messages(&self) -> Vec<Bytes> {
        let Work { id, kind, part } = self;
        let messages = if part.first {
            wire::whole_set(id, *kind, false, &part.added)
        } else {
            wire::set_delta(id, &part.added, &part.removed)
        };
        messages.iter().map(|message| message.encode_to_vec().into()).collect()
    }
}
