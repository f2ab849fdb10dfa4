//! `tortie apiserver`: a Kubernetes API over a store of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tortie_apiserver::{Options, Server};
use tortie_daemon::{file, log, shutdown};
use tortie_store::{Engine, Local};

use crate::output::{Failure, YES, text};

/// How long requests may take to end once the server is told to.
const GRACE: Duration = Duration::from_secs(5);

/// The store's file, below the data directory.
const STORE: &str = "store.redb";

/// Arguments of `tortie apiserver`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  tortie apiserver --data /var/lib/tortie
  KUBECONFIG=/var/lib/tortie/kubeconfig kubectl get tiers")]
pub(crate) struct Args {
    /// Folder of the store and of the kubeconfig; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Where to listen: an address of this machine alone
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6980")]
    listen: SocketAddr,

    /// Log what is needed to debug
    #[arg(long)]
    debug: bool,

    /// Format of log lines: human or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    log_format: log::Format,
}

/// Serves until it is told to end.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    if !args.listen.ip().is_loopback() {
        let failure =
            Failure::invalid(format!("--listen: `{}` can be reached from elsewhere", args.listen));
        return Err(failure.hint("there is no TLS and no login: listen on 127.0.0.1"));
    }
    let filter = log::filter(args.debug, std::env::var(log::ENV).ok());
    log::init(args.log_format, &filter).map_err(Failure::invalid)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<u8, Failure> {
    let mut signals = shutdown::Signals::catch()?;
    make_private(&args.data)?;
    let path = args.data.join(STORE);
    let store = Local::open(path, tortie_store::Options::default()).await;
    let store = Engine::Local(store.map_err(Failure::unreachable)?);
    let server = Server::start(args.listen, store, Options::default()).await;
    let server = server.map_err(Failure::unreachable)?;
    let address = server.address()?;
    let kubeconfig = args.data.join("kubeconfig");
    file::replace(&kubeconfig, config(address).as_bytes(), 0o600).map_err(Failure::unreachable)?;
    announce(address, &kubeconfig)?;
    let (trigger, drain) = shutdown::drain();
    let serving = tokio::spawn(server.serve(drain));
    signals.next().await;
    trigger.drain(GRACE).await;
    let _ = serving.await;
    Ok(YES)
}

/// Makes a folder that only its owner can look into.
fn make_private(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        Failure::unreachable(format!("cannot make `{}`: {error}", folder.display()))
    })
}

/// A kubeconfig, as JSON, which is YAML.
fn config(address: SocketAddr) -> String {
    let server = format!("http://{address}");
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tortie",
        "clusters": [{"name": "tortie", "cluster": {"server": server}}],
        "contexts": [{"name": "tortie", "context": {"cluster": "tortie", "user": "tortie"}}],
        "users": [{"name": "tortie", "user": {}}],
    });
    format!("{config:#}\n")
}

fn announce(address: SocketAddr, kubeconfig: &Path) -> Result<(), Failure> {
    text(format_args!(
        "serving the Kubernetes API at http://{address}\n\nnext:\n  export KUBECONFIG={}\n  \
         kubectl get tiers\n  kubectl apply -f POLICY.yaml\n",
        kubeconfig.display()
    ))
}
