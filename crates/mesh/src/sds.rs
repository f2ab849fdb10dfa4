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

/// The files for one certificate, by name, in the order they must be written: the root first, for
/// a certificate must never be presented before those who share the directory can check it.
///
/// There are two because Envoy refuses a response with more secrets than it asked for.
#[must_use]
pub fn files(issued: &WorkloadCertificate) -> [(&'static str, String); 2] {
    [
        (ROOT_FILE, root(&issued.root_pem).to_string()),
        (CERTIFICATE_FILE, certificate(issued).to_string()),
    ]
}

/// The contents of [`ROOT_FILE`]: a discovery response with the root certificate.
#[must_use]
pub fn root(root_pem: &str) -> Value {
    let context = json!({"trusted_ca": {"inline_string": root_pem}});
    response(ROOT_SECRET, "validation_context", &context)
}

/// The contents of [`CERTIFICATE_FILE`]: a discovery response with the certificate and its key.
#[must_use]
pub fn certificate(issued: &WorkloadCertificate) -> Value {
    let pair = json!({
        "certificate_chain": {"inline_string": issued.chain_pem},
        "private_key": {"inline_string": issued.key.expose_pem()},
    });
    response(CERTIFICATE_SECRET, "tls_certificate", &pair)
}

/// Puts [`files`] into `dir`, for an Envoy that runs or will run, as this process's own user.
///
/// `dir` is made if needed, for its owner only, and so are the files, each renamed into place.
///
/// # Errors
/// If `dir` or a file cannot be written; what was published before then stays whole.
pub fn publish(dir: &Path, issued: &WorkloadCertificate) -> Result<(), PublishError> {
    files::private_dir(dir).map_err(|source| PublishError { path: dir.to_owned(), source })?;
    files(issued).iter().try_for_each(|(name, contents)| {
        files::replace_private(&dir.join(name), contents)
            .map_err(|(path, source)| PublishError { path, source })
    })
}

fn response(name: &str, kind: &str, secret: &Value) -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        kind: secret,
    }]})
}
