//! Rights that last: who watches is asked again who they are, and whether they may still watch that,
//! whenever that may have changed.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, header};
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::time::Instant;

use super::caller::{Caller, Peer};
use crate::api::Api;
use crate::path::Target;
use crate::query::Query;
use crate::status::Status;

/// Least time until a credential that is at its end is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a caller has shown, for as long as an answer lasts.
pub(crate) struct Lasting {
    peer: Peer,
    /// The headers that say who calls, and as whom.
    headers: HeaderMap,
    changes: watch::Receiver<u64>,
    /// When it has to be asked again though nothing has changed.
    until: Option<Instant>,
}

impl Lasting {
    /// What was shown with a request. It is due at once: rights may have changed since they were
    /// asked for.
    pub(crate) fn new(peer: &Peer, headers: &HeaderMap, api: &Api) -> Lasting {
        let says_who =
            |name: &str| name == header::AUTHORIZATION.as_str() || name.starts_with("impersonate-");
        let own = headers.iter().filter(|(name, _)| says_who(name.as_str()));
        let mut changes = api.access.changes();
        changes.mark_changed();
        Lasting {
            peer: peer.clone(),
            headers: own.map(|(name, value)| (name.clone(), value.clone())).collect(),
            changes,
            until: None,
        }
    }

    /// Waits until rights have to be asked for again.
    pub(crate) async fn due(&mut self) {
        let ends = async {
            match self.until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What is followed lives as long as the server.
            _ = self.changes.changed() => {}
            () = ends => {}
        }
    }

    fn note_end(&mut self, caller: &Caller, now: SystemTime) {
        let left = |ends: SystemTime| ends.duration_since(now).unwrap_or_default().max(AGAIN);
        // One that ends after all that a clock can tell does not end.
        self.until = caller.ends.and_then(|ends| Instant::now().checked_add(left(ends)));
    }
}

impl Api {
    /// Whether a watch that was allowed still is, and shows what it showed.
    ///
    /// # Errors
    /// If not.
    pub(crate) async fn may_still_watch(
        &self,
        lasting: &mut Lasting,
        target: &Target,
        query: &Query,
    ) -> Result<(), Status> {
        let caller = self.caller(&lasting.peer, &lasting.headers).await?;
        lasting.note_end(&caller, (self.environment.clock)());
        self.access.permit_target(&caller, "watch", target, query)?;
        let tiers: Option<BTreeSet<SmolStr>> =
            self.visible_tiers(&caller, "watch", target, query).await?;
        if tiers == query.tiers {
            return Ok(());
        }
        // Of what is no longer shown nothing more would be said, not even that it is gone.
        Err(Status::expired("the tiers that you may watch have changed: list again"))
    }
}
