//! Getting and listing.

use std::num::NonZeroUsize;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tortie_store::{At, Continue, List, Object, Revision, Store};

use crate::api::{Api, reading, scope, target_key};
use crate::defaults;
use crate::object;
use crate::path::Target;
use crate::query::{Match, Query};
use crate::status::Status;

/// Objects that were asked for.
pub(crate) struct Found {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) revision: u64,
    /// How to go on.
    pub(crate) more: Option<String>,
}

/// Where a list goes on, as clients hand it back.
#[derive(Serialize, Deserialize)]
struct Token {
    rv: u64,
    after: String,
}

fn token(place: &Continue) -> String {
    let token = Token { rv: place.revision.get(), after: place.after.to_string() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn place(token: &str) -> Result<At, Status> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let token: Option<Token> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let token = token.ok_or_else(|| Status::bad_request("continue key is not valid"))?;
    Ok(At::Continue(Continue { revision: Revision::new(token.rv), after: token.after.into() }))
}

impl Query {
    /// Whether an object is selected.
    pub(crate) fn selects(&self, document: &Value) -> bool {
        self.labels.matches(document)
            && self.fields.matches(document)
            && self.tiers.as_ref().is_none_or(|tiers| tiers.contains(defaults::tier_of(document)))
    }

    /// Whether everything is.
    pub(crate) fn selects_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.tiers.is_none()
    }

    /// The state that a list is to show.
    fn at(&self) -> Result<At, Status> {
        match (&self.continue_token, self.matching, self.resource_version) {
            (Some(token), ..) => place(token),
            (None, Some(Match::Exact), Some(revision)) => Ok(At::Revision(Revision::new(revision))),
            _ => Ok(At::Latest),
        }
    }
}

impl Api {
    /// One object.
    pub(crate) async fn get(&self, target: &Target) -> Result<Value, Status> {
        let object = self.find(&target.kind, &target_key(target)?).await?;
        Ok(object::decode(&target.kind, &object))
    }

    /// The objects that a query selects, as many as it wants.
    pub(crate) async fn list(&self, target: &Target, query: &Query) -> Result<Found, Status> {
        let kind = &target.kind;
        query.fields.check(&kind.selectable)?;
        let scope = scope(&kind.resource, target.namespace.as_deref())?;
        let limit = NonZeroUsize::new(query.limit);
        let mut list = List { scope, at: query.at()?, limit };
        let mut objects = Vec::new();
        loop {
            let page = self.store.list(&list).await.map_err(reading)?;
            check_reached(query, page.revision)?;
            let selected = page.objects.into_iter().filter(|object| {
                query.selects_all() || query.selects(&object::decode(kind, object))
            });
            objects.extend(selected);
            let revision = page.revision.get();
            match (page.more, limit) {
                (Some(more), Some(limit)) if objects.len() < limit.get() => {
                    // Some were not selected: as many more as are missing.
                    list.limit = NonZeroUsize::new(limit.get() - objects.len());
                    list.at = At::Continue(more);
                }
                (more, _) => {
                    return Ok(Found { objects, revision, more: more.as_ref().map(token) });
                }
            }
        }
    }
}

/// A list must not be older than what was asked for.
fn check_reached(query: &Query, revision: Revision) -> Result<(), Status> {
    match query.resource_version {
        Some(asked) if asked > revision.get() => Err(Status::future(asked, revision.get())),
        _ => Ok(()),
    }
}
