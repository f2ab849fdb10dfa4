//! From a decision to the message Envoy understands.
//!
//! Envoy reads a message of all default values as "allow". So every answer states its code, and
//! denials are made in one place: [`denied`].

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Bytes;
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

/// The answer that lets a request pass.
#[must_use]
pub fn allowed(dynamic_metadata: Bytes) -> CheckResponse {
    let status = Some(Status { code: Code::Ok.into(), message: String::new() });
    CheckResponse { status, http_response: None, dynamic_metadata }
}

/// The answer that refuses a request, for the reason of a decision. Whatever the decision says, it
/// refuses.
#[must_use]
pub fn denied(decision: &Decision, detail: Detail) -> CheckResponse {
    let code = match decision.code {
        Code::Ok => Code::Internal,
        code => code,
    };
    let message = message(code).to_owned();
    let body = match detail {
        Detail::None => String::new(),
        Detail::Brief => format!("{}\n", brief(decision)),
        Detail::Full => format!("{}\n", Shown::sentence(&decision.reason)),
    };
    let status = Some(HttpStatus { code: StatusCode::Forbidden.into() });
    CheckResponse {
        status: Some(Status { code: code.into(), message }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse { status, body })),
        dynamic_metadata: metadata(decision),
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

/// The decision under the keys of `tortie explain`'s trace, plus `verdict` and `reason`: an encoded
/// `google.protobuf.Struct`.
#[must_use]
pub fn metadata(decision: &Decision) -> Bytes {
    let verdict = if decision.allowed() { "allow" } else { "deny" };
    let mut fields = BTreeMap::new();
    let mut put = |key: &str, kind: Kind| {
        fields.insert(key.to_owned(), Value { kind: Some(kind) });
    };
    put("verdict", Kind::StringValue(verdict.to_owned()));
    put("reason", Kind::StringValue(Shown::sentence(&decision.reason).to_string()));
    if let Some(by) = &decision.by {
        let texts = [
            ("tier", &by.tier),
            ("kind", &by.kind),
            ("namespace", &by.namespace),
            ("name", &by.name),
        ];
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
    Struct { fields }.encode_to_vec().into()
}
