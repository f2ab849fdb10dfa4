//! One check: read, decide, log, count, answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prost::Message;
use prost::bytes::Bytes;
use tortie_proto::ext_authz::CheckResponse;
use tortie_proto::ext_authz::rpc::Code;

use crate::answer::{Answers, OWN_PREFIX};
use crate::budget::Budget;
use crate::call::{Call, Http};
use crate::decide::{Decision, Ruling, Words, decide};
use crate::decision_log::DecisionLog;
use crate::grpc::Version;
use crate::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::wire;

/// How long a second denials may be explained at length, in nanoseconds: an explanation looks at every
/// rule, and whoever is refused must not be able to keep the processor busy.
const EXPLAINING: u64 = 100_000_000;

/// Something that answers checks.
pub trait Check: Send + Sync + 'static {
    /// The encoded answer to an encoded check.
    fn check(&self, version: Version, message: &[u8]) -> Bytes;
}

/// What an authorizer is set up with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How decisions are told.
    pub answers: Answers,
    /// The decision log.
    pub log: Arc<DecisionLog>,
    /// Metrics.
    pub metrics: Metrics,
    /// How long policy may not be what its source says before everything is refused; for ever without
    /// it.
    pub max_staleness: Option<Duration>,
    /// Whether a check of versions 2 and 2alpha without HTTP counts as a request without method and
    /// path, as it does for Calico.
    pub empty_http_in_v2: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            answers: Answers::default(),
            log: Arc::new(DecisionLog::new(Default::default())),
            metrics: Metrics::default(),
            max_staleness: None,
            empty_http_in_v2: false,
        }
    }
}

/// Answers checks by the snapshot of the moment.
#[derive(Debug)]
pub struct Authorizer {
    snapshot: Arc<ArcSwap<Snapshot>>,
    setup: Setup,
    explaining: Budget,
    epoch: Instant,
}

impl Authorizer {
    /// Answers by whatever `snapshot` holds when a check arrives.
    #[must_use]
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, setup: Setup) -> Self {
        Self { snapshot, setup, explaining: Budget::new(EXPLAINING), epoch: Instant::now() }
    }

    fn read<'a>(&self, version: Version, message: &'a [u8]) -> Option<Call<'a>> {
        let mut call = wire::read(message).ok()?;
        if version != Version::V3 && self.setup.empty_http_in_v2 {
            call.http = Some(call.http.unwrap_or_else(Http::default));
        }
        Some(call)
    }

    /// The answer and its code.
    fn judge(&self, version: Version, message: &[u8], now: Duration) -> (Bytes, Code) {
        let Some(call) = self.read(version, message) else {
            self.setup.metrics.malformed();
            return self.unreadable();
        };
        let snapshot = self.snapshot.load();
        let ruling = match self.too_old() {
            None => decide(&snapshot, &call),
            Some(ruling) => ruling,
        };
        let told = ruling.told();
        let count = told.map(|told| {
            told.count.get_or_init(|| {
                let decision = ruling.explain(Words::Few);
                self.setup.metrics.decider(decision.allowed(), decision.by.as_ref())
            })
        });
        count.map(|count| count.inc());
        if ruling.code != Code::Ok {
            return self.deny(&call, &ruling, count.is_some(), now);
        }
        if self.setup.log.wants(true, now) {
            self.setup.log.write(&call, &ruling.explain(Words::Few));
        }
        (self.allow(&call, &ruling), Code::Ok)
    }

    fn too_old(&self) -> Option<Ruling<'static>> {
        let limit = self.setup.max_staleness?;
        let age = self.setup.metrics.staleness().filter(|age| *age > limit)?;
        let reason = format!(
            "denied, policy has not been what its source says for {} s, more than {} s",
            age.as_secs(),
            limit.as_secs()
        );
        Some(Ruling::not_judged(Code::Internal, reason))
    }

    fn allow(&self, call: &Call<'_>, ruling: &Ruling<'_>) -> Bytes {
        let answers = &self.setup.answers;
        let mut names = Vec::new();
        if call.http.is_some_and(|http| http.ours) {
            call.header_names(OWN_PREFIX, |name| names.push(name.to_owned()));
        }
        let decision = || ruling.explain(Words::Few);
        if !names.is_empty() {
            return encode(&answers.allowed_without(&decision(), names));
        }
        let make = || encode(&answers.allowed(&decision()));
        match ruling.told() {
            Some(told) => told.answer.get_or_init(make).clone(),
            None => make(),
        }
    }

    fn deny(
        &self,
        call: &Call<'_>,
        ruling: &Ruling<'_>,
        counted: bool,
        now: Duration,
    ) -> (Bytes, Code) {
        let words = if self.explaining.is_left(now) { Words::All } else { Words::Few };
        let begin = Instant::now();
        let decision = ruling.explain(words);
        self.explaining.spend(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if !counted {
            self.setup.metrics.decider(false, decision.by.as_ref()).inc();
        }
        if self.setup.log.wants(false, now) {
            self.setup.log.write(call, &decision);
        }
        (encode(&self.setup.answers.denied(&decision)), decision.code)
    }

    /// An error of gRPC would let the request pass where Envoy is told to; an answer never does.
    fn unreadable(&self) -> (Bytes, Code) {
        let reason = "denied, the check cannot be read".to_owned();
        let decision = Decision { code: Code::InvalidArgument, by: None, reason };
        (encode(&self.setup.answers.denied(&decision)), decision.code)
    }
}

impl Check for Authorizer {
    /// Neither waits nor locks.
    fn check(&self, version: Version, message: &[u8]) -> Bytes {
        let begin = Instant::now();
        let (answer, code) = self.judge(version, message, begin.duration_since(self.epoch));
        self.setup.metrics.answered(version, code, begin.elapsed());
        answer
    }
}

fn encode(response: &CheckResponse) -> Bytes {
    response.encode_to_vec().into()
}
