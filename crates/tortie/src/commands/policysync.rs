//! `tortie policysync`: what the node's agent tells sidecars.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use tortie_policysync::client::{Config, SessionError, watch};
use tortie_policysync::json;

use crate::output::{Failure, YES};

/// Arguments of `tortie policysync`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the messages that a sidecar receives, until the agent ends the stream
    ///
    /// The agent tells only one client of a socket: the sidecar loses its connection, comes back, and
    /// takes the stream over in turn.
    #[command(after_help = "Example:\n  tortie policysync watch /var/run/felix/nodeagent/socket")]
    Watch {
        /// The workload's socket
        socket: PathBuf,
        /// Shape of the messages
        #[arg(short, long, value_enum, default_value_t = Format::Json)]
        output: Format,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON object a line
    Json,
}

/// Watches.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let Command::Watch { socket, output: Format::Json } = &args.command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watched = runtime.block_on(watch(&Config::new(socket), |message| {
        writeln!(io::stdout().lock(), "{}", json::line(message)).map_err(Ended::Output)
    }));
    match watched {
        Ok(()) => Ok(YES),
        Err(Ended::Output(error)) => Err(error.into()),
        Err(Ended::Session(error)) => {
            let failure =
                Failure::unreachable(format!("policy sync: `{}`: {error}", socket.display()));
            Err(failure.hint("is the node's agent running, and may this process use the socket?"))
        }
    }
}

/// Why there is nothing more to show.
enum Ended {
    Session(SessionError),
    Output(io::Error),
}

impl From<SessionError> for Ended {
    fn from(error: SessionError) -> Ended {
        Ended::Session(error)
    }
}
