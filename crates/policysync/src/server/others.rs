//! What one sidecar was told of others: labels of service accounts and namespaces, and who uses which
//! address. None of it is kept for the sidecar, only how far it has read.

use std::hash::Hash;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;
use tortie_calc::Update;
use tortie_policy::CompatPoint;

use super::directory::{Cursor, Directory, Lagging};
use super::need::{Identities, Keys};
use super::store::{Store, encoded};
use crate::wire;

/// Service accounts or namespaces told in one go.
const LABELS_AT_ONCE: usize = 256;
/// Addresses told in one message.
const ADDRESSES_AT_ONCE: usize = 4096;

/// What there is to tell of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Accounts,
    Namespaces,
    Addresses,
}

/// What it is told of others, and how much of that it has.
#[derive(Debug)]
pub(super) struct Others {
    identities: Identities,
    accounts: Cursor,
    namespaces: Cursor,
    addresses: Cursor,
}

/// Messages, and whether there are no more for now.
pub(super) type Told = Result<(Vec<Bytes>, bool), Lagging>;

impl Others {
    /// Of a sidecar that is told nothing of others yet.
    pub(super) fn new(store: &Store) -> Others {
        let cursor = Cursor::new(store.version);
        let identities = Identities::default();
        Others { identities, accounts: cursor, namespaces: cursor, addresses: cursor }
    }

    /// Whether it is told who uses which address.
    pub(super) fn has_addresses(&self) -> bool {
        self.identities.addresses
    }

    /// Lets the sidecar know more of others, and what it knows anew, with all that it needs.
    pub(super) fn widen(&mut self, needed: &Identities, store: &Store) {
        let compat = store.settings.as_ref().map(|settings| settings.compat).unwrap_or_default();
        let needed = if compat.has(CompatPoint::AllIdentities) {
            // Addresses are our own addition, and only of use to rules that ask for identities.
            Identities { addresses: needed.addresses, ..Identities::all() }
        } else {
            needed.clone()
        };
        let (had, wanted) = (&self.identities, self.identities.union(&needed));
        let fresh = Cursor::new(store.version);
        if wanted.accounts != had.accounts {
            self.accounts.rewind(had.accounts == Keys::None, fresh);
        }
        if wanted.namespaces != had.namespaces {
            self.namespaces.rewind(had.namespaces == Keys::None, fresh);
        }
        if wanted.addresses && !had.addresses {
            self.addresses = fresh;
        }
        self.identities = wanted;
    }

    /// Of what there is something to tell.
    pub(super) fn news(&self, store: &Store) -> impl Iterator<Item = Kind> {
        let Identities { accounts, namespaces, addresses } = &self.identities;
        let news = [
            (Kind::Accounts, *accounts != Keys::None && store.accounts.has_news(&self.accounts)),
            (
                Kind::Namespaces,
                *namespaces != Keys::None && store.namespaces.has_news(&self.namespaces),
            ),
            (Kind::Addresses, *addresses && store.addresses.has_news(&self.addresses)),
        ];
        news.into_iter().filter_map(|(kind, any)| any.then_some(kind))
    }

    /// Tells some of it.
    pub(super) fn tell(&mut self, kind: Kind, store: &Store) -> Told {
        match kind {
            Kind::Accounts => self.tell_accounts(store),
            Kind::Namespaces => self.tell_namespaces(store),
            Kind::Addresses => self.tell_addresses(store),
        }
    }

    fn tell_accounts(&mut self, store: &Store) -> Told {
        let (changes, done) = read(&store.accounts, &mut self.accounts, LABELS_AT_ONCE)?;
        let keys = &self.identities.accounts;
        let messages = changes.into_iter().map(|(account, labels)| match labels {
            Some(labels) => encoded(&Update::ServiceAccount(account, keys.of(&labels))),
            None => encoded(&Update::ServiceAccountRemove(account)),
        });
        Ok((messages.collect(), done))
    }

    fn tell_namespaces(&mut self, store: &Store) -> Told {
        let (changes, done) = read(&store.namespaces, &mut self.namespaces, LABELS_AT_ONCE)?;
        let keys = &self.identities.namespaces;
        let messages = changes.into_iter().map(|(name, labels)| match labels {
            Some(labels) => encoded(&Update::Namespace(name, keys.of(&labels))),
            None => encoded(&Update::NamespaceRemove(name)),
        });
        Ok((messages.collect(), done))
    }

    fn tell_addresses(&mut self, store: &Store) -> Told {
        let (changes, done) = read(&store.addresses, &mut self.addresses, ADDRESSES_AT_ONCE)?;
        let users = |users: &Option<Arc<[_]>>| users.clone().unwrap_or_default();
        let changes: Vec<_> = changes.iter().map(|(address, by)| (*address, users(by))).collect();
        let messages = wire::address_batches(changes.iter().map(|(address, by)| (*address, &**by)));
        Ok((messages.iter().map(|m| m.encode_to_vec().into()).collect(), done))
    }
}

/// What a directory has to tell.
type Changes<K, V> = Vec<(K, Option<V>)>;

/// Reads on in a directory; says whether that was all.
fn read<K: Clone + Eq + Hash, V: Clone>(
    directory: &Directory<K, V>,
    cursor: &mut Cursor,
    most: usize,
) -> Result<(Changes<K, V>, bool), Lagging> {
    let changes = directory.read(cursor, most)?;
    let done = changes.len() < most;
    Ok((changes, done))
}
