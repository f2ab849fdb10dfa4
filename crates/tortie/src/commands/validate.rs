//! `tortie validate`: every error of the files given.

use crate::input::Files;
use crate::output::{Failure, Format, YES, json, text, warn};

/// Arguments of `tortie validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tortie validate -f policies/ -R -o json")]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Shape of the answer
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// Checks the files. Exit status 2 if anything is wrong.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    match (args.files.check(), args.output) {
        (Ok((loaded, _)), Format::Table) => {
            warn(&loaded.warnings);
            text(format_args!("{} resources are valid\n", loaded.resources.len()))?;
            Ok(YES)
        }
        (Ok((loaded, _)), Format::Json) => {
            warn(&loaded.warnings);
            json(&[(); 0])?;
            Ok(YES)
        }
        (Err(errors), Format::Table) => Err(Failure::from(errors)),
        (Err(errors), Format::Json) => {
            json(&errors)?;
            Ok(2)
        }
    }
}
