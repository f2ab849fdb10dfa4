//! Listening, and serving connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tortie_daemon::shutdown;
use tortie_store::Engine;

use crate::api::Api;
use crate::environment::Environment;
use crate::handle::{Handler, Limits};

/// How long a client may take to send a request's headers, and be idle.
const PATIENCE: Duration = Duration::from_secs(90);

/// Pause after a failed accept: what makes it fail does not end soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 << 10;

/// How a server behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Time and chance.
    pub environment: Environment,
    /// How much is done at a time.
    pub limits: Limits,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is there from the beginning cannot be made.
    #[error("cannot prepare the store: {0}")]
    Prepare(String),
}

/// A server that has its address and its first objects.
pub struct Server {
    listener: TcpListener,
    handler: Arc<Handler>,
    limits: Limits,
}

impl Server {
    /// Takes the address, and makes what is there from the beginning. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// If either fails.
    pub async fn start(
        address: SocketAddr,
        store: Engine,
        options: Options,
    ) -> Result<Server, StartError> {
        let fail = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let api = Arc::new(Api::new(store, options.environment));
        if let Err(status) = api.boot().await {
            let said = status.document();
            let why = crate::object::text(&said, "/message").to_owned();
            return Err(StartError::Prepare(why));
        }
        let limits = options.limits;
        Ok(Server { listener, handler: Arc::new(Handler::new(api, limits)), limits })
    }

    /// The address that was taken.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the drain begins.
    pub async fn serve(self, mut drain: shutdown::Watch) {
        let connections = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.started() => return,
            };
            match accepted {
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Ok((stream, _)) => {
                    let handler = self.handler.clone();
                    tokio::spawn(async move {
                        connection(stream, &handler).await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, handler: &Arc<Handler>) {
    // Answers are often one small line of a watch.
    let _ = stream.set_nodelay(true);
    let respond =
        service_fn(|request| async move { Ok::<_, Infallible>(handler.handle(request).await) });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD);
    // A client that goes away is no news.
    let _ = server.serve_connection(TokioIo::new(stream), respond).await;
}
