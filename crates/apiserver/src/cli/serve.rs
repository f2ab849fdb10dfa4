//! From arguments to a server that is there.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tortie_daemon::{file, shutdown};
use tortie_store::{Engine, Etcd, EtcdOptions, EtcdUser, Local, Tls};

use super::kubeconfig::{Kubeconfig, Proof};
use super::{Args, Failure, Places, Settings};
use crate::auth::{MASTERS, Register, Signer};
use crate::tls::{Acceptor, Identity, Pki, Source, TlsError, read_roots};
use crate::{Audit, Door, Environment, Options, Rotation, Server};

/// How long requests may take to end once the server is told to.
const GRACE: Duration = Duration::from_secs(5);

/// How often certificates are looked at.
const LOOK: Duration = Duration::from_secs(3600);

/// The user of the data directory's own kubeconfig.
const ADMIN: &str = "tortie-admin";

/// What TLS needs as long as the server runs.
struct Keys {
    pki: Pki,
    source: Source,
    acceptor: Acceptor,
}

pub(super) async fn serve(args: &Args) -> Result<(), Failure> {
    let settings = &args.settings;
    let mut signals = shutdown::Signals::catch().map_err(Failure::unreachable)?;
    make_private(&args.data)?;
    let places = Places::new(&args.data);
    let pki = Pki::open(&places.pki(), now()).map_err(Failure::unreachable)?;
    let keys = if args.insecure_http { None } else { Some(keys(settings, pki)?) };
    let door = match &keys {
        Some(keys) => Door::Tls(settings.listen, keys.acceptor.clone()),
        None => Door::Open(settings.listen),
    };
    let doors = [door, Door::Unix(places.socket())];
    let store = open(settings, &places).await?;
    let audit = audit(settings, &places)?;
    let users = Some(Register::new(&places.pki()));
    let environment = Environment::default();
    let signer = Signer::open(&places.pki(), &environment).map_err(Failure::unreachable)?;
    let (signer, audit) = (Some(signer), Some(audit));
    let options = Options { environment, users, signer, audit, ..Options::default() };
    let server = Server::start(doors, store, options).await.map_err(Failure::unreachable)?;
    let address = server.address().map_err(Failure::unreachable)?;
    let url = url(address, keys.is_some());
    write_kubeconfig(&places, &url, keys.as_ref()).map_err(Failure::unreachable)?;
    let (trigger, drain) = shutdown::drain();
    let serving = tokio::spawn(server.serve(drain));
    let renewing = keys.map(|keys| tokio::spawn(renew(keys, places.clone(), url.clone())));
    announce(&url, &places.kubeconfig());
    signals.next().await;
    renewing.inspect(tokio::task::JoinHandle::abort);
    trigger.drain(GRACE).await;
    let _ = serving.await;
    Ok(())
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn keys(settings: &Settings, pki: Pki) -> Result<Keys, Failure> {
    let source = match (&settings.tls_cert_file, &settings.tls_private_key_file) {
        (Some(certificate), Some(key)) => Source::Files(certificate.clone(), key.clone()),
        _ => Source::Own(settings.names()),
    };
    let identity = source.identity(&pki, now()).map_err(Failure::unreachable)?;
    let others = settings.client_ca_file.as_deref().map(read_roots).transpose();
    let others = others.map_err(Failure::unreachable)?;
    let roots: Vec<&str> = std::iter::once(pki.root()).chain(others.as_deref()).collect();
    let acceptor = Acceptor::new(&identity, &roots).map_err(Failure::invalid)?;
    Ok(Keys { pki, source, acceptor })
}

/// Makes a folder that only its owner can look into.
fn make_private(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        Failure::unreachable(format!("cannot make `{}`: {error}", folder.display()))
    })
}

fn audit(settings: &Settings, places: &Places) -> Result<Arc<Audit>, Failure> {
    let rotation = Rotation { size: settings.audit_max_size << 20, keep: settings.audit_keep };
    let path = places.audit();
    let first = |audit: Audit| if settings.audit_sync { audit.on_disk_first() } else { audit };
    Audit::open(&path, rotation)
        .map(|audit| Arc::new(first(audit)))
        .map_err(|error| Failure::unreachable(format!("`{}`: {error}", path.display())))
}

async fn open(settings: &Settings, places: &Places) -> Result<Engine, Failure> {
    if settings.etcd.is_empty() {
        let store = Local::open(places.store(), tortie_store::Options::default()).await;
        return store.map(Engine::Local).map_err(Failure::unreachable);
    }
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path)
            .map_err(|error| Failure::unreachable(format!("`{}`: {error}", path.display())))
    };
    let identity = match (&settings.etcd_cert_file, &settings.etcd_key_file) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let ca = settings.etcd_ca_file.as_ref().map(read).transpose()?;
    let tls = ca.map(|ca| Tls { ca, identity });
    let user = etcd_user(settings)?;
    let options = EtcdOptions { tls, user, ..EtcdOptions::new(settings.etcd.clone()) };
    let store = Etcd::connect(options).await.map(Engine::Etcd);
    store.map_err(|error| {
        let hint = match error.to_string() {
            why if why.contains("user name is empty") => {
                "it has users: give --etcd-user and --etcd-password-file"
            }
            why if why.contains("invalid user ID or password") => {
                "look at --etcd-user, and at what is in --etcd-password-file"
            }
            _ => "is etcd running at --etcd?",
        };
        Failure::unreachable(error).hint(hint)
    })
}

/// The user that we are to etcd; the password is in a file, since anybody can read a command line.
fn etcd_user(settings: &Settings) -> Result<Option<EtcdUser>, Failure> {
    let (Some(name), Some(path)) = (&settings.etcd_user, &settings.etcd_password_file) else {
        return Ok(None);
    };
    let fail = |why: &dyn std::fmt::Display| {
        Failure::unreachable(format!("--etcd-password-file: `{}`: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error))?;
    let mut lines = text.lines();
    match (lines.next().filter(|line| !line.is_empty()), lines.next()) {
        (Some(password), None) => {
            Ok(Some(EtcdUser { name: name.clone(), password: password.to_owned() }))
        }
        _ => Err(fail(&"is not one line with a password")),
    }
}

/// How this machine's own clients call the server.
fn url(address: SocketAddr, tls: bool) -> String {
    let host = match address.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        own => own,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}

fn write_kubeconfig(places: &Places, url: &str, keys: Option<&Keys>) -> Result<(), TlsError> {
    let text = match keys {
        None => Kubeconfig::new(url, None, None).of(ADMIN, &Proof::None),
        Some(keys) => {
            let shown = keys.source.identity(&keys.pki, now())?;
            let admin = keys.pki.client("admin.pem", ADMIN, Some(MASTERS), now())?;
            let (root, name) = trust(keys, &shown);
            let config = Kubeconfig::new(url, root.as_deref(), name.as_deref());
            config.of(ADMIN, &Proof::Certificate(admin))
        }
    };
    Ok(file::replace(&places.kubeconfig(), text.as_bytes(), 0o600)?)
}

/// The authority that clients are to trust, and the name they are to expect. Whose certificate it
/// is decides: for one from elsewhere, what clients trust anyway, and the first name in it.
fn trust(keys: &Keys, shown: &Identity) -> (Option<String>, Option<String>) {
    match keys.source {
        Source::Own(_) => (Some(keys.pki.root().to_owned()), None),
        Source::Files(..) => {
            let subject = shown.subject().ok();
            let name = subject.and_then(|subject| subject.names.into_iter().next());
            (shown.self_made_root(), name)
        }
    }
}

/// Keeps certificates from ending under a running server.
async fn renew(keys: Keys, places: Places, url: String) {
    let keys = Arc::new(keys);
    loop {
        tokio::time::sleep(LOOK).await;
        let (keys, places, url) = (keys.clone(), places.clone(), url.clone());
        let renewed = tokio::task::spawn_blocking(move || {
            keys.acceptor.renew(&keys.source.identity(&keys.pki, now())?)?;
            write_kubeconfig(&places, &url, Some(&keys))
        });
        if let Ok(Err(error)) = renewed.await {
            tracing::error!(%error, "certificates are not renewed");
        }
    }
}

/// Says that it is there. The first line is for whoever started it, too.
fn announce(url: &str, kubeconfig: &Path) {
    let text = format!(
        "serving the Kubernetes API at {url}\n\nnext:\n  export KUBECONFIG={}\n  \
         kubectl get tiers\n  kubectl apply -f POLICY.yaml\n",
        kubeconfig.display()
    );
    let mut output = std::io::stdout().lock();
    // In one piece, and nobody has to listen: it serves all the same.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
