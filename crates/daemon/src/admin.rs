//! What operators ask a running program: metrics, readiness, liveness, and what it logs.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | metrics, for Prometheus |
//! | `GET /ready` | 200, or 503 with what is waited for |
//! | `GET /live` | 200 |
//! | `GET /log` | what is logged |
//! | `PUT /log` | logs by the filter in the body from now on; only from this machine |

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::http::{self, Answer, Call, Listener, Place};
use crate::log::Handle;
use crate::metrics::{self, Registry};
use crate::readiness::Readiness;
use crate::shutdown::Watch;

/// What the answers rest on; clones share it.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Metrics.
    pub registry: Arc<Registry>,
    /// Readiness.
    pub readiness: Readiness,
    /// The log's filter.
    pub log: Option<Handle>,
}

impl Admin {
    /// Answers at `place`, on which `listener` listens, until the drain begins.
    pub async fn serve(self, place: Place, listener: Listener, drain: Watch) {
        let local = place.is_local();
        let admin = Arc::new(self);
        let handler = move |call: Call| {
            let admin = Arc::clone(&admin);
            async move { admin.answer(&call, local) }
        };
        http::serve(listener, handler, drain).await;
    }

    /// The answer to one request; `local` says whether it may change anything.
    fn answer(&self, call: &Call, local: bool) -> Answer {
        match (&call.method, call.path.as_str()) {
            (&Method::GET, "/metrics") => self.metrics(),
            (&Method::GET, "/ready" | "/readyz") => self.ready(),
            (&Method::GET, "/live" | "/livez" | "/healthz") => {
                http::answer(StatusCode::OK, "alive")
            }
            (&Method::GET, "/log") => match &self.log {
                Some(log) => http::answer(StatusCode::OK, &log.filter()),
                None => not_found(),
            },
            (&Method::PUT | &Method::POST, "/log") if local => self.set_log(&call.body),
            (&Method::PUT | &Method::POST, "/log") => {
                http::answer(StatusCode::FORBIDDEN, "only on a loopback address or a Unix socket")
            }
            (_, "/metrics" | "/ready" | "/live" | "/log") => {
                http::answer(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            }
            _ => not_found(),
        }
    }

    fn metrics(&self) -> Answer {
        let Ok(text) = metrics::text(&self.registry) else {
            return http::answer(StatusCode::INTERNAL_SERVER_ERROR, "a metric cannot be read");
        };
        let mut answer = Response::new(Full::new(Bytes::from(text)));
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    fn ready(&self) -> Answer {
        let pending = self.readiness.pending();
        if pending.is_empty() {
            return http::answer(StatusCode::OK, "ready");
        }
        let lines: Vec<_> =
            pending.iter().map(|p| format!("waiting for {}: {}", p.part, p.reason)).collect();
        http::answer(StatusCode::SERVICE_UNAVAILABLE, &lines.join("\n"))
    }

    fn set_log(&self, body: &[u8]) -> Answer {
        let Some(log) = &self.log else { return not_found() };
        let Ok(filter) = str::from_utf8(body) else {
            return http::answer(StatusCode::BAD_REQUEST, "the filter is not UTF-8");
        };
        match log.set(filter.trim()) {
            Ok(()) => {
                tracing::info!(filter = filter.trim(), "the log's filter was changed");
                http::answer(StatusCode::OK, &log.filter())
            }
            Err(error) => http::answer(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
}

fn not_found() -> Answer {
    http::answer(StatusCode::NOT_FOUND, "try /metrics, /ready, /live or /log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn ask(
        admin: &Admin,
        method: Method,
        path: &str,
        body: &'static str,
        local: bool,
    ) -> (u16, String) {
        let call =
            Call { method, path: path.to_owned(), body: Bytes::from_static(body.as_bytes()) };
        let answer = admin.answer(&call, local);
        let status = answer.status().as_u16();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn answers() {
        let (readiness, mut guard) = Readiness::new("policy", "the first load");
        let (_subscriber, handle) =
            crate::log::reloadable(crate::log::Format::Json, "info", std::io::sink, false).unwrap();
        let registry = Arc::new(Registry::with_prefix("tortie"));
        let admin = Admin { registry, readiness, log: Some(handle) };
        let get = |path| ask(&admin, Method::GET, path, "", false);
        assert_eq!(get("/ready"), (503, "waiting for policy: the first load\n".into()));
        guard.ready();
        assert_eq!(get("/ready"), (200, "ready\n".into()));
        assert_eq!(get("/live"), (200, "alive\n".into()));
        assert_eq!(get("/metrics"), (200, "# EOF\n".into()));
        assert_eq!(get("/log"), (200, "info\n".into()));
        assert_eq!(get("/nothing").0, 404);
        let put = |body, local| ask(&admin, Method::PUT, "/log", body, local);
        assert_eq!(put("debug", false).0, 403);
        assert_eq!(put("a=b=c", true).0, 400);
        assert_eq!(put("debug\n", true), (200, "debug\n".into()));
        assert_eq!(ask(&admin, Method::DELETE, "/metrics", "", true).0, 405);
    }

    #[test]
    fn places() {
        let local = |text: &str| text.parse::<Place>().map(|place| place.is_local()).ok();
        assert_eq!(local("127.0.0.1:9090"), Some(true));
        assert_eq!(local("[::1]:9090"), Some(true));
        assert_eq!(local("0.0.0.0:9090"), Some(false));
        assert_eq!(local("unix:/run/x"), Some(true));
        for wrong in ["unix:", "localhost:1", ":9090", "9090", ""] {
            assert_eq!(local(wrong), None, "{wrong}");
        }
    }
}
