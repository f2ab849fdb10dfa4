//! The small certificate authority of a lab: ECDSA P-256, SPIFFE identities, short lifetimes.
//!
//! Time is passed in. Keys come from the operating system's generator (through `ring`); nothing
//! else here is random, and serial numbers are derived from the fresh public key.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::files;
use crate::identity::{TrustDomain, Workload};

/// How far the start of a certificate's validity lies before its issue, for clocks that differ.
pub const BACKDATE: Duration = Duration::MINUTE;

/// The name of the authority's file inside its directory: certificate first, then its key.
pub const AUTHORITY_FILE: &str = "authority.pem";

/// The type of the Secret that Istio's tools keep a workload certificate in.
pub const SECRET_TYPE: &str = "istio.io/key-and-cert";

const KEY_HEADER: &str = "-----BEGIN PRIVATE KEY-----";

/// Why a certificate could not be made, stored or read back.
#[derive(Debug, Error)]
pub enum CaError {
    /// A key or certificate could not be made.
    #[error("certificate for `{subject}`: {source}")]
    Make {
        /// The SPIFFE id or trust domain asked for.
        subject: String,
        /// What the X.509 library said.
        source: rcgen::Error,
    },
    /// The authority is not valid at the time of issue, so nothing it signs would be.
    #[error("authority: valid from {not_before} to {not_after}, which does not include {now}")]
    NotValid {
        /// Start of the authority's validity.
        not_before: OffsetDateTime,
        /// End of the authority's validity.
        not_after: OffsetDateTime,
        /// The time of issue.
        now: OffsetDateTime,
    },
    /// A lifetime that is zero, negative, or beyond the calendar.
    #[error("lifetime {0}: must be longer than nothing and end within the calendar")]
    Lifetime(Duration),
    /// The authority's file or directory could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else may read the authority's key.
    #[error(
        "{}: mode {mode:04o} lets others in; the key in it can no longer be trusted \
         (delete it, and a new authority is made)", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold an authority.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A private key in PKCS #8 PEM. Its contents appear in no `Debug` or `Display` output.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// The key itself. Whoever calls this decides where the secret goes next.
    #[must_use]
    pub fn expose_pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// What a workload needs to prove who it is, and to check its peers.
#[derive(Debug, Clone)]
pub struct WorkloadCertificate {
    /// The identity in the certificate.
    pub spiffe_id: String,
    /// The certificate, and any intermediates after it, in PEM.
    pub chain_pem: String,
    /// The key of the certificate.
    pub key: PrivateKey,
    /// The authority's certificate in PEM, to check peers against.
    pub root_pem: String,
    /// When it was issued.
    pub issued_at: OffsetDateTime,
    /// Start of validity, [`BACKDATE`] before the issue.
    pub not_before: OffsetDateTime,
    /// End of validity.
    pub not_after: OffsetDateTime,
}

impl WorkloadCertificate {
    /// When to ask for the next one: halfway between its issue and its end, so that a renewal that
    /// fails can be tried again many times.
    #[must_use]
    pub fn renew_at(&self) -> OffsetDateTime {
        self.issued_at + (self.not_after - self.issued_at) / 2
    }

    /// The entries of a Secret of type [`SECRET_TYPE`], before base64.
    #[must_use]
    pub fn secret_entries(&self) -> [(&'static str, &str); 3] {
        [
            ("cert-chain.pem", &self.chain_pem),
            ("key.pem", self.key.expose_pem()),
            ("root-cert.pem", &self.root_pem),
        ]
    }
}

/// The authority of one trust domain: its root certificate and the key that signs.
#[derive(Debug)]
pub struct Authority {
    trust_domain: TrustDomain,
    root_pem: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a fresh key, valid from [`BACKDATE`] before `now` for `lifetime`.
    ///
    /// # Errors
    /// If the lifetime is not positive, or the system's random generator fails.
    pub fn new(
        trust_domain: TrustDomain,
        now: OffsetDateTime,
        lifetime: Duration,
    ) -> Result<Self, CaError> {
        let make = |source| CaError::Make { subject: trust_domain.to_string(), source };
        let (not_before, not_after) = validity(now, lifetime)?;
        let key = KeyPair::generate().map_err(make)?;
        let params = root_params(&trust_domain, not_before, not_after).map_err(make)?;
        let root_pem = params.self_signed(&key).map_err(make)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { trust_domain, root_pem, not_before, not_after, issuer })
    }

    /// The trust domain whose identities this authority vouches for.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root certificate in PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The end of the root certificate's validity.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Issues a certificate with a fresh key: empty subject, the SPIFFE id as the one critical
    /// subject alternative name, usable for both ends of a connection.
    ///
    /// Its validity starts [`BACKDATE`] before `now` and ends after `lifetime`, or with the
    /// authority's own if that comes first.
    ///
    /// # Errors
    /// If the authority is not valid at `now`, the lifetime is not positive, or the system's
    /// random generator fails.
    pub fn issue(
        &self,
        workload: &Workload,
        now: OffsetDateTime,
        lifetime: Duration,
    ) -> Result<WorkloadCertificate, CaError> {
        let Self { not_before, not_after, .. } = *self;
        if !(not_before..not_after).contains(&now) {
            return Err(CaError::NotValid { not_before, not_after, now });
        }
        let (start, end) = validity(now, lifetime)?;
        let (not_before, not_after) = (start.max(not_before), end.min(not_after));
        let spiffe_id = workload.spiffe_id(&self.trust_domain);
        let make = |source| CaError::Make { subject: spiffe_id.clone(), source };
        let key = KeyPair::generate().map_err(make)?;
        let params = workload_params(&spiffe_id, not_before, not_after).map_err(make)?;
        let chain_pem = params.signed_by(&key, &self.issuer).map_err(make)?.pem();
        Ok(WorkloadCertificate {
            spiffe_id,
            chain_pem,
            key: PrivateKey(key.serialize_pem()),
            root_pem: self.root_pem.clone(),
            issued_at: now,
            not_before,
            not_after,
        })
    }

    /// Stores the authority as [`AUTHORITY_FILE`] in `dir`: the directory is made 0700 and the
    /// file is 0600 from its first moment, written whole or not at all.
    ///
    /// # Errors
    /// If the directory or the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), CaError> {
        let path = dir.join(AUTHORITY_FILE);
        let contents = format!("{}{}", self.root_pem, self.issuer.key().serialize_pem());
        files::private_dir(dir).map_err(|source| CaError::File { path: dir.to_owned(), source })?;
        files::replace_private(&path, &contents)
            .map_err(|(path, source)| CaError::File { path, source })
    }

    /// Reads back what [`Authority::save`] stored in `dir`.
    ///
    /// # Errors
    /// If the file cannot be read ([`CaError::File`], with the system's `NotFound` when there is
    /// none), others may read it, or it does not hold a root certificate with its key.
    pub fn load(dir: &Path) -> Result<Self, CaError> {
        let path = dir.join(AUTHORITY_FILE);
        let failed = |source| CaError::File { path: path.clone(), source };
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CaError::Exposed { path, mode });
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        Self::from_pem(&text).map_err(|reason| CaError::Malformed { path, reason })
    }

    fn from_pem(text: &str) -> Result<Self, &'static str> {
        let split = text.find(KEY_HEADER).ok_or("no private key in it")?;
        let (root_pem, key_pem) = text.split_at(split);
        let key = KeyPair::from_pem(key_pem).map_err(|_| "the private key is damaged")?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(root_pem.as_bytes())
            .map_err(|_| "no certificate before the private key")?;
        let (_, root) =
            X509Certificate::from_der(&pem.contents).map_err(|_| "the certificate is damaged")?;
        if !root.is_ca() {
            return Err("the certificate is not one of an authority");
        }
        if root.public_key().raw != key.subject_public_key_info() {
            return Err("the private key is not the certificate's");
        }
        Ok(Self {
            trust_domain: trust_domain_of(&root).ok_or("the certificate names no trust domain")?,
            root_pem: root_pem.to_owned(),
            not_before: root.validity().not_before.to_datetime(),
            not_after: root.validity().not_after.to_datetime(),
            issuer: Issuer::from_ca_cert_pem(root_pem, key)
                .map_err(|_| "the certificate is damaged")?,
        })
    }
}

/// The validity of something issued at `now`, in the whole seconds a certificate can express.
fn validity(
    now: OffsetDateTime,
    lifetime: Duration,
) -> Result<(OffsetDateTime, OffsetDateTime), CaError> {
    if lifetime <= Duration::ZERO {
        return Err(CaError::Lifetime(lifetime));
    }
    let (start, end) = (now.checked_sub(BACKDATE), now.checked_add(lifetime));
    whole_second(start).zip(whole_second(end)).ok_or(CaError::Lifetime(lifetime))
}

fn whole_second(at: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    at?.replace_nanosecond(0).ok()
}

/// An unnamed certificate with nothing but a validity and one SPIFFE id.
fn params(
    spiffe_id: &str,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(spiffe_id)?)];
    params.not_before = not_before;
    params.not_after = not_after;
    Ok(params)
}

fn root_params(
    trust_domain: &TrustDomain,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<CertificateParams, rcgen::Error> {
    let id = trust_domain.prefix();
    let mut params = params(id.trim_end_matches('/'), not_before, not_after)?;
    params.distinguished_name.push(DnType::OrganizationName, "Tortie lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn workload_params(
    spiffe_id: &str,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(spiffe_id, not_before, not_after)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// The trust domain a root certificate names: its one URI, a SPIFFE id without a path.
fn trust_domain_of(root: &X509Certificate<'_>) -> Option<TrustDomain> {
    let names = root.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(id)] => id.strip_prefix("spiffe://")?.parse().ok(),
        _ => None,
    }
}
