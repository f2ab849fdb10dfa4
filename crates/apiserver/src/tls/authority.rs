//! The server's own certificate authority: ECDSA P-256, made once, kept in one file.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::TlsError;
use super::certificate::{Identity, Subject};

/// How long before its issue a certificate is valid, for clocks that differ.
const BACKDATE: Duration = Duration::HOUR;

/// How long the authority lasts: nobody renews it.
const LIFETIME: Duration = Duration::days(3650);

/// A certificate that is wanted.
pub(super) struct Wanted<'a> {
    pub(super) user: &'a str,
    pub(super) group: Option<&'a str>,
    /// Names and addresses of a server; a client's has none.
    pub(super) names: &'a [String],
    pub(super) lifetime: Duration,
}

/// An authority, and its key.
pub(super) struct Authority {
    root: String,
    key_id: Vec<u8>,
    not_after: OffsetDateTime,
    issuer: Issuer<'static, KeyPair>,
}

fn make<'a>(subject: &'a str) -> impl Fn(rcgen::Error) -> TlsError + 'a {
    move |error| TlsError::Make { subject: subject.to_owned(), reason: error.to_string() }
}

impl Authority {
    /// Makes one, and its file.
    pub(super) fn create(path: &Path, now: OffsetDateTime) -> Result<Authority, TlsError> {
        let identity = Authority::make(now)?;
        identity.write(path)?;
        Authority::from(path, &identity)
    }

    /// A new root certificate and its key.
    pub(super) fn make(now: OffsetDateTime) -> Result<Identity, TlsError> {
        let make = make("certificate authority");
        let key = KeyPair::generate().map_err(&make)?;
        let mut params = validity(now, LIFETIME);
        // Clients choose a certificate by its issuer's name: another server's must be another one.
        let name = format!("tortie {}", now.unix_timestamp());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).map_err(&make)?.pem();
        Ok(Identity { certificate: root, key: key.serialize_pem() })
    }

    /// Reads it back.
    pub(super) fn load(path: &Path) -> Result<Authority, TlsError> {
        Authority::from(path, &Identity::read(path)?)
    }

    /// One whose certificate and key are there; `path` is for messages.
    pub(super) fn from(path: &Path, identity: &Identity) -> Result<Authority, TlsError> {
        let malformed = |reason: String| TlsError::Malformed { path: path.to_owned(), reason };
        let subject = identity.subject().map_err(malformed)?;
        if !subject.is_ca {
            return Err(malformed("the certificate is not one of an authority".to_owned()));
        }
        let key = KeyPair::from_pem(&identity.key)
            .map_err(|_| malformed("the private key is damaged".to_owned()))?;
        let issuer = Issuer::from_ca_cert_pem(&identity.certificate, key)
            .map_err(|error| malformed(error.to_string()))?;
        let Subject { key_id, not_after, .. } = subject;
        Ok(Authority { root: identity.certificate.clone(), key_id, not_after, issuer })
    }

    /// The authority's certificate.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// Whether a certificate says that this authority signed it.
    pub(super) fn signed(&self, subject: &Subject) -> bool {
        !self.key_id.is_empty() && subject.authority == self.key_id
    }

    /// Signs a certificate with a fresh key: of a server if it has names, else of a client.
    pub(super) fn issue(
        &self,
        wanted: &Wanted<'_>,
        now: OffsetDateTime,
    ) -> Result<Identity, TlsError> {
        let make = make(wanted.user);
        let key = KeyPair::generate().map_err(&make)?;
        let mut params = validity(now, wanted.lifetime);
        params.not_after = params.not_after.min(self.not_after);
        params.distinguished_name.push(DnType::CommonName, wanted.user);
        if let Some(group) = wanted.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let client = wanted.names.is_empty();
        params.extended_key_usages = vec![if client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        params.subject_alt_names = wanted
            .names
            .iter()
            .map(|name| alternative(name))
            .collect::<Result<_, _>>()
            .map_err(&make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(&make)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

fn alternative(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

/// An unnamed certificate with nothing but a validity, in whole seconds.
fn validity(now: OffsetDateTime, lifetime: Duration) -> CertificateParams {
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = now.saturating_sub(BACKDATE);
    params.not_after = now.saturating_add(lifetime);
    params
}
