//! A whole state as updates, in an order in which nothing is referred to before it is there.

use std::sync::Arc;

use tortie_calc::{IpSet, SetId, State, Update};
use tortie_proto::felix::ToDataplane;

use super::{address, encode, set};

/// Everything but the sets and addresses of a state.
fn others(state: &State) -> impl Iterator<Item = Update> + '_ {
    let accounts = state.accounts.iter();
    let namespaces = state.namespaces.iter();
    let settings = state.settings.iter().cloned().map(Update::Settings);
    settings
        .chain(accounts.map(|(id, labels)| Update::ServiceAccount(id.clone(), Arc::clone(labels))))
        .chain(namespaces.map(|(id, labels)| Update::Namespace(id.clone(), Arc::clone(labels))))
        .chain(state.policies.values().cloned().map(Update::Policy))
        .chain(state.profiles.values().cloned().map(Update::Profile))
        .chain(state.endpoints.values().cloned().map(Update::Endpoint))
        .chain(state.hosts.values().cloned().map(Update::Host))
        .chain(state.in_sync.then_some(Update::InSync))
}

/// The updates that lead from nothing to a state.
pub fn updates(state: &State) -> impl Iterator<Item = Update> + '_ {
    let sets = sorted_sets(state).into_iter().flat_map(|(id, set)| {
        let members = set.members.iter().copied().collect();
        let whole = Update::IpSet { id: id.clone(), kind: set.kind, members };
        let incomplete = set.incomplete.then(|| Update::IpSetIncomplete(id.clone(), true));
        std::iter::once(whole).chain(incomplete)
    });
    let addresses = state.addresses.iter();
    let addresses = addresses.map(|(address, users)| Update::Address(*address, users.to_vec()));
    sets.chain(addresses).chain(others(state))
}

/// The messages that lead from nothing to a state, as far as sidecars are concerned.
pub fn encode_all(state: &State) -> impl Iterator<Item = ToDataplane> + '_ {
    let sets = sorted_sets(state).into_iter();
    let sets = sets.flat_map(|(id, set)| set::whole(id, set.kind, set.incomplete, &set.members));
    let addresses = state.addresses.iter().map(|(address, users)| (*address, &**users));
    sets.chain(address::batches(addresses)).chain(others(state).flat_map(|update| encode(&update)))
}

fn sorted_sets(state: &State) -> Vec<(&SetId, &Arc<IpSet>)> {
    let mut sets: Vec<_> = state.sets.iter().collect();
    sets.sort_unstable_by_key(|(id, _)| *id);
    sets
}
