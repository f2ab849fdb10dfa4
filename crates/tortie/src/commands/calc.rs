//! `tortie calc`: what the agent of a node would tell.

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use tortie_policysync::{json, wire};

use crate::input::Files;
use crate::output::{Failure, YES};

const EXAMPLES: &str = "Examples:
  tortie calc -f cluster.yaml --node node-1
  tortie calc -f policies/ -R --node node-1 | jq -c 'keys'

Interfaces of hosts are calculated, but there is no message about them.

Exit status: 0 done; 2 bad usage or input";

/// Arguments of `tortie calc`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Whose workloads are meant; all nodes' together if not given
    #[arg(long)]
    node: Option<String>,

    /// Shape of the messages
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON object a line
    Json,
}

/// Prints the messages that tell everything the files come to.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let Args { files, node, output: Format::Json } = args;
    let updates = files.updates(node.as_deref())?;
    let mut out = BufWriter::new(io::stdout().lock());
    for message in updates.iter().flat_map(wire::encode) {
        writeln!(out, "{}", json::line(&message))?;
    }
    out.flush()?;
    Ok(YES)
}
