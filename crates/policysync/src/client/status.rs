//! How current the policy in force is.

use tokio::time::Instant;

use super::SessionError;

/// The client's state, for metrics and readiness.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whether the agent is there.
    pub link: Link,
    /// Since when the policy in force may be out of date; nothing while it is current.
    pub stale_since: Option<Instant>,
    /// Whether any state was handed over, ever.
    pub ever_synced: bool,
    /// Connections made.
    pub connections: u64,
    /// Messages read.
    pub messages: u64,
    /// References to sets and policies that were not there.
    pub dangling: u64,
}

/// Whether the agent is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// No attempt has come to an end yet.
    Connecting,
    /// It is, but has not told everything yet.
    Syncing,
    /// It is, and has told everything.
    Synced,
    /// It is not, and why.
    Down(String),
}

impl Status {
    /// Before the first attempt.
    pub fn new(now: Instant) -> Status {
        Status {
            link: Link::Connecting,
            stale_since: Some(now),
            ever_synced: false,
            connections: 0,
            messages: 0,
            dangling: 0,
        }
    }

    /// Whether what is in force is what the agent last told.
    pub fn is_synced(&self) -> bool {
        self.link == Link::Synced
    }

    pub(super) fn connected(&mut self) {
        self.link = Link::Syncing;
        self.connections += 1;
    }

    pub(super) fn synced(&mut self) {
        self.link = Link::Synced;
        self.stale_since = None;
        self.ever_synced = true;
    }

    pub(super) fn disconnected(&mut self, error: &SessionError, now: Instant) {
        self.link = Link::Down(error.to_string());
        self.stale_since.get_or_insert(now);
    }
}
