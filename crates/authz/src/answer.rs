//! From a decision to the message Envoy understands.
//!
//! Envoy reads a message of all default values as "allow". So every answer states its code, and
//! denials are made in one place, [`Answers::denied`].

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Bytes;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tortie_policy::TraceEntry;
use tortie_proto::ext_authz::check_response::HttpResponse;
use tortie_proto::ext_authz::core::header_value_option::HeaderAppendAction;
use tortie_proto::ext_authz::core::{HeaderValue, HeaderValueOption};
use tortie_proto::ext_authz::http::HttpStatus;
use tortie_proto::ext_authz::rpc::{Code, Status};
use tortie_proto::ext_authz::{CheckResponse, DeniedHttpResponse, OkHttpResponse};

use crate::decide::Decision;
use crate::template::{self, Template};
use crate::text::Shown;

/// Headers with this prefix say what Tortie decided, so nobody else may send them.
pub const OWN_PREFIX: &str = "x-tortie-";

/// What a refused client is told beside the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Nothing.
    #[default]
    None,
    /// Which policy refused.
    Brief,
    /// Which policy refused, and why. Names workloads and addresses to whoever asks.
    Full,
}

/// What Envoy's dynamic metadata say of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metadata {
    /// Nothing.
    None,
    /// What decided.
    Brief,
    /// What decided, and why.
    #[default]
    Full,
}

/// A header to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: Template,
}

/// A text that is no header that can be set.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHeader {
    /// Not `name=value`.
    #[error("`{0}` is not of the form `name=value`")]
    Form(String),
    /// Not a name a header may have, or one that decides where a request goes.
    #[error("`{0}` is not the name of a header that may be set")]
    Name(String),
    /// The value is no template.
    #[error(transparent)]
    Value(#[from] template::InvalidTemplate),
}

impl std::str::FromStr for Header {
    type Err = InvalidHeader;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| InvalidHeader::Form(text.to_owned()))?;
        let name = name.to_ascii_lowercase();
        let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(valid) || name == "host" {
            return Err(InvalidHeader::Name(name));
        }
        let value = value.parse::<Template>()?.of_decision()?;
        Ok(Header { name, value })
    }
}

impl Header {
    fn set(&self, decision: &Decision) -> HeaderValueOption {
        let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let value = self.value.render(decision, None).chars().map(visible).collect();
        HeaderValueOption {
            header: Some(HeaderValue { key: self.name.clone(), value }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        }
    }
}

/// How decisions are told.
#[derive(Debug, Clone)]
pub struct Answers {
    /// What a refused client is told, if there is no `body`.
    pub detail: Detail,
    /// HTTP status of a refusal.
    pub status: u16,
    /// Body of a refusal, in place of `detail`.
    pub body: Option<Template>,
    /// Headers of a refusal.
    pub denied_headers: Vec<Header>,
    /// Headers of an allowed request as the upstream gets it.
    pub upstream_headers: Vec<Header>,
    /// Headers of the upstream's answer to an allowed request as the client gets it.
    pub downstream_headers: Vec<Header>,
    /// What dynamic metadata say.
    pub metadata: Metadata,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            detail: Detail::None,
            status: 403,
            body: None,
            denied_headers: Vec::new(),
            upstream_headers: Vec::new(),
            downstream_headers: Vec::new(),
            metadata: Metadata::Full,
        }
    }
}

impl Answers {
    /// The answer that lets a request pass. Says nothing of the request, so that it is the same for
    /// all that a rule allows.
    #[must_use]
    pub fn allowed(&self, decision: &Decision) -> CheckResponse {
        let set = |headers: &[Header]| headers.iter().map(|h| h.set(decision)).collect();
        let response = OkHttpResponse {
            headers: set(&self.upstream_headers),
            headers_to_remove: Vec::new(),
            response_headers_to_add: set(&self.downstream_headers),
        };
        let empty = response == OkHttpResponse::default();
        CheckResponse {
            status: Some(Status { code: Code::Ok.into(), message: String::new() }),
            http_response: (!empty).then_some(HttpResponse::OkResponse(response)),
            dynamic_metadata: self.metadata(decision),
        }
    }

    /// The same for a request whose client sent headers of our own prefix: they do not reach the
    /// upstream.
    #[must_use]
    pub fn allowed_without(&self, decision: &Decision, names: Vec<String>) -> CheckResponse {
        let mut response = self.allowed(decision);
        let mut ok = match response.http_response.take() {
            Some(HttpResponse::OkResponse(ok)) => ok,
            _ => OkHttpResponse::default(),
        };
        // Removal comes last, so what is set here must not be removed: it replaces.
        let kept = |name: &String| self.upstream_headers.iter().any(|h| h.name == *name);
        ok.headers_to_remove = names.into_iter().filter(|name| !kept(name)).collect();
        response.http_response = Some(HttpResponse::OkResponse(ok));
        response
    }

    /// The answer that refuses a request, for the reason of a decision. Whatever the decision says,
    /// it refuses.
    #[must_use]
    pub fn denied(&self, decision: &Decision) -> CheckResponse {
        let code = match decision.code {
            Code::Ok => Code::Internal,
            code => code,
        };
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: self.status.into() }),
            headers: self.denied_headers.iter().map(|h| h.set(decision)).collect(),
            body: self.denied_body(decision),
        };
        CheckResponse {
            status: Some(Status { code: code.into(), message: message(code).to_owned() }),
            http_response: Some(HttpResponse::DeniedResponse(denied)),
            dynamic_metadata: self.metadata(decision),
        }
    }

    fn denied_body(&self, decision: &Decision) -> String {
        match (&self.body, self.detail) {
            (Some(body), _) => body.render(decision, None),
            (None, Detail::None) => String::new(),
            (None, Detail::Brief) => format!("{}\n", brief(decision)),
            (None, Detail::Full) => format!("{}\n", Shown::sentence(&decision.reason)),
        }
    }

    /// The decision under the keys of `tortie explain`'s trace, plus `verdict` and `reason`: an
    /// encoded `google.protobuf.Struct`.
    fn metadata(&self, decision: &Decision) -> Bytes {
        if self.metadata == Metadata::None {
            return Bytes::new();
        }
        let mut fields = BTreeMap::new();
        let mut put = |key: &str, kind: Kind| {
            fields.insert(key.to_owned(), Value { kind: Some(kind) });
        };
        put("verdict", Kind::StringValue(decision.verdict().to_owned()));
        if self.metadata == Metadata::Full {
            put("reason", Kind::StringValue(Shown::sentence(&decision.reason).to_string()));
        }
        if let Some(by) = &decision.by {
            put_decider(by, &mut put);
        }
        Struct { fields }.encode_to_vec().into()
    }
}

fn put_decider(by: &TraceEntry, put: &mut impl FnMut(&str, Kind)) {
    let texts =
        [("tier", &by.tier), ("kind", &by.kind), ("namespace", &by.namespace), ("name", &by.name)];
    for (key, text) in texts {
        if let Some(text) = text {
            put(key, Kind::StringValue(text.clone()));
        }
    }
    put("action", Kind::StringValue(by.action.to_owned()));
    if let Some(rule) = by.rule.and_then(|rule| u32::try_from(rule).ok()) {
        put("rule", Kind::NumberValue(rule.into()));
    }
}

/// What Envoy writes to its debug log: never more than the kind of answer.
fn message(code: Code) -> &'static str {
    match code {
        Code::Ok => "",
        Code::PermissionDenied => "denied by policy",
        Code::InvalidArgument => "denied: the request cannot be judged as it was written",
        Code::Internal => "denied: there is no policy to judge by",
    }
}

fn brief(decision: &Decision) -> String {
    let by = decision.by.as_ref();
    match (by.and_then(template::policy), by.and_then(|by| by.tier.as_deref())) {
        (Some(policy), _) => format!("denied by {policy}"),
        (None, Some(tier)) => format!("denied by the default of tier {tier}"),
        (None, None) => message(decision.code).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(code: Code) -> Decision {
        Decision { code, by: None, reason: "why\u{1b}".into() }
    }

    #[test]
    fn a_denial_is_one_whatever_it_is_given() {
        for code in [Code::Ok, Code::PermissionDenied, Code::InvalidArgument, Code::Internal] {
            let answer = Answers::default().denied(&decision(code));
            assert_ne!(answer.status.unwrap().code, 0);
        }
    }

    #[test]
    fn headers_are_set_and_ours_removed() {
        let answers = Answers {
            upstream_headers: vec!["X-Tortie-Rule={policy} {rule}".parse().unwrap()],
            downstream_headers: vec!["x-checked={verdict}".parse().unwrap()],
            ..Answers::default()
        };
        let names = ["x-tortie-rule", "x-tortie-other"].map(str::to_owned).to_vec();
        let answer = answers.allowed_without(&decision(Code::Ok), names);
        let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { panic!("not OK") };
        assert_eq!(ok.headers_to_remove, ["x-tortie-other"]);
        let header = ok.headers.first().unwrap().header.as_ref().unwrap();
        assert_eq!((header.key.as_str(), header.value.as_str()), ("x-tortie-rule", "- -"));
        let header = ok.response_headers_to_add.first().unwrap().header.as_ref().unwrap();
        assert_eq!((header.key.as_str(), header.value.as_str()), ("x-checked", "allow"));
    }

    #[test]
    fn a_refusal_is_told_as_configured() {
        let answers = Answers {
            status: 451,
            body: Some("no: {reason}".parse().unwrap()),
            denied_headers: vec!["x-why={code}".parse().unwrap()],
            metadata: Metadata::None,
            ..Answers::default()
        };
        let answer = answers.denied(&decision(Code::PermissionDenied));
        assert!(answer.dynamic_metadata.is_empty());
        let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else { panic!("OK") };
        assert_eq!(denied.body, r"no: why\u{1b}");
        assert_eq!(denied.status.unwrap().code, 451);
        assert_eq!(denied.headers.len(), 1);
    }

    #[test]
    fn headers_that_would_harm_are_refused() {
        for text in ["x", "=v", ":path=/x", "Host=x", "a b=c", "x={path}", "x={", "x\n=y"] {
            assert!(text.parse::<Header>().is_err(), "{text}");
        }
    }
}
