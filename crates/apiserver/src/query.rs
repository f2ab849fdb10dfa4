//! What a request's query says.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use smol_str::SmolStr;

use crate::auth::Author;
use crate::defaults::TIER_LABEL;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Status;
use crate::strict::Validation;

/// How exact a list has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Match {
    /// At least as new.
    #[default]
    NotOlderThan,
    /// Exactly then.
    Exact,
}

/// The parameters of all verbs; what a verb has no use for is ignored, as API servers do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    /// A revision; 0 is any.
    pub(crate) resource_version: Option<u64>,
    pub(crate) matching: Option<Match>,
    pub(crate) limit: usize,
    pub(crate) continue_token: Option<String>,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) dry_run: bool,
    pub(crate) force: bool,
    pub(crate) field_manager: Option<String>,
    pub(crate) propagation: Option<String>,
    pub(crate) validation: Validation,
    /// How much of an object a Table's rows carry.
    pub(crate) include_object: Option<String>,
    /// The tiers that policies must be in to be shown, if not all may be seen.
    pub(crate) tiers: Option<BTreeSet<SmolStr>>,
    /// On whose behalf it is asked.
    pub(crate) author: Author,
}

/// One part of a query or a path, decoded.
pub(crate) fn decoded(text: &str) -> Result<String, Status> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| Status::bad_request("the request is not UTF-8"))?;
    Ok(decoded.into_owned())
}

pub(crate) fn yes(value: &str) -> bool {
    matches!(value, "" | "1" | "true" | "True" | "t" | "T" | "TRUE")
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Status> {
    value
        .parse()
        .map_err(|_| Status::bad_request(format!("invalid {name}: `{value}` is not a number")))
}

impl Query {
    /// Reads the part of a URI after `?`.
    pub(crate) fn parse(text: &str) -> Result<Query, Status> {
        let mut query = Query::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.set(&decoded(name)?, decoded(&value.replace('+', " "))?)?;
        }
        query.check()?;
        Ok(query)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Status> {
        match name {
            "labelSelector" => self.labels = LabelSelector::parse(&value)?,
            "fieldSelector" => self.fields = FieldSelector::parse(&value)?,
            "resourceVersion" if !value.is_empty() => {
                self.resource_version = Some(number(name, &value)?);
            }
            "resourceVersionMatch" => self.matching = matching(&value)?,
            "limit" => self.limit = usize::try_from(number::<i64>(name, &value)?).unwrap_or(0),
            "continue" if !value.is_empty() => self.continue_token = Some(value),
            "watch" => self.watch = yes(&value),
            "allowWatchBookmarks" => self.bookmarks = yes(&value),
            "sendInitialEvents" => self.send_initial_events = yes(&value),
            "timeoutSeconds" => self.timeout_seconds = Some(number(name, &value)?),
            "dryRun" => self.dry_run = dry_run(&value)?,
            "force" => self.force = yes(&value),
            "fieldManager" => self.field_manager = Some(value),
            "propagationPolicy" => self.propagation = Some(value),
            "fieldValidation" => self.validation = Validation::parse(&value)?,
            "includeObject" => self.include_object = Some(value),
            _ => {}
        }
        Ok(())
    }

    /// The tier that policies are asked for of.
    pub(crate) fn wanted_tier(&self) -> Option<&str> {
        self.fields.wanted("spec.tier").or_else(|| self.labels.wanted(TIER_LABEL))
    }

    fn check(&self) -> Result<(), Status> {
        let wrong = |text: &str| Err(Status::bad_request(text));
        if self.watch && self.continue_token.is_some() {
            return wrong("`continue` is forbidden for watch");
        }
        if self.send_initial_events && !self.watch {
            return wrong("`sendInitialEvents` is forbidden for list");
        }
        if self.send_initial_events && self.matching != Some(Match::NotOlderThan) {
            return wrong("`sendInitialEvents` requires `resourceVersionMatch=NotOlderThan`");
        }
        if self.watch && self.matching.is_some() && !self.send_initial_events {
            return wrong("`resourceVersionMatch` is forbidden for watch");
        }
        if self.matching == Some(Match::Exact) && self.resource_version.unwrap_or(0) == 0 {
            return wrong("`resourceVersionMatch=Exact` requires a `resourceVersion` above 0");
        }
        if self.continue_token.is_some() && self.resource_version.unwrap_or(0) != 0 {
            return wrong("specifying `resourceVersion` is not allowed when using `continue`");
        }
        Ok(())
    }
}

fn matching(value: &str) -> Result<Option<Match>, Status> {
    match value {
        "" => Ok(None),
        "Exact" => Ok(Some(Match::Exact)),
        "NotOlderThan" => Ok(Some(Match::NotOlderThan)),
        other => Err(Status::bad_request(format!(
            "resourceVersionMatch: `{other}` is neither `Exact` nor `NotOlderThan`"
        ))),
    }
}

/// `All` is the only thing there is to leave undone.
pub(crate) fn dry_run(value: &str) -> Result<bool, Status> {
    match value {
        "All" => Ok(true),
        "" => Ok(false),
        other => Err(Status::bad_request(format!("dryRun: `{other}` is not `All`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused() {
        let query =
            Query::parse("watch=1&resourceVersion=7&labelSelector=a%3Db&unknown=x").unwrap();
        assert!(query.watch && query.resource_version == Some(7));
        for bad in [
            "limit=x",
            "resourceVersion=-1",
            "dryRun=Some",
            "fieldValidation=Some",
            "labelSelector=a%3D%3D%3Db",
            "watch=1&continue=x",
            "sendInitialEvents=true",
            "watch=1&sendInitialEvents=true",
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=Newest",
            "labelSelector=%ff",
        ] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
