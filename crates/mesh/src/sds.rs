//! Secrets for a running Envoy, as files of its Secret Discovery Service.
//!
//! A workload's certificate and its key travel inline in one file, so a rotation never shows half
//! a pair. Envoy re-reads a file when something is renamed into the directory it watches, and only
//! then; it also wakes up for anything else that happens there, so that directory must hold
//! nothing but these files: an Envoy whose log lies in it feeds on its own output.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use crate::ca::WorkloadCertificate;
use crate::files;

/// The file with the workload's certificate and key.
pub const CERTIFICATE_FILE: &str = "certificate.json";
/// The file with the root that peers are checked against.
pub const ROOT_FILE: &str = "root.json";

/// The name of the certificate's secret, as Istio calls it.
pub(crate) const CERTIFICATE_SECRET: &str = "default";
/// The name of the root's secret, as Istio calls it.
pub(crate) const ROOT_SECRET: &str = "ROOTCA";

/// A secret could not be put before Envoy.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct PublishError {
    path: PathBuf,
    source: io::Error,
}

/// The contents of [`CERTIFICATE_FILE`]: a discovery response with the certificate and its key.
#[must_use]
pub fn certificate(certificate: &WorkloadCertificate) -> Value {
    response(
        CERTIFICATE_SECRET,
        "tls_certificate",
        &json!({
            "certificate_chain": {"inline_string": certificate.chain_pem},
            "private_key": {"inline_string": certificate.key.expose_pem()},
        }),
    )
}

/// The contents of [`ROOT_FILE`]: a discovery response with the root certificate.
#[must_use]
pub fn root(root_pem: &str) -> Value {
    response(ROOT_SECRET, "validation_context", &json!({"trusted_ca": {"inline_string": root_pem}}))
}

/// Publishes a certificate, its key and its root in `dir`, for an Envoy that runs or will run.
///
/// `dir` is made if needed, for its owner only, and so are the files. Each file is written beside
/// `dir`, on the same file system, and renamed into it. The root goes first: a certificate must
/// never be presented before peers that share this directory can check it.
///
/// # Errors
/// If `dir` has no parent or a file cannot be written; what was published before then stays whole.
pub fn publish(dir: &Path, issued: &WorkloadCertificate) -> Result<(), PublishError> {
    let failed = |source| PublishError { path: dir.to_owned(), source };
    files::private_dir(dir).map_err(failed)?;
    for (name, contents) in
        [(ROOT_FILE, root(&issued.root_pem)), (CERTIFICATE_FILE, certificate(issued))]
    {
        let path = dir.join(name);
        let staged = staging_path(dir, name).map_err(failed)?;
        files::replace_private(&staged, &path, &contents.to_string())
            .map_err(|source| PublishError { path, source })?;
    }
    Ok(())
}

/// A place beside the watched directory, named after it so that neighbours do not collide.
fn staging_path(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let (Some(parent), Some(own)) = (dir.parent(), dir.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "needs a parent directory"));
    };
    Ok(parent.join(format!(".{}.{name}.new", own.to_string_lossy())))
}

fn response(name: &str, kind: &str, secret: &Value) -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        kind: secret,
    }]})
}
