//! Changing what the API server of a running lab holds: all of a change or nothing, as far as can be
//! told before, and not done before the kernel and every authorizer work by it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use tortie_client::files::{self, Loaded};
use tortie_client::server::{ApiKind, Error as ApiError, Kinds};
use tortie_model::{FieldError, Resource};

use crate::error::{At, Problems};
use crate::plan::number_modes;
use crate::state::LabDir;
use crate::supervisor::{Api, Applied, describe, is_place};
use crate::{Error, in_force};

/// What a change did to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Kind, namespace if it has one, and name: `NetworkPolicy default/x`.
    pub what: String,
    /// What happened to it.
    pub outcome: Outcome,
}

/// What happened to an object.
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

impl From<Applied> for Outcome {
    fn from(applied: Applied) -> Self {
        match applied {
            Applied::Created => Self::Created,
            Applied::Configured => Self::Configured,
            Applied::Unchanged => Self::Unchanged,
        }
    }
}

/// Gives the API server what some files hold.
pub(crate) fn apply(
    dir: &LabDir,
    paths: &[PathBuf],
    recursive: bool,
) -> Result<Vec<Change>, Error> {
    let mut given = files::load(paths, recursive).map_err(Problems::from)?;
    given.resources.iter_mut().for_each(|resource| number_modes(&mut resource.raw));
    block_on(async {
        let api = Api::of(dir).await?;
        let kinds = kinds(&given, &api.kinds().await?)?;
        check(&api, &given, &kinds).await?;
        let mut changes = Vec::new();
        for (resource, kind) in places_first(&given, &kinds) {
            let outcome = api.apply(kind, &resource.raw).await?.into();
            changes.push(Change { what: describe(&resource.raw), outcome });
        }
        in_force::wait(dir, &api).await?;
        Ok(changes)
    })
}

/// Deletes from the API server what some files hold.
pub(crate) fn delete(
    dir: &LabDir,
    paths: &[PathBuf],
    recursive: bool,
) -> Result<Vec<Change>, Error> {
    let given = files::load(paths, recursive).map_err(Problems::from)?;
    block_on(async {
        let api = Api::of(dir).await?;
        let kinds = kinds(&given, &api.kinds().await?)?;
        let mut changes = Vec::new();
        // Whatever is in something goes before it.
        for (resource, kind) in places_first(&given, &kinds).into_iter().rev() {
            let found = api.delete(kind, &resource.raw).await?;
            let outcome = if found { Outcome::Deleted } else { Outcome::NotFound };
            changes.push(Change { what: describe(&resource.raw), outcome });
        }
        changes.reverse();
        in_force::wait(dir, &api).await?;
        Ok(changes)
    })
}

/// Resources with their kinds, those that others come into before all others.
fn places_first<'a>(given: &'a Loaded, kinds: &'a [ApiKind]) -> Vec<(&'a Resource, &'a ApiKind)> {
    let mut ordered: Vec<_> = given.resources.iter().zip(kinds).collect();
    ordered.sort_by_key(|(resource, _)| !is_place(&resource.raw));
    ordered
}

/// Returns when what the API server holds is in force.
pub(crate) fn wait_in_force(dir: &LabDir) -> Result<(), Error> {
    block_on(async { in_force::wait(dir, &Api::of(dir).await?).await })
}

fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.at("start", "runtime")?.block_on(work)
}

/// The kind of each resource.
fn kinds(given: &Loaded, kinds: &Kinds) -> Result<Vec<ApiKind>, Error> {
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for (position, resource) in given.resources.iter().enumerate() {
        match kinds.of(&resource.raw) {
            Some(served) => found.push(served.kind.clone()),
            None => {
                let (kind, version) = (&resource.kind, &resource.api_version);
                let reason = format!("the lab has no kind `{kind}` of `{version}`");
                errors.push(given.error(position, FieldError::new("kind", reason)));
            }
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(Problems::from(errors).into()) }
}

/// Asks whether all of it would be accepted; what belongs to a namespace or a tier that is among it
/// cannot be asked before that is there.
async fn check(api: &Api, given: &Loaded, kinds: &[ApiKind]) -> Result<(), Error> {
    let new = |kind: &str| -> BTreeSet<&str> {
        let places = given.resources.iter().filter(|resource| resource.kind == kind);
        places.map(|place| place.metadata().name.as_str()).collect()
    };
    let (namespaces, tiers) = (new("Namespace"), new("Tier"));
    let mut errors = Vec::new();
    for (position, (resource, kind)) in given.resources.iter().zip(kinds).enumerate() {
        let namespace = resource.metadata().namespace.as_deref().unwrap_or_default();
        let tier = resource.raw.pointer("/spec/tier").and_then(Value::as_str).unwrap_or_default();
        if namespaces.contains(namespace) || tiers.contains(tier) {
            continue;
        }
        match api.check(kind, &resource.raw).await {
            Err(ApiError::Refused(status)) => {
                let causes = status.causes.iter().filter(|cause| !cause.field.is_empty());
                let told: Vec<_> = causes
                    .map(|cause| FieldError::new(&cause.field, cause.message.clone()))
                    .collect();
                let whole = || vec![FieldError::new("", status.to_string())];
                let told = if told.is_empty() { whole() } else { told };
                errors.extend(told.into_iter().map(|error| given.error(position, error)));
            }
            other => other?,
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problems::from(errors).into()) }
}
