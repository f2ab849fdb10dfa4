//! Texts with places to fill in, for headers, bodies and log lines as operators want them:
//! `denied by {policy}, rule {rule}`.

use std::fmt;
use std::str::FromStr;

use tortie_policy::TraceEntry;

use crate::call::Call;
use crate::decide::Decision;
use crate::text::Shown;

/// Defines the fields with their names, so that none is forgotten in either.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// Something that can be filled in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $($(#[$doc])* $field,)*
        }

        impl Field {
            const ALL: &[(&str, Field)] = &[$(($name, Field::$field),)*];
        }
    };
}

fields! {
    /// `allow` or `deny`.
    Verdict = "verdict",
    /// The code of the answer, such as `PERMISSION_DENIED`.
    Code = "code",
    /// Tier of what decided.
    Tier = "tier",
    /// Kind of what decided.
    Kind = "kind",
    /// Namespace of what decided.
    Namespace = "namespace",
    /// Name of what decided.
    Name = "name",
    /// Kind, namespace and name in one.
    Policy = "policy",
    /// Position of the rule that decided.
    Rule = "rule",
    /// What the decision did: `allow`, `deny`, `tier-default`, `profile`.
    Action = "action",
    /// Why, in a sentence.
    Reason = "reason",
    /// Address of the source.
    Source = "source",
    /// Identity in the source's certificate.
    Principal = "principal",
    /// Address of the destination.
    Destination = "destination",
    /// HTTP method.
    Method = "method",
    /// HTTP path, without query and parameters.
    Path = "path",
    /// Envoy's id of the request.
    Request = "request",
}

impl Field {
    /// Whether it says something of the request, and not only of what decided.
    fn of_request(self) -> bool {
        matches!(
            self,
            Field::Source
                | Field::Principal
                | Field::Destination
                | Field::Method
                | Field::Path
                | Field::Request
        )
    }
}

/// A text with fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// `{` without `}`.
    #[error("`{0}` has a `{{` without `}}`")]
    Open(String),
    /// A field that does not exist.
    #[error("`{{{0}}}` is no field; there are {list}", list = names())]
    Unknown(String),
    /// A field of the request where there can be none.
    #[error("`{{{0}}}` is of the request, which must not be told here")]
    OfRequest(&'static str),
}

fn names() -> String {
    Field::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| InvalidTemplate::Open(text.to_owned()))?;
            let found = Field::ALL.iter().find(|(known, _)| *known == name);
            let (_, field) = found.ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))?;
            parts.extend([Part::Text(before.to_owned()), Part::Field(*field)]);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Template(parts))
    }
}

impl Template {
    /// The same, if it says nothing of the request: the same for all that a rule decides, and
    /// nothing that a stranger wrote.
    ///
    /// # Errors
    /// Of the first field of a request.
    pub fn of_decision(self) -> Result<Template, InvalidTemplate> {
        let fields = self.0.iter().filter_map(|part| match part {
            Part::Field(field) if field.of_request() => Some(*field),
            _ => None,
        });
        let named = |field| Field::ALL.iter().find(|(_, f)| *f == field).map(|(name, _)| *name);
        match fields.filter_map(named).next() {
            Some(name) => Err(InvalidTemplate::OfRequest(name)),
            None => Ok(self),
        }
    }

    /// Filled in.
    #[must_use]
    pub fn render(&self, decision: &Decision, call: Option<&Call<'_>>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                // Writing to a string does not fail.
                Part::Field(field) => drop(write_field(&mut text, *field, decision, call)),
            }
        }
        text
    }
}

fn write_field(
    out: &mut dyn fmt::Write,
    field: Field,
    decision: &Decision,
    call: Option<&Call<'_>>,
) -> fmt::Result {
    let by = decision.by.as_ref();
    let mut put = |text: Option<&str>| out.write_str(text.unwrap_or("-"));
    match field {
        Field::Verdict => put(Some(decision.verdict())),
        Field::Code => put(Some(decision.code.as_str_name())),
        Field::Tier => put(by.and_then(|by| by.tier.as_deref())),
        Field::Kind => put(by.and_then(|by| by.kind.as_deref())),
        Field::Namespace => put(by.and_then(|by| by.namespace.as_deref())),
        Field::Name => put(by.and_then(|by| by.name.as_deref())),
        Field::Policy => put(by.and_then(policy).as_deref()),
        Field::Action => put(by.map(|by| by.action)),
        Field::Rule => match by.and_then(|by| by.rule) {
            Some(rule) => write!(out, "{rule}"),
            None => put(None),
        },
        Field::Reason => write!(out, "{}", Shown::sentence(&decision.reason)),
        _ => match call {
            Some(call) => write_request(out, field, call),
            None => put(None),
        },
    }
}

fn write_request(out: &mut dyn fmt::Write, field: Field, call: &Call<'_>) -> fmt::Result {
    let http = call.http.as_ref();
    let shown = match field {
        Field::Source => return write!(out, "{}", call.source.place),
        Field::Destination => return write!(out, "{}", call.destination.place),
        Field::Principal => {
            Some(call.source.principal).filter(|p| !p.is_empty()).map(Shown::principal)
        }
        Field::Method => http.map(|http| Shown::word(http.method)),
        Field::Path => http.map(|http| Shown::path(http.path)),
        _ => http.map(|http| Shown::word(http.id)),
    };
    match shown {
        Some(shown) => write!(out, "{shown}"),
        None => out.write_str("-"),
    }
}

/// Kind, namespace and name of what decided; none for a tier's default.
#[must_use]
pub fn policy(by: &TraceEntry) -> Option<String> {
    let (kind, name) = (by.kind.as_ref()?, by.name.as_ref()?);
    let namespace = by.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    Some(format!("{kind} {namespace}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_proto::ext_authz::rpc::Code;

    fn decision() -> Decision {
        let by = TraceEntry {
            tier: Some("default".into()),
            kind: Some("NetworkPolicy".into()),
            namespace: Some("bank".into()),
            name: Some("web".into()),
            action: "deny",
            rule: Some(3),
            plane: None,
        };
        Decision { code: Code::PermissionDenied, by: Some(by), reason: "because\n".into() }
    }

    #[test]
    fn fills_in() {
        for (text, filled) in [
            ("", ""),
            ("plain } text", "plain } text"),
            ("{verdict} by {policy}, rule {rule}", "deny by NetworkPolicy bank/web, rule 3"),
            ("{tier}{kind}{namespace}{name}{action}", "defaultNetworkPolicybankwebdeny"),
            ("{code}: {reason}", r"PERMISSION_DENIED: because\n"),
            ("{source} {method}", "- -"),
        ] {
            let template: Template = text.parse().unwrap();
            assert_eq!(template.render(&decision(), None), filled);
        }
        let none = Decision { by: None, ..decision() };
        let template: Template = "{policy} {rule} {tier}".parse().unwrap();
        assert_eq!(template.render(&none, None), "- - -");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Template>().unwrap_err().to_string();
        assert_eq!(error("a {b"), "`a {b` has a `{` without `}`");
        assert!(error("{polcy}").starts_with("`{polcy}` is no field; there are verdict, code, "));
        let error = "{path}".parse::<Template>().unwrap().of_decision().unwrap_err();
        assert_eq!(error.to_string(), "`{path}` is of the request, which must not be told here");
        assert!("{policy}".parse::<Template>().unwrap().of_decision().is_ok());
    }
}
