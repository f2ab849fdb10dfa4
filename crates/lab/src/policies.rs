//! Changing the policies of a running lab: all of a change or nothing, and not done before the kernel
//! and every authorizer work by it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tortie_agent::source::Files;
use tortie_authz::client::{HealthCheck, health};
use tortie_client::files::{self, Loaded};
use tortie_model::{FieldError, Resource};
use tortie_policy::Cluster;

use crate::Error;
use crate::admin;
use crate::error::{At, Problems};
use crate::files::{read_json, replace};
use crate::plan::{is_policy, list};
use crate::state::LabDir;
use crate::status::Status;
use crate::supervisor::AUTHORIZER;

/// How long each of them may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two questions to one that does not yet.
const INTERVAL: Duration = Duration::from_millis(10);

/// What a change did to one policy or tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Kind, namespace if it has one, and name: `NetworkPolicy default/x`.
    pub what: String,
    /// What happened to it.
    pub outcome: Outcome,
}

/// What happened to a policy or tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Created,
    /// It replaces an older one.
    Configured,
    /// It was there before, the same.
    Unchanged,
    /// It is gone.
    Deleted,
    /// There was none to delete.
    NotFound,
}

impl Outcome {
    /// The word after the object's name, as kubectl says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::NotFound => "not found",
        }
    }
}

/// Puts the policies and tiers of some files in force.
pub(crate) fn apply(
    dir: &LabDir,
    paths: &[PathBuf],
    recursive: bool,
) -> Result<Vec<Change>, Error> {
    change(dir, paths, recursive, |current, resource| {
        let new = resource.raw.clone();
        match current.iter_mut().find(|r| same(r, resource)) {
            Some(old) if old.raw == new => Outcome::Unchanged,
            Some(old) => {
                *old = resource.clone();
                Outcome::Configured
            }
            None => {
                current.push(resource.clone());
                Outcome::Created
            }
        }
    })
}

/// Takes the policies and tiers of some files out of force.
pub(crate) fn delete(
    dir: &LabDir,
    paths: &[PathBuf],
    recursive: bool,
) -> Result<Vec<Change>, Error> {
    change(dir, paths, recursive, |current, resource| {
        let before = current.len();
        current.retain(|r| !same(r, resource));
        if current.len() < before { Outcome::Deleted } else { Outcome::NotFound }
    })
}

fn change(
    dir: &LabDir,
    paths: &[PathBuf],
    recursive: bool,
    mut one: impl FnMut(&mut Vec<Resource>, &Resource) -> Outcome,
) -> Result<Vec<Change>, Error> {
    let given = files::load(paths, recursive).map_err(Problems::from)?;
    only_policies(&given)?;
    let lock = File::open(dir.path()).at("open", dir.path())?;
    flock(&lock, FlockOperation::LockExclusive).at("lock", dir.path())?;
    let mut current = resources(&dir.policies_file())?;
    let changes = given
        .resources
        .iter()
        .map(|resource| Change { what: name(resource), outcome: one(&mut current, resource) });
    let changes: Vec<_> = changes.collect();
    check(&resources(&dir.cluster_file())?, &current, &given)?;
    let items = current.iter().map(|resource| resource.raw.clone()).collect();
    replace(&dir.policies_file(), list(items).to_string().as_bytes(), 0o600)?;
    wait_in_force(dir)?;
    Ok(changes)
}

/// Anything else would need pods to be started or stopped.
fn only_policies(given: &Loaded) -> Result<(), Error> {
    let others = given.resources.iter().enumerate().filter(|(_, r)| !is_policy(r));
    let error = |(position, resource): (usize, &Resource)| {
        let reason =
            format!("a running lab takes policies and tiers only, not `{}`", resource.kind);
        given.error(position, FieldError::new("kind", reason))
    };
    let errors: Vec<_> = others.map(error).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problems::from(errors).into()) }
}

/// The resources of a document of kind `List` that the lab wrote.
fn resources(path: &Path) -> Result<Vec<Resource>, Error> {
    let document: Value = read_json(path)?;
    tortie_model::decode(document)
        .map_err(|_| Error::program("policies", format!("`{}` is damaged", path.display())))
}

/// Whether all of it makes sense together.
fn check(cluster: &[Resource], policies: &[Resource], given: &Loaded) -> Result<(), Error> {
    let Err(invalid) = Cluster::build(cluster.iter().chain(policies)) else { return Ok(()) };
    let errors = invalid.into_iter().map(|invalid| {
        let resource = cluster.iter().chain(policies).nth(invalid.resource);
        let same = |other: &Resource| resource.is_some_and(|resource| same(resource, other));
        let position = given.resources.iter().position(same);
        given.error(position.unwrap_or(usize::MAX), invalid.error)
    });
    Err(Problems::from(errors.collect::<Vec<_>>()).into())
}

fn same(one: &Resource, other: &Resource) -> bool {
    let key = |r: &Resource| {
        let metadata = r.metadata();
        (r.group().to_owned(), r.kind.clone(), metadata.namespace.clone(), metadata.name.clone())
    };
    key(one) == key(other)
}

fn name(resource: &Resource) -> String {
    let metadata = resource.metadata();
    let namespace = metadata.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    format!("{} {namespace}{}", resource.kind, metadata.name)
}

/// What the agent says of which set of resources the kernel enforces.
const IN_KERNEL: &str = "tortie_network_revision ";

/// Waits until the agent says that of the kernel, and every authorizer of itself, that it works by the
/// files as they are now.
fn wait_in_force(dir: &LabDir) -> Result<(), Error> {
    let mut files = Files::new(vec![dir.cluster()], false);
    let fingerprint = files.read().map_err(Problems::from)?.fingerprint;
    let status: Status = read_json(&dir.status())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.at("start", "runtime")?.block_on(async {
        let in_kernel = timeout(LIMIT, in_kernel(dir, fingerprint)).await;
        in_kernel.map_err(|_| Error::Timeout {
            what: "policy in the kernel".to_owned(),
            seconds: LIMIT.as_secs(),
        })?;
        for pod in status.pods.iter().filter(|pod| pod.sidecar) {
            let socket = dir.pod(&pod.interface).authorizer_socket();
            let confirmed = timeout(LIMIT, confirmed(&socket, fingerprint)).await;
            confirmed.map_err(|_| Error::Timeout {
                what: format!("pod `{}`: loading of policy by `{AUTHORIZER}`", pod.id()),
                seconds: LIMIT.as_secs(),
            })?;
        }
        Ok(())
    })
}

/// Returns when the kernel enforces it.
async fn in_kernel(dir: &LabDir, fingerprint: u64) {
    loop {
        let metrics = admin::get(&dir.agent_admin(), "/metrics").unwrap_or_default();
        let mut revisions = metrics.lines().filter_map(|line| line.strip_prefix(IN_KERNEL));
        if revisions.next().is_some_and(|text| text.parse() == Ok(fingerprint)) {
            return;
        }
        sleep(INTERVAL).await;
    }
}

/// Returns when the authorizer has loaded it. One that does not run reads it when it starts.
async fn confirmed(socket: &Path, fingerprint: u64) {
    loop {
        let report = health(socket, HealthCheck::Readiness).await;
        if report.is_ok_and(|report| report.fingerprint == Some(fingerprint)) {
            return;
        }
        sleep(INTERVAL).await;
    }
}
