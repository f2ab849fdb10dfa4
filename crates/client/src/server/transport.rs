//! Connections: TLS and plain TCP, Unix sockets, and who we are on them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tokio::net::UnixStream;
use tower::{BoxError, ServiceExt};

use super::Error;
use super::place::Found;

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(10);
/// When a silent connection is asked whether it is still there, how often, and how many times: a
/// server that is gone without a word is noticed within a minute.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(20), Duration::from_secs(10), 3);

/// What a server at a socket is called: it has no name there.
fn localhost() -> Uri {
    Uri::from_static("http://localhost")
}

/// What it takes to speak to a server, and its address for messages.
pub(super) async fn client(found: Found) -> Result<(Client, String), Error> {
    let (mut config, server) = match found {
        Found::Url(url) => (Config::new(localhost()), Some(url)),
        Found::Kubeconfig { files, context, server } => {
            (kubeconfig(&files, context).await?, server)
        }
        Found::InCluster => {
            let wrong = |error| Error::Place(format!("credentials of this pod: {error}"));
            (Config::incluster().map_err(wrong)?, None)
        }
    };
    if let Some(url) = server {
        if let Some(path) = url.strip_prefix("unix://") {
            config.cluster_url = localhost();
            return Ok((build(unix(Path::new(path).into()), &config)?, url));
        }
        config.cluster_url = parse(&url)?;
    }
    check(&config.cluster_url)?;
    let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let connector = config.rustls_https_connector_with_connector(tcp());
    let connector = connector.map_err(|error| unusable(&url, &error))?;
    Ok((build(connector, &config)?, url))
}

fn parse(url: &str) -> Result<Uri, Error> {
    let uri = url.parse::<Uri>().ok();
    uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https"))).ok_or_else(|| {
        Error::Place(format!(
            "`{url}` is no address of an API server\nhint: https://…, http://… or unix:///path"
        ))
    })
}

/// Refuses what would be passed over: credentials in an address, which messages and logs name.
fn check(url: &Uri) -> Result<(), Error> {
    let user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match user || url.query().is_some() {
        true => Err(Error::Place(
            "the address of the API server has a user or a query in it\nhint: credentials are \
             said by a kubeconfig"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

async fn kubeconfig(files: &[PathBuf], context: Option<String>) -> Result<Config, Error> {
    let names = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(":");
    let wrong = |error| Error::Place(format!("kubeconfig `{names}`: {}", reason(&error)));
    let merged = files.iter().try_fold(Kubeconfig::default(), |merged, file| {
        Kubeconfig::read_from(file).and_then(|next| merged.merge(next))
    });
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(merged.map_err(wrong)?, &options).await.map_err(wrong)
}

/// What is wrong with a kubeconfig, without what stands in it: that may be a secret.
fn reason(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("cannot read the file: {error}"),
        KubeconfigError::Parse(_) => "it is not the YAML of a kubeconfig".to_owned(),
        KubeconfigError::LoadContext(name) => format!("there is no context `{name}`"),
        KubeconfigError::CurrentContextNotSet => "there is no current context".to_owned(),
        other => other.to_string(),
    }
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_nodelay(true);
    let (after, every, times) = KEEPALIVE;
    connector.set_keepalive(Some(after));
    connector.set_keepalive_interval(Some(every));
    connector.set_keepalive_retries(Some(times));
    connector
}

/// Who connects to the socket is who we are, unless the kubeconfig has a token.
fn unix(path: Arc<Path>) -> impl Connect + Clone + Send + Sync + 'static {
    tower::service_fn(move |_: Uri| {
        let path = Arc::clone(&path);
        Box::pin(async move { UnixStream::connect(&path).await.map(TokioIo::new) })
    })
}

fn build<C>(connector: C, config: &Config) -> Result<Client, Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let http = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let wrong = |error| unusable(&config.cluster_url.to_string(), &error);
    let headers = config.extra_headers_layer().map_err(wrong)?;
    let builder =
        ClientBuilder::new(http.map_err(BoxError::from), config.default_namespace.clone())
            .with_layer(&config.base_uri_layer())
            .with_layer(&headers);
    Ok(match config.auth_layer().map_err(wrong)? {
        Some(credentials) => builder.with_layer(&credentials).build(),
        None => builder.build(),
    })
}

fn unusable(url: &str, error: &kube::Error) -> Error {
    Error::Place(format!("what is needed to connect to `{url}` cannot be used: {error}"))
}
