//! The kubelet's own API, for the API server: what `kubectl exec` and `kubectl logs` come down to.
//!
//! It listens on a socket in the lab's directory, which only the lab's owner can look into.

mod ask;
mod exec;
mod logs;
mod streams;
mod terminal;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use time::OffsetDateTime;
use tokio::net::UnixListener;

use crate::Error;
use crate::error::At;
use crate::exec::Running;
use crate::status::PodStatus;
use crate::supervisor::Environment;

/// The protocol of exec: streams as messages whose first byte says which.
const PROTOCOL: &str = "v5.channel.k8s.io";

/// The longest message a client may send, in bytes; kubectl's have 32 KiB.
const LONGEST_MESSAGE: usize = 1 << 20;

/// Namespace, pod and container.
type Place = Path<(String, String, String)>;

/// Starts to serve.
pub(crate) fn serve(env: &Arc<Environment>) -> Result<(), Error> {
    let socket = env.dir.kubelet_socket();
    let listener = UnixListener::bind(&socket).at("listen on", &socket)?;
    std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).at("change", &socket)?;
    let routes = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", get(container_exec))
        .with_state(Arc::clone(env));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "exec and logs are not served any more");
        }
    });
    Ok(())
}

/// An answer that says why there is none.
fn refusal(code: StatusCode, why: impl Into<String>) -> Response {
    (code, why.into()).into_response()
}

fn find(
    env: &Environment,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<PodStatus, Box<Response>> {
    let status = env.status.borrow();
    let mut pods = status.pods.iter().filter(|one| !one.ending);
    let Some(found) = pods.find(|one| one.namespace == namespace && one.name == pod) else {
        let why = format!("pod `{namespace}/{pod}` does not run here");
        return Err(Box::new(refusal(StatusCode::NOT_FOUND, why)));
    };
    if found.containers.iter().any(|one| one.name == container) {
        return Ok(found.clone());
    }
    let why = format!("pod `{namespace}/{pod}` has no container `{container}`");
    Err(Box::new(refusal(StatusCode::BAD_REQUEST, why)))
}

async fn container_logs(
    State(env): State<Arc<Environment>>,
    Path((namespace, pod, container)): Place,
    RawQuery(query): RawQuery,
) -> Response {
    let found = match find(&env, &namespace, &pod, &container) {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let now = OffsetDateTime::now_utc();
    let ask = match ask::Logs::read(query.as_deref().unwrap_or_default(), now) {
        Ok(ask) => ask,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, why),
    };
    logs::answer(env, &found, &container, &ask)
}

async fn container_exec(
    State(env): State<Arc<Environment>>,
    Path((namespace, pod, container)): Place,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let found = match find(&env, &namespace, &pod, &container) {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let ask = match ask::Exec::read(query.as_deref().unwrap_or_default()) {
        Ok(ask) => ask,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, why),
    };
    let running = match Running::from_node(&env.dir, &env.settings, &found, &container) {
        Ok(running) => running,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, error.to_string()),
    };
    // Last, for kubectl asks again without a WebSocket when it was refused, and shows that answer.
    let Ok(upgrade) = upgrade else {
        let why = "exec needs a WebSocket: kubectl 1.31 and later use one";
        return refusal(StatusCode::BAD_REQUEST, why);
    };
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(LONGEST_MESSAGE);
    if upgrade.selected_protocol().is_none() {
        let why = format!("only the protocol `{PROTOCOL}` is spoken here");
        return refusal(StatusCode::BAD_REQUEST, why);
    }
    upgrade.on_upgrade(move |socket| exec::session(socket, running, ask))
}
