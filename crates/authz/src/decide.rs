//! From a call to a decision.

use tortie_calc::compiled::{self, Place, Traffic};
use tortie_policy::{
    Criterion, Direction, HttpRequest, Policy, Side, TraceEntry, Tri, Verdict, Witness,
};
use tortie_proto::ext_authz::rpc::Code;

use crate::call::Call;
use crate::snapshot::{Snapshot, Told};

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
    Judged {
        call: Call<'a>,
        traffic: Traffic<'a>,
        place: Place<'a>,
        direction: Direction,
        decision: compiled::Decision<'a>,
        told: Option<&'a Told>,
    },
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

    /// `allow` or `deny`.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        if self.allowed() { "allow" } else { "deny" }
    }
}

/// How much is said of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// What decided.
    Few,
    /// And what would have had to be different, which means to look at every rule again.
    All,
}

/// Puts a call to the policies of the snapshot.
#[must_use]
pub fn decide<'a>(snapshot: &'a Snapshot, call: &Call<'a>) -> Ruling<'a> {
    if !snapshot.in_sync() {
        let reason = "denied, no policy has been received yet";
        return Ruling::not_judged(Code::Internal, reason.to_owned());
    }
    let (index, direction) = match snapshot.guarded.find(call) {
        Ok(found) => found,
        Err(lost) => return Ruling::not_judged(Code::Internal, format!("denied, {lost}")),
    };
    let Some(place) = snapshot.place(index, direction) else {
        return Ruling::not_judged(Code::Internal, "denied, the workload is gone".to_owned());
    };
    let Some(protocol) = call.protocol else {
        let reason = "denied, the transport protocol is not one Envoy is known to use";
        return Ruling::not_judged(Code::InvalidArgument, reason.to_owned());
    };
    let traffic = Traffic::sidecar(
        (call.source.place.into(), call.source.principal),
        (call.destination.place.into(), call.destination.principal),
        protocol,
        call.http.map(|http| HttpRequest::new(http.method, http.path)),
    );
    let decision = place.decide(&traffic);
    let told = snapshot.told(&decision.step, direction);
    let evidence = Evidence::Judged { call: *call, traffic, place, direction, decision, told };
    Ruling { code: code(decision.code), evidence }
}

fn code(code: compiled::Code) -> Code {
    match code {
        compiled::Code::Ok => Code::Ok,
        compiled::Code::PermissionDenied => Code::PermissionDenied,
        compiled::Code::InvalidArgument => Code::InvalidArgument,
        compiled::Code::Internal => Code::Internal,
    }
}

impl<'a> Ruling<'a> {
    /// A refusal of a call that could not be put to policy.
    pub(crate) fn not_judged(code: Code, reason: String) -> Self {
        Self { code, evidence: Evidence::NotJudged(reason) }
    }

    /// What is the same for all that the deciding rule decides; none if no rule decided.
    #[must_use]
    pub fn told(&self) -> Option<&'a Told> {
        match &self.evidence {
            Evidence::Judged { told, .. } => *told,
            Evidence::NotJudged(_) => None,
        }
    }

    /// The decision in words.
    #[must_use]
    pub fn explain(&self, words: Words) -> Decision {
        let code = self.code;
        match &self.evidence {
            Evidence::NotJudged(reason) => Decision { code, by: None, reason: reason.clone() },
            Evidence::Judged { traffic, place, decision, .. }
                if words == Words::All || decision.missing.is_some() =>
            {
                let explained = place.explain(traffic);
                let by = explained.trace.into_iter().next_back();
                Decision { code, by, reason: explained.reason }
            }
            Evidence::Judged { call, direction, decision, .. } => {
                let by = Some(TraceEntry::from(&decision.step));
                let verdict = Verdict { allowed: decision.allowed(), trace: vec![decision.step] };
                let reason = verdict.reason_by(&Brief { call, direction: *direction });
                Decision { code, by, reason }
            }
        }
    }
}

/// What can be said without looking anything up.
struct Brief<'a> {
    call: &'a Call<'a>,
    direction: Direction,
}

impl Witness for Brief<'_> {
    fn direction(&self) -> Direction {
        self.direction
    }

    fn holds(&self, _: &Policy, _: usize, _: Criterion) -> Tri {
        Tri::Unknown
    }

    fn describe(&self, side: Side) -> String {
        match side {
            Side::Source => self.call.source.place.to_string(),
            Side::Destination => self.call.destination.place.to_string(),
        }
    }

    fn describe_traffic(&self) -> String {
        String::new()
    }
}
