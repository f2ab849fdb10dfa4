//! Health: Dikastes' service and the standard one, over the same facts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};
use tortie_daemon::readiness::Readiness;
use tortie_proto::dikastes::{HealthCheckRequest, HealthCheckResponse, healthz_server};
use tortie_proto::health::health_check_response::ServingStatus;
use tortie_proto::health::{self, health_server};

use crate::grpc::Version;
use crate::text::Shown;

/// Response metadata that says what the boolean of Dikastes' protocol cannot: why the server is
/// not ready, or that it works with old policy.
pub(crate) const DETAIL: &str = "tortie-detail";

/// Response metadata that says which policy is in force: a number, equal for equal files.
pub(crate) const FINGERPRINT: &str = "tortie-policy";

/// Whether the policy in force is what its source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// It is.
    Current,
    /// The files are broken, or nobody sends policy any more; the last good one is in force.
    Stale {
        /// Why.
        error: String,
    },
}

/// The health of one server; clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    readiness: Readiness,
    config: Arc<ArcSwap<Config>>,
    fingerprint: Arc<AtomicU64>,
}

impl Health {
    /// Health that follows a readiness, with current configuration.
    #[must_use]
    pub fn new(readiness: Readiness) -> Self {
        let config = Arc::new(ArcSwap::from_pointee(Config::Current));
        Self { readiness, config, fingerprint: Arc::default() }
    }

    /// Records whether the policy in force is what its source says.
    pub fn set_config(&self, config: Config) {
        self.config.store(Arc::new(config));
    }

    /// Records which policy is in force, by [`crate::source::Loaded::fingerprint`]; call it after
    /// the policy was put in force.
    pub fn set_fingerprint(&self, fingerprint: u64) {
        self.fingerprint.store(fingerprint, Ordering::Release);
    }

    /// Whether the policy in force is what its source says.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// What is to be said beyond yes or no; nothing if all is well.
    fn detail(&self) -> Option<String> {
        let pending = self.readiness.pending().into_iter();
        let mut words: Vec<_> =
            pending.map(|p| format!("waiting for {}: {}", p.part, p.reason)).collect();
        if let Config::Stale { error } = &**self.config.load() {
            words.push(format!("policy is stale: {error}"));
        }
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        let fingerprint = self.fingerprint.load(Ordering::Acquire);
        response.metadata_mut().insert(FINGERPRINT, fingerprint.into());
        if let Some(detail) = self.detail()
            && let Some(value) = ascii(&detail)
        {
            response.metadata_mut().insert(DETAIL, value);
        }
        response
    }
}

/// Metadata holds visible ASCII only.
fn ascii(text: &str) -> Option<AsciiMetadataValue> {
    let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let text: String = Shown::sentence(text).to_string().chars().map(visible).collect();
    text.parse().ok()
}

#[tonic::async_trait]
impl healthz_server::Healthz for Health {
    async fn check_readiness(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(self.answer(HealthCheckResponse { healthy: self.readiness.is_ready() }))
    }

    async fn check_liveness(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(self.answer(HealthCheckResponse { healthy: true }))
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    /// Knows the server as a whole (the empty name) and the authorization services.
    async fn check(
        &self,
        request: Request<health::HealthCheckRequest>,
    ) -> Result<Response<health::HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let served = Version::ALL.iter().any(|version| version.service() == service);
        if !service.is_empty() && !served {
            return Err(Status::not_found("no such service"));
        }
        let status = match self.readiness.is_ready() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        Ok(self.answer(health::HealthCheckResponse { status: status.into() }))
    }
}
