//! What users type: `tortie apiserver`, `tortie user` and `tortie webhook`.

mod kubeconfig;
mod serve;
mod settings;
pub mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tortie_daemon::log;

pub use kubeconfig::{Kubeconfig, Proof};
pub use settings::Settings;

/// What is where below a server's data directory.
#[derive(Debug, Clone)]
pub struct Places {
    /// The directory.
    pub data: PathBuf,
}

impl Places {
    /// Those of a directory.
    pub fn new(data: &Path) -> Places {
        Places { data: data.to_owned() }
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.data.join("store.redb")
    }

    /// The socket for this machine's own programs.
    pub fn socket(&self) -> PathBuf {
        self.data.join("api.sock")
    }

    /// Certificates and users.
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    /// What was changed by whom.
    pub fn audit(&self) -> PathBuf {
        self.data.join("audit.log")
    }

    /// The kubeconfig of whoever started the server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }
}

/// Where a server keeps its data if nobody says: `/var/lib/tortie` for root, else below
/// `$XDG_STATE_HOME` or `~/.local/state`.
pub fn default_data() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/tortie".into());
    }
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("tortie"))
}

/// Arguments of `tortie apiserver`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder of the store, the certificates and the kubeconfig; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// What `tortie up` can be told as well
    #[command(flatten)]
    pub settings: Settings,

    /// Speak HTTP without TLS, and let everybody on this machine do everything
    #[arg(long, conflicts_with_all = ["tls_san", "tls_cert_file", "client_ca_file"])]
    pub insecure_http: bool,
}

const EXAMPLES: &str = "Examples:
  tortie apiserver --data /var/lib/tortie
  KUBECONFIG=/var/lib/tortie/kubeconfig kubectl get tiers
  tortie apiserver --data /var/lib/tortie --listen 0.0.0.0:6980 --tls-san policy.example.com";

/// Why the server did not come up, or ended.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    text: String,
    hint: Option<&'static str>,
}

impl Failure {
    pub(crate) fn invalid(error: impl std::fmt::Display) -> Failure {
        Failure { code: 2, text: error.to_string(), hint: None }
    }

    pub(crate) fn unreachable(error: impl std::fmt::Display) -> Failure {
        Failure { code: 3, text: error.to_string(), hint: None }
    }

    fn hint(self, hint: &'static str) -> Failure {
        Failure { hint: Some(hint), ..self }
    }
}

/// Serves until it is told to end. Sets up logging and its own runtime, so call it once, from
/// `main`, outside of any runtime.
pub fn run(args: &Args) -> ExitCode {
    exit(attempt(args).map(|()| 0))
}

pub(crate) fn exit(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, text, hint }) => {
            eprintln!("error: {text}");
            if let Some(hint) = hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(code)
        }
    }
}

fn attempt(args: &Args) -> Result<(), Failure> {
    if args.insecure_http && !args.settings.listen.ip().is_loopback() {
        let address = args.settings.listen;
        let failure = format!("--listen: `{address}` can be reached from elsewhere");
        return Err(Failure::invalid(failure).hint("leave out --insecure-http"));
    }
    let filter = log::filter(args.settings.debug, std::env::var(log::ENV).ok());
    log::init(args.settings.log_format, &filter).map_err(Failure::invalid)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(Failure::unreachable)?.block_on(serve::serve(args))
}
