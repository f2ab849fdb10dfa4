//! From a decision to the message Envoy understands.
//!
//! Envoy reads a message of all default values as "allow". So every answer states its code, and
//! there is one place that makes answers: [`answer`].

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tortie_policy::TraceEntry;
use tortie_proto::ext_authz::check_response::HttpResponse;
use tortie_proto::ext_authz::http::{HttpStatus, StatusCode};
use tortie_proto::ext_authz::rpc::{Code, Status};
use tortie_proto::ext_authz::{CheckResponse, DeniedHttpResponse};

use crate::decide::Decision;
use crate::text::Shown;

/// What a refused client is told beside the status 403.
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

/// The answer to one check.
#[must_use]
pub fn answer(decision: &Decision, detail: Detail) -> CheckResponse {
    CheckResponse {
        status: Some(Status {
            code: decision.code.into(),
            message: message(decision.code).to_owned(),
        }),
        http_response: (!decision.allowed()).then(|| denied(decision, detail)),
        dynamic_metadata: Some(metadata(decision)),
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

fn denied(decision: &Decision, detail: Detail) -> HttpResponse {
    let body = match detail {
        Detail::None => String::new(),
        Detail::Brief => format!("{}\n", brief(decision)),
        Detail::Full => format!("{}\n", Shown::sentence(&decision.reason)),
    };
    let status = Some(HttpStatus { code: StatusCode::Forbidden.into() });
    HttpResponse::DeniedResponse(DeniedHttpResponse { status, body })
}

fn brief(decision: &Decision) -> String {
    match &decision.by {
        Some(TraceEntry { kind: Some(kind), name: Some(name), namespace, .. }) => {
            let namespace = namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
            format!("denied by {kind} {namespace}{name}")
        }
        Some(TraceEntry { tier: Some(tier), .. }) => {
            format!("denied by the default of tier {tier}")
        }
        _ => message(decision.code).to_owned(),
    }
}

/// The decision under the keys of `tortie explain`'s trace, plus `verdict` and `reason`.
fn metadata(decision: &Decision) -> Struct {
    let verdict = if decision.allowed() { "allow" } else { "deny" };
    let mut fields = BTreeMap::new();
    let mut put = |key: &str, text: String| {
        fields.insert(key.to_owned(), Value { kind: Some(Kind::StringValue(text)) });
    };
    put("verdict", verdict.to_owned());
    put("reason", Shown::sentence(&decision.reason).to_string());
    if let Some(by) = &decision.by {
        let texts = [
            ("tier", &by.tier),
            ("kind", &by.kind),
            ("namespace", &by.namespace),
            ("name", &by.name),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                put(key, text.clone());
            }
        }
        put("action", by.action.to_owned());
        if let Some(rule) = by.rule.and_then(|rule| u32::try_from(rule).ok()) {
            let kind = Some(Kind::NumberValue(rule.into()));
            fields.insert("rule".to_owned(), Value { kind });
        }
    }
    Struct { fields }
}
