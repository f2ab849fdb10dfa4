//! `tortie lab …`: arguments and what each command does.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::state::LabDir;
use crate::{Error, Lab, LabName, Options, StateRoot, inside, supervisor};

/// A one-machine cluster: pods as processes in network namespaces with real Envoy sidecars.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Which lab; several can run side by side.
    #[arg(long, global = true, default_value = "lab")]
    name: LabName,
    /// Where labs keep their state [default: /run/tortie/labs, or below XDG_RUNTIME_DIR].
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a lab.
    Up,
    /// End a lab and remove everything of it.
    Down,
    #[command(hide = true)]
    #[command(subcommand)]
    Inside(Inside),
}

/// What the lab's own processes run.
#[derive(Debug, Subcommand)]
enum Inside {
    Init { dir: PathBuf },
    Supervise { dir: PathBuf },
}

/// Runs a command; gives the exit status.
///
/// # Errors
/// Whatever keeps it from being done; [`Error::exit_code`] and [`Error::hint`] complete the text.
pub fn run(args: LabArgs) -> Result<u8, Error> {
    if let Command::Inside(inside) = args.command {
        return run_inside(inside);
    }
    let state = match &args.state_dir {
        Some(dir) => StateRoot::at(dir)?,
        None => StateRoot::for_user()?,
    };
    match args.command {
        Command::Up => {
            let options = Options { name: args.name, state, ..Options::new()? };
            Lab::up(&options, |step| eprintln!("{step}"))?.detach()?;
        }
        Command::Down => crate::down(&state, &args.name)?,
        Command::Inside(_) => {}
    }
    Ok(0)
}

fn run_inside(command: Inside) -> Result<u8, Error> {
    match command {
        Inside::Init { dir } => inside::init::run(&mut inside::supervise(&dir)?),
        Inside::Supervise { dir } => supervisor::run(LabDir::from_path(&dir)?).map(|()| 0),
    }
}
