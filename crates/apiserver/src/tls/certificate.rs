//! What certificates say, and files that hold one with its key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use smol_str::SmolStr;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TlsError;

/// A certificate with its key, as PEM. The key appears in no `Debug` output.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, and any intermediates after it.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// What a file holds, which only its owner may read.
    pub(super) fn read(path: &Path) -> Result<Identity, TlsError> {
        let malformed =
            |reason: &str| TlsError::Malformed { path: path.to_owned(), reason: reason.to_owned() };
        let text = read_private(path, 0o077)?;
        let split = text.find("-----BEGIN PRIVATE KEY-----");
        let split = split.ok_or_else(|| malformed("no private key in it"))?;
        let (certificate, key) = text.split_at(split);
        let identity = Identity { certificate: certificate.to_owned(), key: key.to_owned() };
        identity.subject().map_err(|reason| malformed(&reason))?;
        Ok(identity)
    }

    /// Writes it to a file for its owner alone.
    pub(super) fn write(&self, path: &Path) -> Result<(), TlsError> {
        let text = format!("{}{}", self.certificate, self.key);
        Ok(tortie_daemon::file::replace(path, text.as_bytes(), 0o600)?)
    }

    /// The certificates, in the order they are sent.
    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Ok(chain),
            Ok(_) => Err("no certificate in it".to_owned()),
            Err(error) => Err(format!("the certificate cannot be read: {error}")),
        }
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| format!("the private key cannot be read: {error}"))
    }

    /// The last certificate of the chain, as PEM, if it is one of an authority.
    pub(crate) fn self_made_root(&self) -> Option<String> {
        let last = self.chain().ok()?.pop()?;
        let begin = self.certificate.rfind("-----BEGIN CERTIFICATE-----")?;
        let text = self.certificate.get(begin..)?;
        Subject::of(&last).ok().filter(|subject| subject.is_ca).map(|_| text.to_owned())
    }

    /// What the certificate says.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn subject(&self) -> Result<Subject, String> {
        let chain = self.chain()?;
        let first = chain.first().ok_or("no certificate in it")?;
        Subject::of(first)
    }
}

/// The text of a file with a secret in it: one that has any of these permission bits is none.
pub(crate) fn read_private(path: &Path, exposing: u32) -> Result<String, TlsError> {
    let fail = |source| TlsError::File { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(fail)?.permissions().mode() & 0o7777;
    if mode & exposing != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    fs::read_to_string(path).map_err(fail)
}

/// What a certificate says of whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Common name: the user.
    pub user: SmolStr,
    /// Organizations: the user's groups.
    pub groups: Vec<SmolStr>,
    /// Serial number, in hexadecimal.
    pub serial: String,
    /// Names and addresses of a server.
    pub names: Vec<String>,
    /// End of its validity.
    pub not_after: OffsetDateTime,
    /// The key that it says it is signed with.
    pub(crate) authority: Vec<u8>,
    /// Its own key, if it says which.
    pub(crate) key_id: Vec<u8>,
    pub(crate) is_ca: bool,
}

impl Subject {
    /// Reads a certificate. Nothing is said of whether it can be trusted.
    pub(super) fn of(der: &[u8]) -> Result<Subject, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "the certificate is damaged".to_owned())?;
        let subject = certificate.subject();
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().ok().map(SmolStr::new)
        };
        let mut found = Subject {
            user: subject.iter_common_name().last().and_then(text).unwrap_or_default(),
            groups: subject.iter_organization().filter_map(text).collect(),
            serial: serial(certificate.raw_serial()),
            names: names(&certificate),
            not_after: certificate.validity().not_after.to_datetime(),
            authority: Vec::new(),
            key_id: Vec::new(),
            is_ca: certificate.is_ca(),
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    found.authority =
                        id.key_identifier.as_ref().map(|id| id.0.to_vec()).unwrap_or_default();
                }
                ParsedExtension::SubjectKeyIdentifier(id) => found.key_id = id.0.to_vec(),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// A serial number as text, without the zero that keeps it positive.
fn serial(raw: &[u8]) -> String {
    let digits = raw.iter().skip_while(|byte| **byte == 0);
    digits.map(|byte| format!("{byte:02x}")).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(Into::into),
        _ => <[u8; 16]>::try_from(bytes).ok().map(Into::into),
    }
}
