//! Envoy's authorization service: decode, decide, log, answer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tonic::{Request, Response, Status};
use tortie_policy::Trust;
use tortie_proto::ext_authz::authorization_server::Authorization;
use tortie_proto::ext_authz::{CheckRequest, CheckResponse};

use crate::answer::{self, Detail};
use crate::call::Call;
use crate::decide::decide;
use crate::decision_log;
use crate::snapshot::Snapshot;

/// Answers checks by the snapshot of the moment.
#[derive(Debug)]
pub struct Authorizer {
    snapshot: Arc<ArcSwap<Snapshot>>,
    trust: Trust,
    detail: Detail,
}

impl Authorizer {
    /// Answers by whatever `snapshot` holds when a check arrives.
    #[must_use]
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, trust: Trust, detail: Detail) -> Self {
        Self { snapshot, trust, detail }
    }

    /// One check, without the transport: neither waits nor locks.
    #[must_use]
    pub fn judge(&self, request: &CheckRequest) -> CheckResponse {
        let call = Call::from(request);
        let snapshot = self.snapshot.load();
        let ruling = decide(&snapshot, &self.trust, &call);
        if let Some(rule) = ruling.allowed_by() {
            return answer::allowed(
                snapshot.metadata(rule, || answer::metadata(&ruling.explain())),
            );
        }
        let decision = ruling.explain();
        decision_log::log(&call, &decision);
        answer::denied(&decision, self.detail)
    }
}

#[tonic::async_trait]
impl Authorization for Authorizer {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(self.judge(request.get_ref())))
    }
}
