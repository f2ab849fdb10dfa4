//! What users type: `tortie apiserver`, `tortie user` and `tortie webhook`.

mod kubeconfig;
mod serve;
pub mod user;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tortie_daemon::log;

pub use kubeconfig::{Kubeconfig, Proof};

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

    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6980")]
    pub listen: SocketAddr,

    /// Keep resources in etcd, at these addresses, instead of a file
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub etcd: Vec<String>,

    /// The authority that signed etcd's certificates
    #[arg(long, value_name = "FILE", requires = "etcd")]
    pub etcd_ca_file: Option<PathBuf>,

    /// The certificate to show to etcd
    #[arg(long, value_name = "FILE", requires = "etcd_ca_file", requires = "etcd_key_file")]
    pub etcd_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "etcd_cert_file")]
    pub etcd_key_file: Option<PathBuf>,

    /// A further name or address that clients call the server by; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert_file", value_parser = name)]
    pub tls_san: Vec<String>,

    /// The server's certificate, with intermediates, instead of one of its own authority
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Trust clients whose certificates one of these authorities signed, too: their common name is
    /// the user, their organizations the groups
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// Speak HTTP without TLS, and let everybody on this machine do everything
    #[arg(long, conflicts_with_all = ["tls_san", "tls_cert_file", "client_ca_file"])]
    pub insecure_http: bool,

    /// Put the audit log aside when it has this many MiB
    #[arg(long, value_name = "MIB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub audit_max_size: u64,

    /// How many audit logs to keep beside the one that is written
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub audit_keep: u32,

    /// Log what is needed to debug
    #[arg(long)]
    pub debug: bool,

    /// Format of log lines: human or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub log_format: log::Format,
}

const EXAMPLES: &str = "Examples:
  tortie apiserver --data /var/lib/tortie
  KUBECONFIG=/var/lib/tortie/kubeconfig kubectl get tiers
  tortie apiserver --data /var/lib/tortie --listen 0.0.0.0:6980 --tls-san policy.example.com";

/// What certificates can name: an address or a DNS name.
fn name(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    let fine = text.parse::<IpAddr>().is_ok()
        || (!text.is_empty() && text.len() <= 253 && text.chars().all(letter));
    if fine { Ok(text.to_owned()) } else { Err("neither a DNS name nor an address".to_owned()) }
}

impl Args {
    /// What clients call the server by.
    fn names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned()];
        let own = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        let listen = Some(self.listen.ip()).filter(|address| !address.is_unspecified());
        names.extend(own.into_iter().chain(listen).map(|address| address.to_string()));
        names.extend(self.tls_san.iter().cloned());
        names.sort();
        names.dedup();
        names
    }
}

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
    if args.insecure_http && !args.listen.ip().is_loopback() {
        let address = args.listen;
        let failure = format!("--listen: `{address}` can be reached from elsewhere");
        return Err(Failure::invalid(failure).hint("leave out --insecure-http"));
    }
    let filter = log::filter(args.debug, std::env::var(log::ENV).ok());
    log::init(args.log_format, &filter).map_err(Failure::invalid)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(Failure::unreachable)?.block_on(serve::serve(args))
}
