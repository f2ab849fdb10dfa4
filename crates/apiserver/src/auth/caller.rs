//! Callers, and the connections they come by.

use std::time::SystemTime;

use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::tls::Subject;

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";

/// The group of everybody who is known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";

/// The user of this machine's own programs.
pub(crate) const LOCAL: &str = "system:tortie";

const ANONYMOUS: (&str, &str) = ("system:anonymous", "system:unauthenticated");

/// What is known of the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// It has the rights of the server's own user on this machine.
    Local,
    /// It has come by HTTP without TLS, from this machine.
    Open,
    /// It has shown a certificate.
    Certificate(Subject),
    /// It has shown a certificate that is not to be trusted, for this reason.
    Untrusted(String),
    /// Nothing.
    Unknown,
}

/// Somebody who calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: SmolStr,
    /// What tells one service account of a name from another; empty for others.
    pub(crate) uid: SmolStr,
    pub(crate) groups: Vec<SmolStr>,
    /// Who acts as this user, if somebody does.
    pub(crate) impersonator: Option<SmolStr>,
    /// When what they have shown ends, if it does.
    pub(crate) ends: Option<SystemTime>,
}

impl Caller {
    /// Somebody who has proven to be a user.
    pub(crate) fn known(user: &str, groups: impl IntoIterator<Item = SmolStr>) -> Caller {
        let mut all: Vec<SmolStr> = groups.into_iter().collect();
        if !all.iter().any(|group| group == AUTHENTICATED) {
            all.push(AUTHENTICATED.into());
        }
        Caller { user: user.into(), groups: all, ..Caller::default() }
    }

    /// This machine's own programs.
    pub(crate) fn local() -> Caller {
        Caller::known(LOCAL, [SmolStr::new_static(MASTERS)])
    }

    /// Somebody who has proven nothing.
    pub(crate) fn anonymous() -> Caller {
        let (user, group) = ANONYMOUS;
        Caller { user: user.into(), groups: vec![group.into()], ..Caller::default() }
    }

    /// The same, by something that ends.
    pub(crate) fn until(self, ends: SystemTime) -> Caller {
        Caller { ends: Some(ends), ..self }
    }

    /// As reviews say it.
    pub(crate) fn info(&self) -> Value {
        let mut info = json!({"username": self.user, "groups": self.groups});
        if !self.uid.is_empty() {
            crate::object::map(&mut info).insert("uid".into(), self.uid.as_str().into());
        }
        info
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.user == ANONYMOUS.0
    }

    /// Whether they may do everything, whatever roles say.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}
