//! `tortie nft`: what the agent of a node would have the kernel enforce.

use std::io::{self, Write};

use tortie_nft::Delta;
use tortie_nft::render::{Options, Renderer};
use tortie_nft::text;

use crate::input::Files;
use crate::output::{Failure, YES};

const EXAMPLES: &str = "Examples:
  tortie nft -f cluster.yaml --node node-1
  tortie nft -f policies/ -R --node node-1 | nft -c -f -          would the kernel take it?

Workloads are taken to be on interfaces that are named as Calico names them, and host endpoints that
name no interface to be on none: only the agent sees what is there.

Exit status: 0 done; 2 bad usage or input";

/// Arguments of `tortie nft`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Whose ruleset is meant
    #[arg(long)]
    node: String,

    /// What the names of workloads' interfaces begin with; may be given several times
    #[arg(long, value_name = "PREFIX", default_value = "cali")]
    workload_interface_prefix: Vec<String>,
}

/// Prints the ruleset as `nft` reads it.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let updates = args.files.updates(Some(&args.node))?;
    let prefixes = args.workload_interface_prefix.iter().map(Into::into).collect();
    let mut renderer = Renderer::new(Options { prefixes, ..Options::default() });
    renderer.update(&updates, &mut Delta::default());
    io::stdout().lock().write_all(text::ruleset(renderer.ruleset()).as_bytes())?;
    Ok(YES)
}
