//! What users type: `tortie console`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use time::OffsetDateTime;
use tokio::task::JoinError;
use tortie_client::server::{self, Place, Server};
use tortie_daemon::http::{self, ListenError, Listener};
use tortie_daemon::{log, shutdown};

use crate::access::Access;
use crate::code::{self, CodeError};
use crate::follow::Follower;
use crate::serve::Console;

/// Arguments of `tortie console`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    place: Place,

    /// Where browsers find it: a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6981")]
    listen: SocketAddr,

    /// File with the code that opens the console; made if it is not there. Without it, a new code is
    /// made at each start
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Log what is needed to debug
    #[arg(long)]
    debug: bool,

    /// Format of log lines: human or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    log_format: log::Format,
}

const EXAMPLES: &str = "Examples:
  tortie console                                     of the server that `tortie up` runs
  tortie console --kubeconfig ~/.kube/config         of any cluster
  ssh -L 6981:127.0.0.1:6981 HOST                    to look at it from another machine";

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
enum ConsoleError {
    #[error(
        "--listen: `{0}` can be reached from elsewhere, and there is no TLS\nhint: listen on a \
         loopback address, and forward the port: ssh -L 6981:127.0.0.1:6981 HOST"
    )]
    Exposed(SocketAddr),
    #[error(transparent)]
    Log(#[from] log::LogError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error("--listen: {0}")]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error(transparent)]
    System(#[from] std::io::Error),
    #[error("the server is no longer followed: {0}")]
    Ended(#[from] JoinError),
}

impl ConsoleError {
    fn exit_code(&self) -> u8 {
        match self {
            ConsoleError::Exposed(_)
            | ConsoleError::Log(_)
            | ConsoleError::Code(_)
            | ConsoleError::Server(server::Error::Place(_)) => 2,
            _ => 3,
        }
    }
}

/// Serves until it is told to end. Sets up logging and its own runtime, so call it once, from
/// `main`, outside of any runtime.
pub fn run(args: &Args) -> ExitCode {
    match attempt(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn attempt(args: &Args) -> Result<(), ConsoleError> {
    if !args.listen.ip().is_loopback() {
        return Err(ConsoleError::Exposed(args.listen));
    }
    let filter = log::filter(args.debug, std::env::var(log::ENV).ok());
    log::init(args.log_format, &filter)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<(), ConsoleError> {
    let mut signals = shutdown::Signals::catch()?;
    let listener = Listener::bind(&http::Place::Tcp(args.listen)).await?;
    let address = listener.local_address().unwrap_or(args.listen);
    let server = Server::connect(&args.place).await?;
    let code = code::code(args.token_file.as_deref())?;
    let (follower, view) = Follower::new(server.url(), OffsetDateTime::now_utc);
    let console = Arc::new(Console::new(Access::new(&code, address), view));
    let answer = move |request: Request<Incoming>| {
        let console = Arc::clone(&console);
        async move { console.answer(&request.into_parts().0).await }
    };
    let (_trigger, drain) = shutdown::drain();
    let mut output = std::io::stdout();
    // Nobody has to listen: it serves all the same.
    let _ = writeln!(output, "web console: http://{address}/#code={code}")
        .and_then(|()| output.flush());
    tokio::select! {
        () = http::serve_streams(listener, answer, drain) => Ok(()),
        result = follower.run(&server) => Ok(result?),
        _ = signals.next() => Ok(()),
    }
}
