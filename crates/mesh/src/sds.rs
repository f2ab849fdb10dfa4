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
/// `dir` is made if needed, for its owner only, and so are the files, each renamed into place. The
/// root goes first: a certificate must never be presented before those who share this directory
/// can check it.
///
/// # Errors
/// If `dir` or a file cannot be written; what was published before then stays whole.
pub fn publish(dir: &Path, issued: &WorkloadCertificate) -> Result<(), PublishError> {
    files::private_dir(dir).map_err(|source| PublishError { path: dir.to_owned(), source })?;
    let write = |name: &str, contents: &Value| {
        files::replace_private(&dir.join(name), &contents.to_string())
            .map_err(|(path, source)| PublishError { path, source })
    };
    write(ROOT_FILE, &root(&issued.root_pem))?;
    write(CERTIFICATE_FILE, &certificate(issued))
}

fn response(name: &str, kind: &str, secret: &Value) -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        kind: secret,
    }]})
}
