//! `tortie demo`: scripted tutorials.

use crate::output::Failure;

/// Arguments of `tortie demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Plays a tutorial.
pub(crate) fn run(_: &Args) -> Result<u8, Failure> {
    Err(Failure::invalid("not yet"))
}
