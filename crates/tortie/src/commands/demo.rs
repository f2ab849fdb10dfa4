//! `tortie demo`: scripted tutorials.

use clap::Subcommand;
use tortie_lab::LabName;

use crate::demo;
use crate::output::{Failure, NO, YES};

/// Arguments of `tortie demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    tutorial: Tutorial,
}

#[derive(Debug, Subcommand)]
enum Tutorial {
    /// Yao Bank: a compromised pod and stolen keys, before and after policy
    Yaobank {
        /// Leave the lab running, with the policies in force
        #[arg(long)]
        keep: bool,

        /// Name of the lab
        #[arg(long, default_value = "yaobank")]
        name: LabName,
    },
}

/// Plays a tutorial. Exit status 1 if a step did not go as expected.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let Tutorial::Yaobank { keep, name } = &args.tutorial;
    let as_expected = demo::yaobank(name.clone(), *keep).map_err(Failure::from)?;
    Ok(if as_expected { YES } else { NO })
}
