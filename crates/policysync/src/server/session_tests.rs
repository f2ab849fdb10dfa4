//! Whatever changes, and whenever a sidecar reads, it is told in order, and ends with what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use proptest::prelude::*;
use smol_str::{SmolStr, format_smolstr};
use tortie_calc::{
    ActivePolicy, ActiveProfile, EndpointTier, LocalEndpoint, Member, RuleSets, SetId, SetKind,
    Settings, SideSets, State, Update,
};
use tortie_policy::{
    Account, Accounts, Action, DefaultAction, EndpointId, Labels, Order, Peers, Policy, PolicyId,
    PolicyKind, Profile, Rule, Stage,
};
use tortie_selector::Selector;

use super::session::{Next, Session};
use super::store::Store;
use crate::wire::Decoder;

/// What there is to be told, in small numbers.
#[derive(Debug, Clone, Default, PartialEq)]
struct World {
    /// Members by set; a set is there if a policy or profile names it.
    members: [BTreeSet<u8>; 4],
    /// Sets that a policy names, and whether it asks for identities; another number is other content.
    policies: BTreeMap<u8, (BTreeSet<usize>, bool, u8)>,
    profiles: BTreeMap<u8, BTreeSet<usize>>,
    /// Policies and profiles, in order.
    endpoint: Option<(Vec<u8>, Vec<u8>)>,
    accounts: BTreeMap<u8, u8>,
    addresses: BTreeMap<u8, u8>,
}

#[derive(Debug, Clone)]
enum Change {
    Member(usize, u8),
    Policy(u8, BTreeSet<usize>, bool, u8),
    Profile(u8, BTreeSet<usize>),
    Endpoint(Vec<u8>, Vec<u8>),
    Account(u8, Option<u8>),
    Address(u8, Option<u8>),
}

impl World {
    fn change(&mut self, change: Change) {
        match change {
            Change::Member(set, member) => {
                let set = &mut self.members[set];
                if !set.remove(&member) {
                    set.insert(member);
                }
            }
            Change::Policy(id, sets, asks, content) => {
                self.policies.insert(id, (sets, asks, content));
            }
            Change::Profile(id, sets) => drop(self.profiles.insert(id, sets)),
            Change::Endpoint(mut policies, mut profiles) => {
                policies.retain(|id| self.policies.contains_key(id));
                profiles.retain(|id| self.profiles.contains_key(id));
                self.endpoint = Some((policies, profiles));
            }
            Change::Account(id, Some(label)) => drop(self.accounts.insert(id, label)),
            Change::Account(id, None) => drop(self.accounts.remove(&id)),
            Change::Address(id, Some(user)) => drop(self.addresses.insert(id, user)),
            Change::Address(id, None) => drop(self.addresses.remove(&id)),
        }
    }

    /// Only what the endpoint names is told.
    fn active(&self) -> (BTreeSet<u8>, BTreeSet<u8>, BTreeSet<usize>) {
        let (policies, profiles) = self.endpoint.clone().unwrap_or_default();
        let policies: BTreeSet<u8> = policies.into_iter().collect();
        let profiles: BTreeSet<u8> = profiles.into_iter().collect();
        let named = policies.iter().flat_map(|id| &self.policies[id].0);
        let sets = named.chain(profiles.iter().flat_map(|id| &self.profiles[id])).copied();
        (policies.clone(), profiles.clone(), sets.collect())
    }

    /// The updates that lead here, in the order that the calculation keeps.
    fn updates_from(&self, old: &World) -> Vec<Update> {
        let (policies, profiles, sets) = self.active();
        let (old_policies, old_profiles, old_sets) = old.active();
        let mut updates = Vec::new();
        for set in &sets {
            let (now, before) = (&self.members[*set], &old.members[*set]);
            if !old_sets.contains(set) {
                let members = now.iter().map(member).collect();
                updates.push(Update::IpSet { id: set_id(*set), kind: SetKind::Net, members });
            } else if now != before {
                let (added, removed) = (now - before, before - now);
                let (added, removed) = (added.iter().map(member), removed.iter().map(member));
                let (added, removed) = (added.collect(), removed.collect());
                updates.push(Update::IpSetDelta { id: set_id(*set), added, removed });
            }
        }
        for id in &policies {
            if !old_policies.contains(id) || self.policies[id] != old.policies[id] {
                updates.push(self.policy(*id));
            }
        }
        for id in &profiles {
            if !old_profiles.contains(id) || self.profiles[id] != old.profiles[id] {
                updates.push(self.profile(*id));
            }
        }
        if self.endpoint != old.endpoint {
            updates.extend(self.endpoint());
        }
        updates.extend(
            (&old_policies - &policies).into_iter().map(|id| Update::PolicyRemove(policy_id(id))),
        );
        updates.extend(
            (&old_profiles - &profiles).into_iter().map(|id| Update::ProfileRemove(name(id))),
        );
        updates.extend((&old_sets - &sets).into_iter().map(|id| Update::IpSetRemove(set_id(id))));
        self.identities_from(old, &mut updates);
        updates
    }

    fn identities_from(&self, old: &World, updates: &mut Vec<Update>) {
        for id in old.accounts.keys().filter(|id| !self.accounts.contains_key(id)) {
            updates.push(Update::ServiceAccountRemove(account(*id)));
        }
        for (id, label) in self.accounts.iter().filter(|(id, l)| old.accounts.get(id) != Some(l)) {
            updates.push(Update::ServiceAccount(account(*id), labels(*label)));
        }
        for id in old.addresses.keys().filter(|id| !self.addresses.contains_key(id)) {
            updates.push(Update::Address([10, 0, 0, *id].into(), Vec::new()));
        }
        for (id, user) in self.addresses.iter().filter(|(id, u)| old.addresses.get(id) != Some(u)) {
            updates.push(Update::Address([10, 0, 0, *id].into(), vec![account(*user)]));
        }
    }

    fn policy(&self, id: u8) -> Update {
        let (sets, asks, content) = &self.policies[&id];
        let mut rule = Rule { origin: usize::from(*content), ..Rule::any(Action::Allow) };
        if *asks {
            let selector = Some(Selector::has("wanted").unwrap());
            rule.source.peers = Some(Peers {
                included: None,
                excluded: None,
                scope: None,
                accounts: Some(Accounts { names: Vec::new(), selector }),
                text: "wanted".into(),
            });
        }
        let policy = Policy {
            id: policy_id(id),
            tier: "default".into(),
            order: Order::LAST,
            subject: Selector::all(),
            governs_ingress: true,
            governs_egress: true,
            ingress: vec![rule],
            egress: Vec::new(),
            stage: Stage::Normal,
            staged: None,
        };
        let policy = Arc::new(policy);
        Update::Policy(Arc::new(ActivePolicy {
            policy,
            ingress: vec![sources(sets)],
            egress: vec![],
        }))
    }

    fn profile(&self, id: u8) -> Update {
        let profile = Profile {
            name: name(id),
            labels: Labels::new(),
            ingress: vec![Rule::any(Action::Allow)],
            egress: Vec::new(),
        };
        let ingress = vec![sources(&self.profiles[&id])];
        let profile = Arc::new(profile);
        Update::Profile(Arc::new(ActiveProfile { profile, ingress, egress: Vec::new() }))
    }

    fn endpoint(&self) -> Option<Update> {
        let (policies, profiles) = self.endpoint.as_ref()?;
        let tier = EndpointTier {
            name: "default".into(),
            default_action: DefaultAction::Deny,
            ingress: policies.iter().copied().map(policy_id).collect(),
            egress: Vec::new(),
        };
        Some(Update::Endpoint(Arc::new(LocalEndpoint {
            id: endpoint_id(),
            interface: "cali1".into(),
            addresses: Vec::new(),
            account: None,
            tiers: Arc::new([tier]),
            profiles: profiles.iter().copied().map(name).collect(),
            ports: Vec::new(),
            application_enforced: false,
            spoofed_sources: Vec::new(),
        })))
    }

    /// Whether a sidecar that was told everything knows it.
    fn check(&self, state: &State) {
        let (policies, profiles, sets) = self.active();
        let ids: BTreeSet<_> = policies.iter().copied().map(policy_id).collect();
        assert_eq!(state.policies.keys().cloned().collect::<BTreeSet<_>>(), ids);
        for id in &policies {
            let told = &state.policies[&policy_id(*id)];
            assert_eq!(told.policy.ingress[0].origin, usize::from(self.policies[id].2));
            assert_eq!(told.ingress[0], sources(&self.policies[id].0));
        }
        let names: BTreeSet<_> = profiles.iter().copied().map(name).collect();
        assert_eq!(state.profiles.keys().cloned().collect::<BTreeSet<_>>(), names);
        let ids: BTreeSet<_> = sets.iter().copied().map(set_id).collect();
        assert_eq!(state.sets.keys().cloned().collect::<BTreeSet<_>>(), ids);
        for set in sets {
            let members = self.members[set].iter().map(member).collect();
            assert_eq!(state.sets[&set_id(set)].members, members);
        }
        assert_eq!(state.endpoints.len(), usize::from(self.endpoint.is_some()));
        let asks = policies.iter().any(|id| self.policies[id].1);
        if asks {
            let accounts = self.accounts.iter();
            let accounts: BTreeMap<_, _> =
                accounts.map(|(id, l)| (account(*id), told(*l))).collect();
            assert_eq!(state.accounts, accounts);
            assert_eq!(state.addresses.iter().count(), self.addresses.len());
            assert!(state.settings.as_ref().is_some_and(|settings| settings.addresses));
        }
    }
}

fn sources(sets: &BTreeSet<usize>) -> RuleSets {
    let included = sets.iter().copied().map(set_id).collect();
    RuleSets { source: SideSets { included, ..SideSets::default() }, ..RuleSets::default() }
}

fn member(n: &u8) -> Member {
    Member::Net(std::net::IpAddr::from([10, 1, 0, *n]).into())
}

fn set_id(n: usize) -> SetId {
    SetId(format_smolstr!("s:{n}"))
}

fn name(n: u8) -> SmolStr {
    format_smolstr!("n{n}")
}

fn policy_id(n: u8) -> PolicyId {
    PolicyId { kind: PolicyKind::GlobalNetworkPolicy, namespace: None, name: name(n) }
}

fn account(n: u8) -> Account {
    Account { namespace: "shop".into(), name: name(n) }
}

fn labels(n: u8) -> Arc<Labels> {
    Arc::new([("wanted".into(), name(n)), ("other".into(), name(n))].into_iter().collect())
}

fn told(n: u8) -> Arc<Labels> {
    Arc::new([("wanted".into(), name(n))].into_iter().collect())
}

fn endpoint_id() -> EndpointId {
    EndpointId { namespace: "shop".into(), name: "a".into() }
}

fn change() -> impl Strategy<Value = Change> {
    let sets = || prop::collection::btree_set(0..4usize, 0..3);
    let few = || prop::collection::vec(0..4u8, 0..4);
    prop_oneof![
        4 => (0..4usize, 0..6u8).prop_map(|(set, member)| Change::Member(set, member)),
        3 => (0..4u8, sets(), any::<bool>(), 0..3u8)
            .prop_map(|(id, sets, asks, content)| Change::Policy(id, sets, asks, content)),
        1 => (0..4u8, sets()).prop_map(|(id, sets)| Change::Profile(id, sets)),
        3 => (few(), few()).prop_map(|(policies, profiles)| Change::Endpoint(policies, profiles)),
        1 => (0..3u8, prop::option::of(0..3u8)).prop_map(|(id, to)| Change::Account(id, to)),
        1 => (0..3u8, prop::option::of(0..3u8)).prop_map(|(id, to)| Change::Address(id, to)),
    ]
}

/// A sidecar that reads as much as it likes.
struct Reader {
    session: Session,
    decoder: Decoder,
    state: State,
    whole: bool,
}

impl Reader {
    fn new(store: &RwLock<Store>) -> Reader {
        let session = Session::new(endpoint_id(), &store.read().unwrap());
        Reader { session, decoder: Decoder::default(), state: State::default(), whole: true }
    }

    fn read(&mut self, store: &RwLock<Store>, most: usize) {
        for _ in 0..most {
            let Next::Send(message) = self.session.next(store).unwrap() else { return };
            let decoded = self.decoder.decode_bytes(&message).unwrap();
            self.whole = !decoded.more;
            for update in decoded.updates {
                self.state.apply(update).unwrap();
            }
        }
    }
}

fn run(batches: Vec<(Vec<Change>, usize, bool)>) {
    let store = RwLock::new(Store::default());
    let settings = Settings { addresses: true, ..Settings::default() };
    store.write().unwrap().apply(Update::Settings(Arc::new(settings)));
    let mut reader = Reader::new(&store);
    let (mut world, mut sent) = (World::default(), State::default());
    for (changes, most, in_sync) in batches {
        let before = world.clone();
        changes.into_iter().for_each(|change| world.change(change));
        let updates =
            world.updates_from(&before).into_iter().chain(in_sync.then_some(Update::InSync));
        for update in updates {
            sent.apply(update.clone()).expect("the calculation keeps the order");
            store.write().unwrap().apply(update);
        }
        reader.read(&store, most);
    }
    store.write().unwrap().apply(Update::InSync);
    for reader in [reader, Reader::new(&store)].iter_mut() {
        reader.read(&store, usize::MAX);
        assert!(reader.whole && reader.state.in_sync);
        world.check(&reader.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn sidecars_are_told_in_order_and_end_with_what_there_is(
        batches in prop::collection::vec(
            (prop::collection::vec(change(), 0..6), 0..12usize, any::<bool>()), 1..14,
        ),
    ) {
        run(batches);
    }
}

#[test]
fn a_workload_that_goes_ends_the_stream() {
    let store = RwLock::new(Store::default());
    let mut world = World::default();
    world.change(Change::Policy(0, BTreeSet::from([0]), false, 0));
    world.change(Change::Endpoint(vec![0], vec![]));
    let mut reader = Reader::new(&store);
    for update in world.updates_from(&World::default()).into_iter().chain([Update::InSync]) {
        store.write().unwrap().apply(update);
    }
    reader.read(&store, usize::MAX);
    assert_eq!(reader.state.endpoints.len(), 1);
    store.write().unwrap().apply(Update::EndpointRemove(endpoint_id()));
    reader.read(&store, 1);
    assert!(reader.state.endpoints.is_empty() && reader.whole);
    assert_eq!(reader.session.next(&store).unwrap(), Next::End);
}
