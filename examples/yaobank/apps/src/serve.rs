//! Listening, announcing it, and stopping when told to.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long open requests may take after the signal to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Serves `router` on `port` (0 for any free one) of every address, IPv6 and IPv4, until SIGTERM
/// or SIGINT, then lets open requests finish for at most five seconds. Prints one line with the
/// address when connections are accepted.
///
/// # Errors
/// When the port cannot be had or signals cannot be received.
pub async fn serve(name: &str, port: u16, router: Router) -> io::Result<()> {
    let listener = listen(port).await?;
    let mut stopping = stop_signal()?;
    println!("{name}: listening on {}", listener.local_addr()?);
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        let _ = told.await;
    });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        ended = &mut server => return ended?,
        () = stopping.received() => drop(tell),
    }
    tokio::time::timeout(GRACE, server).await.map_or(Ok(()), |ended| ended?)
}

/// Waits for SIGTERM or SIGINT; both must be handled, as process 1 ignores them by default.
#[derive(Debug)]
pub struct StopSignal {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

/// Starts listening for SIGTERM and SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_signal() -> io::Result<StopSignal> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    Ok(StopSignal { terminate, interrupt })
}

impl StopSignal {
    /// Returns when one of the signals has arrived.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs a program on a runtime of one thread (none of them is ever busy) and tells its failure
/// on standard error.
pub fn run(program: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match block_on(program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(program: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(program)
}

/// Binds the wildcard of both families, or of IPv4 alone on a machine without IPv6.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
    .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on port {port}: {error}")))
}
