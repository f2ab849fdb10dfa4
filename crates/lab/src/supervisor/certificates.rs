//! The lab's authority at work: a certificate for every service account, renewed in time, and
//! brought to every Envoy and every Secret volume that shows it.
//!
//! The authority's key is in this process's memory and nowhere else; it ends with the lab.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::sleep;
use tortie_mesh::ca::{Authority, WorkloadCertificate};
use tortie_mesh::identity::{TrustDomain, Workload};
use tortie_mesh::sds;

use super::{Environment, volumes};
use crate::Error;
use crate::files::replace_for;
use crate::plan::{Account, PodPlan, SecretPlan, TRUST_DOMAIN, VolumeSource, certificate_secret};
use crate::privileges::Privileges;

/// The authority outlives any lab.
const AUTHORITY_LIFETIME: time::Duration = time::Duration::days(3650);
/// How long to wait before a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The contents of a Secret by key.
type Contents = BTreeMap<String, Vec<u8>>;

/// The certificates of a lab's service accounts.
#[derive(Debug)]
pub(crate) struct Certificates {
    authority: Authority,
    lifetime: time::Duration,
    renewals: BTreeMap<Account, OffsetDateTime>,
    version: u64,
}

impl Certificates {
    /// A new authority, with a certificate for each service account, published.
    pub(crate) fn new(env: &Environment, now: OffsetDateTime) -> Result<Self, Error> {
        let domain: TrustDomain = TRUST_DOMAIN.parse().map_err(failed)?;
        let seconds = i64::try_from(env.plan.certificate_seconds).unwrap_or(i64::MAX);
        let mut own = Self {
            authority: Authority::new(domain, now, AUTHORITY_LIFETIME).map_err(failed)?,
            lifetime: time::Duration::seconds(seconds),
            renewals: BTreeMap::new(),
            version: 0,
        };
        own.renew(env, &env.plan.accounts, now)?;
        Ok(own)
    }

    /// Renews certificates in time, for as long as the lab lives.
    pub(crate) async fn keep(mut self, env: Arc<Environment>) {
        while let Some(next) = self.renewals.values().min().copied() {
            sleep(until(next, OffsetDateTime::now_utc())).await;
            let now = OffsetDateTime::now_utc();
            let due = self.renewals.iter().filter(|(_, at)| **at <= now);
            let due: Vec<Account> = due.map(|(account, _)| account.clone()).collect();
            if let Err(error) = self.renew(&env, &due, now) {
                tracing::error!(%error, "certificates could not be renewed; trying again");
                sleep(RETRY).await;
            }
        }
    }

    fn renew(
        &mut self,
        env: &Environment,
        accounts: &[Account],
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        for account in accounts {
            let workload = Workload::new(&account.namespace, &account.name).map_err(failed)?;
            let issued = self.authority.issue(&workload, now, self.lifetime).map_err(failed)?;
            self.version += 1;
            for pod in env.plan.pods.iter().filter(|pod| pod.id.namespace == account.namespace) {
                self.publish(env, pod, account, &issued)?;
            }
            self.renewals.insert(account.clone(), renewal(now, issued.not_after));
        }
        Ok(())
    }

    /// Brings a certificate to a pod of its namespace: to its Envoy, if the pod runs under that
    /// account, and to the volumes that show the account's Secret, unless the manifests have a
    /// Secret of that name.
    fn publish(
        &self,
        env: &Environment,
        pod: &PodPlan,
        account: &Account,
        issued: &WorkloadCertificate,
    ) -> Result<(), Error> {
        if pod.proxy.is_some() && pod.account == account.name {
            let owner = Privileges::sidecar(env.plan.rootless, false).user;
            publish_sds(&env.dir.pod(&pod.link.interface).sds(), issued, owner)?;
        }
        let secret = certificate_secret(&account.name);
        if given(env, pod).any(|other| other.name == secret) {
            return Ok(());
        }
        let entries = issued.secret_entries();
        let contents = entries.map(|(key, text)| (key.to_owned(), text.as_bytes().to_vec()));
        let stamp = format!("version-{}", self.version);
        publish_volumes(env, pod, &secret, &contents.into(), &stamp)
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::program("certificates", error)
}

/// The middle of the time that is left, so that a renewal that fails can be tried many times.
fn renewal(now: OffsetDateTime, not_after: OffsetDateTime) -> OffsetDateTime {
    now + (not_after - now) / 2
}

fn until(then: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(then - now).unwrap_or_default()
}

/// Shows a pod's volumes the Secrets of the manifests.
pub(crate) fn publish_given(env: &Environment, pod: &PodPlan) -> Result<(), Error> {
    given(env, pod).try_for_each(|s| publish_volumes(env, pod, &s.name, &s.data, "given"))
}

/// The Secrets of the manifests in a pod's namespace.
fn given<'a>(env: &'a Environment, pod: &'a PodPlan) -> impl Iterator<Item = &'a SecretPlan> {
    env.plan.secrets.iter().filter(|secret| secret.namespace == pod.id.namespace)
}

fn publish_volumes(
    env: &Environment,
    pod: &PodPlan,
    secret: &str,
    contents: &Contents,
    stamp: &str,
) -> Result<(), Error> {
    for volume in &pod.volumes {
        match &volume.source {
            VolumeSource::Secret(chosen) if chosen.secret == secret => {
                let path = env.dir.pod(&pod.link.interface).volume(&volume.name);
                volumes::publish(&path, chosen, contents, stamp)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// As [`sds::publish`], for an Envoy that runs as another user.
fn publish_sds(dir: &Path, issued: &WorkloadCertificate, owner: Option<u32>) -> Result<(), Error> {
    for (name, content) in sds::files(issued) {
        // Outside of the watched directory until it is whole.
        let staged = dir.with_file_name(format!(".{name}.new"));
        replace_for(owner, &staged, &dir.join(name), content.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_leaves_half_of_the_time() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for lifetime in [2, 60, 86_400] {
            let at = renewal(now, now + time::Duration::seconds(lifetime));
            assert_eq!(until(at, now), Duration::from_secs(lifetime.unsigned_abs() / 2));
        }
        assert_eq!(until(now, now + time::Duration::DAY), Duration::ZERO);
    }
}
