//! `tortie lab …`: arguments and what each command does.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::state::LabDir;
use crate::{Error, Lab, LabName, MutualTls, Options, StateRoot, inside, supervisor};

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
    /// Start a lab
    Up(Up),
    /// End a lab and remove everything of it
    Down,
    #[command(hide = true)]
    #[command(subcommand)]
    Inside(Inside),
}

#[derive(Debug, Args)]
struct Up {
    /// File or directory with manifests, `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Read directories with everything below them
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Whether sidecars serve clients without a certificate
    #[arg(long, value_enum, default_value_t = Mtls::Strict)]
    mtls: Mtls,
    /// File with an image map, beside those among the manifests
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// Lifetime of workload certificates: 30s, 10m, 24h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    cert_ttl: Duration,
    /// Port of this machine for the ingress gateway; any free one if 0
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    gateway_port: u16,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mtls {
    /// They serve plaintext too
    Permissive,
    /// They do not
    Strict,
}

impl From<Mtls> for MutualTls {
    fn from(mtls: Mtls) -> Self {
        match mtls {
            Mtls::Permissive => Self::Permissive,
            Mtls::Strict => Self::Strict,
        }
    }
}

/// A number with a unit: `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        text.strip_suffix(unit)?.parse::<u32>().ok().map(|n| u64::from(n) * seconds)
    });
    match parsed {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a number above 0 with a unit, such as 30s, 10m or 24h".to_owned()),
    }
}

/// What the lab's own processes run.
#[derive(Debug, Subcommand)]
enum Inside {
    Init { dir: PathBuf },
    Supervise { dir: PathBuf },
    Pause { hostname: String },
    Container,
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
        Command::Up(up_args) => return up(args.name, state, up_args),
        Command::Down => crate::down(&state, &args.name)?,
        Command::Inside(_) => {}
    }
    Ok(0)
}

/// The lab is left running also when a pod is not ready, so that one can see why; the status then
/// says that not all is well.
fn up(name: LabName, state: StateRoot, args: Up) -> Result<u8, Error> {
    let options = Options {
        name,
        state,
        manifests: args.files,
        recursive: args.recursive,
        images: args.images,
        mtls: args.mtls.into(),
        certificate_lifetime: args.cert_ttl,
        gateway_port: args.gateway_port,
        ..Options::new()?
    };
    let mut lab = Lab::up(&options, |step| eprintln!("{step}"))?;
    lab.detach()?;
    let status = lab.status()?;
    if let Some(url) = &status.gateway_url {
        println!("GATEWAY_URL={url}");
    }
    let problems = status.pods.iter().filter_map(|pod| Some((pod.id(), pod.problem()?)));
    let problems: Vec<_> = problems.collect();
    for (pod, problem) in &problems {
        eprintln!("warning: pod `{pod}`: {problem}");
    }
    Ok(u8::from(!problems.is_empty()))
}

fn run_inside(command: Inside) -> Result<u8, Error> {
    match command {
        Inside::Init { dir } => inside::lab(&dir),
        Inside::Pause { hostname } => inside::pause::run(&hostname).map(|()| 0),
        Inside::Container => inside::container::run(),
        Inside::Supervise { dir } => supervisor::run(LabDir::from_path(&dir)?).map(|()| 0),
    }
}
