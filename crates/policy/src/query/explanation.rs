//! The answer to a question about one flow.

use std::fmt;

use serde::Serialize;

use super::Nearest;
use crate::TraceEntry;

/// The answer: a verdict for each place that decides.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `allow` only if every leg allows.
    pub verdict: Word,
    /// The sender's egress policy, if the sender is an endpoint.
    pub egress: Option<Leg>,
    /// The receiver's ingress policy, if the receiver is an endpoint.
    pub ingress: Option<Leg>,
    /// Policy of host endpoints that the traffic passes through.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward: Vec<Leg>,
    /// What the receiver's sidecar would say, if it was asked about.
    pub application: Option<Leg>,
    /// What is allowed or dropped at these places before policy is asked, whatever it says.
    #[serde(rename = "beforePolicy", skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
}

/// Something that is allowed or dropped before policy is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Before {
    /// At which endpoint; absent for what holds everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `ingress` or `egress` of that endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// What comes of it.
    pub verdict: Word,
    /// What it is.
    pub text: String,
}

/// `allow` or `deny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The traffic may pass.
    Allow,
    /// It may not.
    Deny,
}

impl From<bool> for Word {
    fn from(allowed: bool) -> Word {
        if allowed { Word::Allow } else { Word::Deny }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Allow => "allow",
            Word::Deny => "deny",
        })
    }
}

/// The verdict of one place.
#[derive(Debug, Clone, Serialize)]
pub struct Leg {
    /// Whose policy it is.
    pub endpoint: String,
    /// What it says.
    pub verdict: Word,
    /// What was asked; the last entry decided.
    pub trace: Vec<TraceEntry>,
    /// The same in one sentence.
    pub reason: String,
    /// Of a denial, the Allow rule that lacked least, and what would have made it match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Nearest>,
}

impl Explanation {
    /// The legs there are, with their names.
    pub fn legs(&self) -> impl Iterator<Item = (&'static str, &Leg)> {
        let egress = self.egress.iter().map(|leg| ("egress", leg));
        let forward = self.forward.iter().map(|leg| ("forward", leg));
        let ingress = self.ingress.iter().map(|leg| ("ingress", leg));
        let application = self.application.iter().map(|leg| ("application", leg));
        egress.chain(forward).chain(ingress).chain(application)
    }

    /// The leg that decided: the first that denies, else the last.
    pub fn deciding(&self) -> Option<(&'static str, &Leg)> {
        self.legs().find(|(_, leg)| leg.verdict == Word::Deny).or_else(|| self.legs().last())
    }
}
