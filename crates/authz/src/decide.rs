//! From a call to a decision.

use tortie_policy::{HttpRequest, Principal, Request, TraceEntry, Trust, evaluate};
use tortie_proto::ext_authz::rpc::Code;

use crate::call::Call;
use crate::snapshot::Snapshot;

/// A verdict with its reason, and the code that tells Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// `Ok` allows, any other code denies.
    pub code: Code,
    /// What decided; none if the call was not put to policy.
    pub by: Option<TraceEntry>,
    /// Why, in one sentence. May quote the request, but no header, query or body of it.
    pub reason: String,
}

impl Decision {
    /// Whether the request may pass.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.code == Code::Ok
    }

    fn not_judged(code: Code, reason: String) -> Self {
        Self { code, by: None, reason }
    }
}

/// Puts a call to the policies of the snapshot.
#[must_use]
pub fn decide(snapshot: &Snapshot, trust: &Trust, call: &Call<'_>) -> Decision {
    let Some(applicable) = &snapshot.applicable else {
        let reason = snapshot.problem().unwrap_or_default();
        return Decision::not_judged(Code::Internal, format!("denied, {reason}"));
    };
    let Some(protocol) = call.protocol else {
        let reason = "denied, the transport protocol is not one Envoy is known to use";
        return Decision::not_judged(Code::InvalidArgument, reason.to_owned());
    };
    let request = Request::new(
        &snapshot.cluster,
        trust,
        (call.source.place.into(), Principal::parse(call.source.principal)),
        (call.destination.place.into(), Principal::parse(call.destination.principal)),
        protocol,
        call.http.map(|http| HttpRequest::new(&http.method, &http.path)),
    );
    let verdict = evaluate(applicable, &request);
    let code = match verdict.allowed {
        true => Code::Ok,
        false if verdict.rests_on_path(&request, applicable) => Code::InvalidArgument,
        false => Code::PermissionDenied,
    };
    Decision {
        code,
        by: verdict.trace.last().map(TraceEntry::from),
        reason: verdict.reason(&request, applicable),
    }
}
