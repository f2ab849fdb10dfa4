//! The lab's authority: a certificate for every service account, renewed in time.
//!
//! The authority's key is in this process's memory and nowhere else; it ends with the lab.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tortie_mesh::ca::{Authority, SECRET_TYPE, WorkloadCertificate};
use tortie_mesh::identity::{TrustDomain, Workload};

use crate::Error;
use crate::controllers::{Action, merge};
use crate::plan::{Account, TRUST_DOMAIN, certificate_secret};
use crate::world::{Kind, World, text};

/// The authority outlives any lab.
const AUTHORITY_LIFETIME: time::Duration = time::Duration::days(3650);
/// The annotation of Secrets that the lab keeps.
const ACCOUNT: &str = "istio.io/service-account.name";

/// The certificates of a lab's service accounts.
#[derive(Debug)]
pub(crate) struct Certificates {
    authority: Authority,
    lifetime: time::Duration,
    issued: BTreeMap<Account, Issued>,
}

#[derive(Debug)]
struct Issued {
    certificate: WorkloadCertificate,
    renewal: OffsetDateTime,
}

impl Certificates {
    /// A new authority, which has issued nothing yet.
    pub(crate) fn new(seconds: u64, now: OffsetDateTime) -> Result<Self, Error> {
        let domain: TrustDomain = TRUST_DOMAIN.parse().map_err(failed)?;
        Ok(Self {
            authority: Authority::new(domain, now, AUTHORITY_LIFETIME).map_err(failed)?,
            lifetime: time::Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)),
            issued: BTreeMap::new(),
        })
    }

    /// Has a certificate for each of these accounts that is good for a while, and none for others.
    pub(crate) fn keep(
        &mut self,
        accounts: &BTreeSet<Account>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        self.issued.retain(|account, _| accounts.contains(account));
        for account in accounts {
            if self.issued.get(account).is_some_and(|issued| issued.renewal > now) {
                continue;
            }
            // An account whose name can be no identity has none.
            let Ok(workload) = Workload::new(&account.namespace, &account.name) else { continue };
            let certificate =
                self.authority.issue(&workload, now, self.lifetime).map_err(failed)?;
            let renewal = renewal(now, certificate.not_after);
            self.issued.insert(account.clone(), Issued { certificate, renewal });
        }
        Ok(())
    }

    /// When the next of them is to be renewed.
    pub(crate) fn next_renewal(&self) -> Option<OffsetDateTime> {
        self.issued.values().map(|issued| issued.renewal).min()
    }

    /// An account's certificate.
    pub(crate) fn of(&self, namespace: &str, name: &str) -> Option<&WorkloadCertificate> {
        let account = Account { namespace: namespace.to_owned(), name: name.to_owned() };
        self.issued.get(&account).map(|issued| &issued.certificate)
    }

    /// What makes the Secrets of the API server hold the certificates. A Secret of that name that
    /// somebody else has made stays theirs.
    pub(crate) fn actions(&self, world: &World) -> Vec<Action> {
        let namespaces = world.namespaces();
        let here = self.issued.iter().filter(|(a, _)| namespaces.contains(&*a.namespace));
        here.filter_map(|(account, issued)| secret(world, account, &issued.certificate)).collect()
    }
}

fn secret(world: &World, account: &Account, issued: &WorkloadCertificate) -> Option<Action> {
    let name = certificate_secret(&account.name);
    let entries = issued.secret_entries();
    let data = entries.map(|(key, text)| (key.to_owned(), STANDARD.encode(text).into()));
    let data: Value = data.into_iter().collect::<Map<String, Value>>().into();
    let Some(found) = world.get(Kind::Secret, &account.namespace, &name) else {
        let metadata = json!({
            "name": name, "namespace": account.namespace, "annotations": {(ACCOUNT): account.name},
        });
        let document = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata,
            "type": SECRET_TYPE, "data": data,
        });
        return Some(Action::Create(Kind::Secret, document));
    };
    let annotations = found.raw.pointer("/metadata/annotations");
    let ours = annotations.and_then(|all| all.get(ACCOUNT)).is_some();
    if !ours || text(&found.raw, "/type") != SECRET_TYPE || found.raw.get("data") == Some(&data) {
        return None;
    }
    let mut document = found.raw.clone();
    merge(&mut document, &json!({ "data": data }));
    Some(Action::Replace(Kind::Secret, document))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::program("certificates", error)
}

/// The middle of the time that is left, so that a renewal that fails can be tried many times.
fn renewal(now: OffsetDateTime, not_after: OffsetDateTime) -> OffsetDateTime {
    now + (not_after - now) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Account {
        Account { namespace: "default".into(), name: name.into() }
    }

    #[test]
    fn certificates_are_renewed_at_half_of_their_time() {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        let mut certificates = Certificates::new(60, now).unwrap();
        let accounts = BTreeSet::from([account("a"), account("b")]);
        certificates.keep(&accounts, now).unwrap();
        assert_eq!(certificates.next_renewal(), Some(now + time::Duration::seconds(30)));
        let first = certificates.of("default", "a").unwrap().chain_pem.clone();
        certificates.keep(&accounts, now + time::Duration::seconds(29)).unwrap();
        assert_eq!(certificates.of("default", "a").unwrap().chain_pem, first);
        certificates.keep(&accounts, now + time::Duration::seconds(30)).unwrap();
        assert_ne!(certificates.of("default", "a").unwrap().chain_pem, first);
        certificates.keep(&BTreeSet::from([account("b")]), now).unwrap();
        assert!(certificates.of("default", "a").is_none());
    }

    #[test]
    fn secrets_of_others_are_left_alone() {
        let now = OffsetDateTime::now_utc();
        let mut certificates = Certificates::new(60, now).unwrap();
        certificates.keep(&BTreeSet::from([account("a")]), now).unwrap();
        let mut world = World::default();
        assert!(certificates.actions(&world).is_empty(), "not before there is the namespace");
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
        world.put(Kind::Namespace, namespace);
        let actions = certificates.actions(&world);
        let [Action::Create(Kind::Secret, document)] = actions.as_slice() else {
            panic!("{actions:?}");
        };
        world.put(Kind::Secret, document.clone());
        assert!(certificates.actions(&world).is_empty());
        certificates.keep(&BTreeSet::from([account("a")]), now + time::Duration::DAY).unwrap();
        assert!(matches!(certificates.actions(&world)[..], [Action::Replace(..)]));
        let mut theirs = document.clone();
        theirs["metadata"]["annotations"] = json!({});
        world.put(Kind::Secret, theirs);
        assert!(certificates.actions(&world).is_empty());
    }
}
