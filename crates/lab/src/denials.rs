//! What authorizers have refused, from their decision logs.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::error::At;

/// One request or connection that an authorizer has refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Denial {
    /// When, as in RFC 3339.
    pub timestamp: String,
    /// The pod or address it came from.
    pub source: String,
    /// The identity in its certificate.
    pub principal: Option<String>,
    /// The pod it was for.
    pub destination: String,
    /// HTTP method.
    pub method: Option<String>,
    /// HTTP path, without the query.
    pub path: Option<String>,
    /// Tier of the policy that decided.
    pub tier: Option<String>,
    /// Kind of the policy that decided.
    pub kind: Option<String>,
    /// Namespace of the policy that decided.
    pub namespace: Option<String>,
    /// Name of the policy that decided.
    pub name: Option<String>,
    /// What decided: `deny`, `tier-default`, `profile` …
    pub action: Option<String>,
    /// The rule's position in that policy.
    pub rule: Option<u64>,
    /// Why, in one sentence.
    pub reason: String,
}

/// The denials in an authorizer's log, oldest first.
pub(crate) fn read(log: &Path) -> Result<Vec<Denial>, Error> {
    let text = match fs::read_to_string(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("read", log)?,
    };
    Ok(text.lines().filter_map(denial).collect())
}

/// The denial a line tells of, if it does.
fn denial(line: &str) -> Option<Denial> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_decision = line.get("target")?.as_str()? == tortie_authz::decision_log::TARGET;
    if is_decision { serde_json::from_value(line).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_decisions_count() {
        let line = r#"{"timestamp":"t","level":"INFO","message":"denied","source":"default/attack",
            "destination":"default/database-0","tier":"default","action":"tier-default",
            "reason":"because","target":"tortie_authz::decision"}"#;
        let found = denial(line).unwrap();
        assert_eq!((&*found.source, &*found.reason), ("default/attack", "because"));
        assert_eq!(found.rule, None);
        assert_eq!(denial(&line.replace("::decision", "::source")), None);
        assert_eq!(denial("not json"), None);
    }
}
