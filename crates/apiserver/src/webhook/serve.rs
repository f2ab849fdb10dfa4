//! Answering a kube-apiserver over TLS.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tortie_client::server::Place;
use tortie_daemon::shutdown;
use tortie_policy::Compat;

use super::follow::{self, Chosen};
use super::review;
use crate::body;
use crate::cli::Failure;
use crate::kinds::Registry;
use crate::status::Status;
use crate::tls::{Acceptor, read_files};
use crate::view::{json_response, with_type};

/// Connections at a time; more wait.
const CONNECTIONS: usize = 256;

/// How long a client may take to set up TLS, and to send a request's headers.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long reviews may take to end once the server is told to.
const GRACE: Duration = Duration::from_secs(5);

/// How often the certificate's files are read again.
const LOOK: Duration = Duration::from_secs(60);

/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What reviews rest on.
struct Hook {
    registry: Registry,
    chosen: Chosen,
}

pub(super) async fn serve(
    address: SocketAddr,
    (certificate, key): (&Path, &Path),
    compat: Compat,
    follow: Option<&Place>,
) -> Result<(), Failure> {
    let mut signals = shutdown::Signals::catch().map_err(Failure::unreachable)?;
    let identity = read_files(certificate, key).map_err(Failure::unreachable)?;
    let acceptor = Acceptor::for_anybody(&identity).map_err(Failure::invalid)?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::unreachable(format!("--listen: cannot listen on `{address}`: {error}"))
    })?;
    let address = listener.local_addr().map_err(Failure::unreachable)?;
    let chosen: Chosen = Arc::new(ArcSwap::from_pointee(compat));
    let mut following = JoinSet::new();
    if let Some(place) = follow {
        following.spawn(follow::follow(follow::find(place).await?, compat, chosen.clone()));
    }
    let hook = Arc::new(Hook { registry: Registry::built_in(), chosen });
    let (trigger, drain) = shutdown::drain();
    let serving = tokio::spawn(attend(listener, acceptor.clone(), hook, drain));
    let files = (certificate.to_owned(), key.to_owned());
    let renewing = tokio::spawn(renew(files, acceptor));
    let mut output = std::io::stdout();
    // Nobody has to listen: it serves all the same.
    let _ = writeln!(output, "answering AdmissionReviews at https://{address}/validate")
        .and_then(|()| output.flush());
    signals.next().await;
    renewing.abort();
    trigger.drain(GRACE).await;
    serving.abort();
    Ok(())
}

/// Shows the certificate that is in the files: clusters replace it before it ends.
async fn renew((certificate, key): (PathBuf, PathBuf), acceptor: Acceptor) {
    loop {
        tokio::time::sleep(LOOK).await;
        let renewed = read_files(&certificate, &key).and_then(|identity| acceptor.renew(&identity));
        if let Err(error) = renewed {
            tracing::error!(%error, "the certificate is not renewed");
        }
    }
}

async fn attend(
    listener: TcpListener,
    acceptor: Acceptor,
    hook: Arc<Hook>,
    mut drain: shutdown::Watch,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (acceptor, hook) = (acceptor.clone(), hook.clone());
        tokio::spawn(async move {
            connection(stream, &acceptor, &hook).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, acceptor: &Acceptor, hook: &Hook) {
    let Ok(Ok(connected)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else {
        tracing::debug!("a connection did not become TLS");
        return;
    };
    let respond = service_fn(|request| async move {
        let answer = hook.answer(request).await.unwrap_or_else(|status| status.response());
        Ok::<_, Infallible>(answer)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A client that goes away is no news.
    let _ = server.serve_connection(TokioIo::new(connected.stream), respond).await;
}

impl Hook {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/healthz" | "/readyz") => {
                Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", "ok"))
            }
            (&Method::POST, "/validate") => {
                let document = body::document(&head.headers, &body::read(body, PATIENCE).await?)?;
                let answer = review::answer(&self.registry, &document, **self.chosen.load())?;
                Ok(json_response(StatusCode::OK, answer.to_string()))
            }
            (_, "/healthz" | "/readyz" | "/validate") => Err(Status::method_not_allowed()),
            _ => Err(Status::no_such_path()),
        }
    }
}
