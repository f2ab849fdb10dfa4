//! Between `tortie up` and its parts: gives up what a part must not have, and becomes the part.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs};

use crate::output::Failure;

/// Arguments of `tortie part`, which only `tortie up` uses.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process that this one is to end with
    #[arg(long)]
    parent: u32,

    /// Capabilities to keep, as bits
    #[arg(long, default_value_t = 0)]
    keep: u64,

    /// Arguments of the part
    #[arg(last = true, required = true)]
    arguments: Vec<OsString>,
}

/// Becomes the part; comes back only if it cannot.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let fail = |error: Errno| Failure::unreachable(format!("part: {error}"));
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(fail)?;
    // It may have ended before.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    if parent != Some(args.parent) {
        return Err(Failure::unreachable("part: the process that started it is gone"));
    }
    set_no_new_privs(true).map_err(fail)?;
    if rustix::process::geteuid().is_root() {
        drop_capabilities(args.keep).map_err(fail)?;
    }
    let error = Command::new(std::env::current_exe()?).args(&args.arguments).exec();
    Err(Failure::unreachable(format!("part: {error}")))
}

/// Takes all capabilities but some out of what root gets when it runs a program.
fn drop_capabilities(keep: u64) -> Result<(), Errno> {
    for bit in (0..u64::BITS).map(|index| 1 << index).filter(|bit| keep & bit == 0) {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
            // The kernel has no more.
            Err(Errno::INVAL) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}
