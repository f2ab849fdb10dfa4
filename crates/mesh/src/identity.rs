//! Who a workload is: trust domain, namespace and service account, written as a SPIFFE id.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Why a name cannot be part of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidIdentity {
    /// The trust domain is empty, too long, or has a character SPIFFE does not allow.
    #[error(
        "trust domain `{0}`: must be 1 to 255 lower-case letters, digits, `.`, `-` or `_` \
         (SPIFFE-ID section 2.1)"
    )]
    TrustDomain(String),
    /// The namespace is not a DNS label.
    #[error("namespace `{0}`: must be 1 to 63 lower-case letters, digits or inner `-`")]
    Namespace(String),
    /// The service account is not a DNS subdomain.
    #[error(
        "service account `{0}`: must be 1 to 253 lower-case letters, digits, `.` or `-`, \
         with a letter or digit at both ends of each part"
    )]
    ServiceAccount(String),
}

/// A SPIFFE trust domain, for example `cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The text prefix of every identity in this domain, with its closing slash, so that
    /// `cluster.local` never covers `cluster.localhost`.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("spiffe://{}/", self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if (1..=255).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIdentity::TrustDomain(text.to_owned()))
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A workload: a service account of a namespace.
///
/// Its parts are checked on construction, so its SPIFFE id has exactly the segments it shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    namespace: String,
    service_account: String,
}

impl Workload {
    /// A workload by its namespace and service account.
    ///
    /// # Errors
    /// If either is not a name Kubernetes would accept.
    pub fn new(namespace: &str, service_account: &str) -> Result<Self, InvalidIdentity> {
        if !is_label(namespace) {
            return Err(InvalidIdentity::Namespace(namespace.to_owned()));
        }
        if service_account.len() > 253 || !service_account.split('.').all(is_label) {
            return Err(InvalidIdentity::ServiceAccount(service_account.to_owned()));
        }
        Ok(Self { namespace: namespace.to_owned(), service_account: service_account.to_owned() })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The SPIFFE id in Istio's layout: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    #[must_use]
    pub fn spiffe_id(&self, trust_domain: &TrustDomain) -> String {
        format!("{}ns/{}/sa/{}", trust_domain.prefix(), self.namespace, self.service_account)
    }
}

/// A DNS label of RFC 1123, as Kubernetes names are made of.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= 63
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_id_has_istios_layout() {
        let domain: TrustDomain = "cluster.local".parse().unwrap();
        let id = Workload::new("default", "summary").unwrap().spiffe_id(&domain);
        assert_eq!(id, "spiffe://cluster.local/ns/default/sa/summary");
    }

    #[test]
    fn trust_domains() {
        for good in ["cluster.local", "a", "td-1_x.example"] {
            assert!(good.parse::<TrustDomain>().is_ok(), "{good}");
        }
        for bad in ["", "Cluster.local", "a/b", "a b", "a:1", &"a".repeat(256)] {
            assert!(bad.parse::<TrustDomain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_smuggle_a_segment() {
        for (namespace, account, ok) in [
            ("default", "summary", true),
            ("default", "my.account", true),
            ("1a", "0", true),
            ("default/sa/root", "x", false),
            ("default", "x/../root", false),
            ("", "x", false),
            ("default", "", false),
            ("-a", "x", false),
            ("a-", "x", false),
            ("a.b", "x", false),
            ("default", "a..b", false),
            ("Default", "x", false),
        ] {
            assert_eq!(Workload::new(namespace, account).is_ok(), ok, "{namespace} {account}");
        }
    }
}
