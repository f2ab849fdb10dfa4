//! Accepting TLS connections.
//!
//! A client whose certificate cannot be trusted is let in as what it is, and refused by each
//! answer with 401 and the reason: an alert in the handshake would tell nobody anything.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::certificate::{Identity, Subject, read_private};
use super::{Pki, TlsError};

/// Where a server's certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The server's own authority, for these names and addresses.
    Own(Vec<String>),
    /// Files: certificate with intermediates, and key.
    Files(PathBuf, PathBuf),
}

impl Source {
    /// The certificate as it is now.
    ///
    /// # Errors
    /// If it cannot be made, or the files cannot be read.
    pub fn identity(&self, pki: &Pki, now: OffsetDateTime) -> Result<Identity, TlsError> {
        match self {
            Source::Own(names) => pki.server(names, now),
            Source::Files(certificate, key) => read_files(certificate, key),
        }
    }
}

/// A certificate and its key, which is not for everybody to read. The group may: so clusters hand
/// out files.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn read_files(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
    let fail = |source| TlsError::File { path: certificate.to_owned(), source };
    let certificate = std::fs::read_to_string(certificate).map_err(fail)?;
    Ok(Identity { certificate, key: read_private(key, 0o007)? })
}

/// Makes TLS of TCP connections. Clones share the certificate.
#[derive(Clone)]
pub struct Acceptor {
    config: tokio_rustls::TlsAcceptor,
    current: Arc<Current>,
    /// Absent if clients are not asked who they are.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// The certificate that is shown now.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// A connection, and what its client showed.
pub(crate) struct Connection {
    pub(crate) stream: TlsStream<TcpStream>,
    /// The client's certificate, or why it is not to be trusted.
    pub(crate) client: Option<Result<Subject, String>>,
}

impl Acceptor {
    /// An acceptor that shows `identity`, and trusts clients whose certificates are signed by one of
    /// `roots`, which are PEM.
    ///
    /// # Errors
    /// If the certificate does not fit its key, or a root is none.
    pub fn new(identity: &Identity, roots: &[&str]) -> Result<Acceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let clients = verifier(roots, &provider)?;
        Acceptor::build(identity, provider, Some(clients))
    }

    /// An acceptor that shows `identity`, and asks clients for nothing.
    ///
    /// # Errors
    /// If the certificate does not fit its key.
    pub fn for_anybody(identity: &Identity) -> Result<Acceptor, TlsError> {
        Acceptor::build(identity, Arc::new(ring::default_provider()), None)
    }

    fn build(
        identity: &Identity,
        provider: Arc<CryptoProvider>,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Acceptor, TlsError> {
        let current = Arc::new(Current(ArcSwap::new(certified(identity, &provider)?)));
        let settings = |error: Error| TlsError::Settings(error.to_string());
        let asked: Arc<dyn ClientCertVerifier> = match &clients {
            Some(clients) => Arc::new(Lenient(clients.clone())),
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(settings)?
            .with_client_cert_verifier(asked)
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Acceptor { config: Arc::new(config).into(), current, clients })
    }

    /// Shows another certificate from now on.
    ///
    /// # Errors
    /// If it does not fit its key; then nothing changes.
    pub fn renew(&self, identity: &Identity) -> Result<(), TlsError> {
        let provider = ring::default_provider();
        self.current.0.store(certified(identity, &provider)?);
        Ok(())
    }

    /// Makes TLS of a connection.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Connection> {
        let stream = self.config.accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = self.clients.as_ref().zip(chain.split_first());
        let client = shown.map(|(clients, (first, rest))| trusted(clients, first, rest));
        Ok(Connection { client, stream })
    }
}

/// What a client's certificate says, if it is to be trusted.
fn trusted(
    clients: &Arc<dyn ClientCertVerifier>,
    first: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
) -> Result<Subject, String> {
    clients
        .verify_client_cert(first, rest, UnixTime::now())
        .map_err(|error| format!("the client certificate is not trusted: {error}"))?;
    Subject::of(first)
}

fn certified(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let (chain, key) = (identity.chain(), identity.private_key());
    let (chain, key) = (chain.map_err(TlsError::Settings)?, key.map_err(TlsError::Settings)?);
    CertifiedKey::from_der(chain, key, provider)
        .map(Arc::new)
        .map_err(|error| TlsError::Settings(format!("certificate and key: {error}")))
}

fn verifier(
    roots: &[&str],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| store.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|why| TlsError::Settings(format!("clients' authority: {why}")))?;
        }
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Settings(format!("clients' authority: {error}")))
}

/// Lets everybody through the handshake who has the key of the certificate that is shown; whether
/// that is to be trusted is asked afterwards.
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Reads authorities that clients may have their certificates from.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn read_roots(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}
