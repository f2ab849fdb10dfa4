//! From a call to a decision.

use tortie_policy::{
    Applicable, HttpRequest, Principal, Request, Step, TraceEntry, Trust, Verdict, evaluate,
};
use tortie_proto::ext_authz::rpc::Code;

use crate::call::Call;
use crate::snapshot::{AllowRule, Snapshot};

/// What was decided, and the evidence for it: words are found only when somebody reads them.
#[derive(Debug)]
pub struct Ruling<'a> {
    /// `Ok` allows, any other code denies.
    pub code: Code,
    evidence: Evidence<'a>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one; a box would cost")]
enum Evidence<'a> {
    /// The call was put to policy.
    Judged { request: Request<'a>, applicable: &'a Applicable, verdict: Verdict<'a> },
    /// It could not be.
    NotJudged(String),
}

/// A decision in words, as logs, metadata and clients get it.
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
}

/// Puts a call to the policies of the snapshot.
#[must_use]
pub fn decide<'a>(snapshot: &'a Snapshot, trust: &Trust, call: &Call<'a>) -> Ruling<'a> {
    let Some(applicable) = &snapshot.applicable else {
        let reason = snapshot.problem().unwrap_or_default();
        return Ruling::not_judged(Code::Internal, format!("denied, {reason}"));
    };
    let Some(protocol) = call.protocol else {
        let reason = "denied, the transport protocol is not one Envoy is known to use";
        return Ruling::not_judged(Code::InvalidArgument, reason.to_owned());
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
        false if verdict.rests_on_path(&request, applicable.direction) => Code::InvalidArgument,
        false => Code::PermissionDenied,
    };
    Ruling { code, evidence: Evidence::Judged { request, applicable, verdict } }
}

impl<'a> Ruling<'a> {
    fn not_judged(code: Code, reason: String) -> Self {
        Self { code, evidence: Evidence::NotJudged(reason) }
    }

    /// The rule that allowed the request; none if it was denied.
    #[must_use]
    pub fn allowed_by(&self) -> Option<AllowRule<'a>> {
        let Evidence::Judged { applicable, verdict, .. } = &self.evidence else { return None };
        let (rules, index) = match *verdict.trace.last()? {
            _ if self.code != Code::Ok => return None,
            Step::Rule { policy, index, .. } => (policy.rules(applicable.direction), index),
            Step::Profile { profile, index, .. } => (profile.rules(applicable.direction), index),
            _ => return None,
        };
        rules.get(index).map(AllowRule)
    }

    /// The decision in words.
    #[must_use]
    pub fn explain(&self) -> Decision {
        let code = self.code;
        match &self.evidence {
            Evidence::NotJudged(reason) => Decision { code, by: None, reason: reason.clone() },
            Evidence::Judged { request, applicable, verdict } => Decision {
                code,
                by: verdict.trace.last().map(TraceEntry::from),
                reason: verdict.reason(request, applicable.direction),
            },
        }
    }
}
