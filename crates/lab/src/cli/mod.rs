//! `tortie lab …`: arguments and what each command does.

mod exec;
mod show;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use tortie_daemon::log;

use crate::error::At;
use crate::state::LabDir;
use crate::{Change, Error, Lab, LabName, MutualTls, Options, StateRoot, inside, supervisor};

/// A one-machine cluster: pods as processes in network namespaces with real Envoy sidecars.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Which lab; several can run side by side
    #[arg(long, global = true, default_value = "lab")]
    name: LabName,
    /// Where labs keep their state [default: /run/tortie/labs, or below XDG_RUNTIME_DIR]
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
    /// Show how a lab is
    Status(Show),
    /// Run a command in a pod; passes on its exit status
    #[command(after_help = exec::EXAMPLES)]
    Exec(Exec),
    /// Show what a container has printed
    Logs(Logs),
    /// Give the API server what files hold; returns when policy among it is in force
    Apply(Files),
    /// Delete what files hold
    Delete(Files),
    /// Print the path of the kubeconfig: `export KUBECONFIG=$(tortie lab kubeconfig)`
    Kubeconfig,
    #[command(hide = true)]
    #[command(subcommand)]
    Inside(Inside),
}

#[derive(Debug, Args)]
struct Files {
    /// File or directory, `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Read directories with everything below them
    #[arg(short = 'R', long)]
    recursive: bool,
}

#[derive(Debug, Args)]
struct Up {
    /// File or directory to start with, `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "PATH")]
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

#[derive(Debug, Args)]
struct Show {
    /// Format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Args)]
struct Exec {
    /// Let the command read this one's input; it has none otherwise
    #[arg(short = 'i', long)]
    stdin: bool,
    /// With -i: let the command have this terminal; it sees none otherwise
    #[arg(short = 't', long)]
    tty: bool,
    /// The pod: NAMESPACE/NAME, its name alone, or its workload's
    pod: String,
    /// The container; the pod's first if not given, `istio-proxy` and `tortie-authz` work too
    #[arg(short, long)]
    container: Option<String>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

#[derive(Debug, Args)]
struct Logs {
    /// The pod: NAMESPACE/NAME, its name alone, or its workload's
    pod: String,
    /// The container; the pod's first if not given, `istio-proxy` and `tortie-authz` work too
    #[arg(short, long)]
    container: Option<String>,
    /// The last lines only
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Go on with what is printed from now on
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mtls {
    /// They serve plaintext too
    Permissive,
    /// They do not
    Strict,
}

/// What the lab's own processes run.
#[derive(Debug, Subcommand)]
enum Inside {
    Init {
        dir: PathBuf,
    },
    Supervise {
        dir: PathBuf,
    },
    Pause {
        hostname: String,
    },
    Container,
    Enter {
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
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

/// Runs a command; gives the exit status.
///
/// # Errors
/// Whatever keeps it from being done; [`Error::exit_code`] and [`Error::hint`] complete the text.
pub fn run(args: LabArgs) -> Result<u8, Error> {
    let LabArgs { name, state_dir, command } = args;
    if let Command::Inside(inside) = command {
        return run_inside(inside);
    }
    let state = match &state_dir {
        Some(dir) => StateRoot::at(dir)?,
        None => StateRoot::for_user()?,
    };
    let open = || Lab::open(&state, &name);
    match command {
        Command::Up(args) => up(name, state, args),
        Command::Down => crate::down(&state, &name).map(|()| 0),
        Command::Status(args) => status(&open()?, args.output),
        Command::Exec(args) => exec::run(&open()?, &args),
        Command::Logs(args) => logs(&open()?, &args),
        Command::Apply(args) => changes(&open()?.apply(&args.files, args.recursive)?),
        Command::Delete(args) => changes(&open()?.delete(&args.files, args.recursive)?),
        Command::Kubeconfig => {
            println!("{}", open()?.kubeconfig().display());
            Ok(0)
        }
        Command::Inside(inside) => run_inside(inside),
    }
}

/// The lab is left running also when a pod is not ready, so that one can see why; the exit status
/// then says that not all is well.
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
    println!("KUBECONFIG={}", status.kubeconfig.display());
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

fn status(lab: &Lab, format: Format) -> Result<u8, Error> {
    let status = lab.status()?;
    match format {
        Format::Table => println!("{}", show::text(&status)),
        Format::Json => {
            let json = serde_json::to_string_pretty(&status);
            println!("{}", json.map_err(std::io::Error::from).at("print", "status")?);
        }
    }
    Ok(0)
}

/// Becomes `tail`, which knows how to follow a file.
fn logs(lab: &Lab, args: &Logs) -> Result<u8, Error> {
    let log = lab.log(&args.pod, args.container.as_deref())?;
    if !Path::new(&log).exists() {
        return Ok(0);
    }
    let lines = args.tail.map_or_else(|| "+1".to_owned(), |lines| lines.to_string());
    let mut tail = Process::new("tail");
    tail.arg(format!("--lines={lines}"));
    if args.follow {
        tail.arg("--follow=name");
    }
    Err(tail.arg(log).exec()).at("run", "tail")
}

fn changes(changes: &[Change]) -> Result<u8, Error> {
    for change in changes {
        println!("{} {}", change.what, change.outcome.as_str());
    }
    Ok(0)
}

fn run_inside(command: Inside) -> Result<u8, Error> {
    match command {
        Inside::Init { dir } => inside::lab(&dir),
        Inside::Pause { hostname } => inside::pause::run(&hostname).map(|()| 0),
        Inside::Container => inside::container::run(),
        Inside::Enter { argv } => inside::enter(&argv),
        Inside::Supervise { dir } => {
            let filter = log::filter(false, std::env::var(log::ENV).ok());
            log::init(log::Format::Human, &filter).map_err(|e| Error::program("log", e))?;
            supervisor::run(LabDir::from_path(&dir)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("24h", 86_400)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds);
        }
        for bad in ["", "0s", "5", "-1s", "1d", "s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
