//! `tortie webhook`: admission for a real kube-apiserver. It refuses what this server would refuse,
//! by the same conversion.

mod follow;
mod manifests;
mod review;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tortie_client::server::Place;
use tortie_daemon::log;
use tortie_policy::Compat;

use crate::cli::{Failure, exit};

/// Arguments of `tortie webhook`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9443")]
    listen: SocketAddr,

    /// The server's certificate, with intermediates
    #[arg(long, value_name = "FILE", required_unless_present = "print_manifests")]
    tls_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", required_unless_present = "print_manifests")]
    tls_private_key_file: Option<PathBuf>,

    /// Heed the points of compatibility (docs/compat.md) that the cluster's TortieConfiguration chooses
    #[arg(long)]
    follow_configuration: bool,

    /// Which API server has it
    #[command(flatten)]
    place: Place,

    /// Points in which to accept what Calico accepts, whatever the cluster chooses
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    compat: Vec<String>,

    /// Print what a cluster needs to run this, with certificates made for it, and end
    #[arg(long)]
    print_manifests: bool,

    /// Namespace in the manifests
    #[arg(long, default_value = "tortie-system", value_parser = label, requires = "print_manifests")]
    namespace: String,

    /// Image in the manifests
    #[arg(long, default_value = "tortie:latest", value_parser = image, requires = "print_manifests")]
    image: String,

    /// Log what is needed to debug
    #[arg(long)]
    debug: bool,

    /// Format of log lines: human or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    log_format: log::Format,
}

const EXAMPLES: &str = "Examples:
  tortie webhook --print-manifests --image registry.example.com/tortie:1 | kubectl apply -f -
  tortie webhook --tls-cert-file tls.crt --tls-private-key-file tls.key";

fn label(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fine = (1..=63).contains(&text.len()) && text.chars().all(letter) && !text.starts_with('-');
    if fine { Ok(text.to_owned()) } else { Err("not the name of a namespace".to_owned()) }
}

fn image(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    let fine = !text.is_empty() && text.chars().all(letter);
    if fine { Ok(text.to_owned()) } else { Err("not the name of an image".to_owned()) }
}

/// Serves until it is told to end, or prints manifests. Sets up logging and its own runtime, so call
/// it once, from `main`, outside of any runtime.
pub fn run(args: &Args) -> ExitCode {
    exit(attempt(args).map(|()| 0))
}

fn attempt(args: &Args) -> Result<(), Failure> {
    if args.print_manifests {
        return manifests::print(&args.namespace, &args.image);
    }
    let compat = Compat::parse(args.compat.iter().map(String::as_str));
    let compat = compat.map_err(Failure::invalid)?;
    let (Some(certificate), Some(key)) = (&args.tls_cert_file, &args.tls_private_key_file) else {
        return Err(Failure::invalid("--tls-cert-file and --tls-private-key-file are needed"));
    };
    let filter = log::filter(args.debug, std::env::var(log::ENV).ok());
    log::init(args.log_format, &filter).map_err(Failure::invalid)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::unreachable)?;
    let follow = (args.follow_configuration || args.place.is_said()).then_some(&args.place);
    runtime.block_on(serve::serve(args.listen, (certificate, key), compat, follow))
}
