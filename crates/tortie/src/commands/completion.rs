//! `tortie completion`: what a shell needs to complete the words of commands.

use clap::Command;
use clap_complete::Shell;

use crate::output::{Failure, YES, text};

/// Arguments of `tortie completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tortie completion bash > /etc/bash_completion.d/tortie
  tortie completion zsh > ~/.zfunc/_tortie
  tortie completion fish > ~/.config/fish/completions/tortie.fish

Exit status: 0 printed; 2 bad usage")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for a command with all that is below it.
pub(crate) fn run(mut command: Command, args: &Args) -> Result<u8, Failure> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    text(String::from_utf8_lossy(&script))?;
    Ok(YES)
}
