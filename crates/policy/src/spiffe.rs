//! SPIFFE IDs in the layout of Kubernetes workloads:
//! `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.

use std::fmt;

use smol_str::SmolStr;

use crate::Account;

/// Longest trust domain, namespace or account accepted, in bytes (that of a DNS name).
const MAX_PART: usize = 253;

/// The identity a workload's certificate states.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// Trust domain, such as `cluster.local`.
    pub trust_domain: SmolStr,
    /// The workload's service account.
    pub account: Account,
}

/// Text that is no SPIFFE ID of a Kubernetes workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// Another scheme, or none.
    #[error("it does not start with `spiffe://`")]
    Scheme,
    /// Not `/ns/<namespace>/sa/<account>` after the trust domain.
    #[error("its path is not `/ns/<namespace>/sa/<service account>`")]
    Layout,
    /// A part that is empty, too long, or has a character no name may have.
    #[error("its {0} is not a valid name")]
    Part(&'static str),
}

impl SpiffeId {
    /// Reads a SPIFFE ID. The match is exact: no decoding, no extra or empty segments, and only
    /// the characters that Kubernetes names and DNS names may have.
    ///
    /// # Errors
    /// Says which part is not as it must be.
    pub fn parse(text: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        let (trust_domain, namespace, name) = SpiffeId::split(text)?;
        let account = Account { namespace: namespace.into(), name: name.into() };
        Ok(SpiffeId { trust_domain: trust_domain.into(), account })
    }

    /// Trust domain, namespace and service account of a SPIFFE ID, as parts of its text.
    ///
    /// # Errors
    /// As [`SpiffeId::parse`].
    pub fn split(text: &str) -> Result<(&str, &str, &str), InvalidSpiffeId> {
        let rest = text.strip_prefix("spiffe://").ok_or(InvalidSpiffeId::Scheme)?;
        let mut parts = rest.split('/');
        let (trust_domain, ns, namespace, sa, account, end) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
        if ns != Some("ns") || sa != Some("sa") || end.is_some() {
            return Err(InvalidSpiffeId::Layout);
        }
        Ok((
            part(trust_domain, "trust domain")?,
            part(namespace, "namespace")?,
            part(account, "service account")?,
        ))
    }
}

fn part<'a>(text: Option<&'a str>, what: &'static str) -> Result<&'a str, InvalidSpiffeId> {
    let text = text.ok_or(InvalidSpiffeId::Layout)?;
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    if text.is_empty() || text.len() > MAX_PART || !text.bytes().all(valid) {
        return Err(InvalidSpiffeId::Part(what));
    }
    Ok(text)
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { namespace, name } = &self.account;
        write!(f, "spiffe://{}/ns/{namespace}/sa/{name}", self.trust_domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ids_round_trip() {
        for text in ["spiffe://cluster.local/ns/default/sa/summary", "spiffe://a/ns/b/sa/c.d-e"] {
            assert_eq!(SpiffeId::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        use InvalidSpiffeId::{Layout, Part, Scheme};
        let long = format!("spiffe://td/ns/{}/sa/c", "x".repeat(254));
        for (text, error) in [
            ("", Scheme),
            ("http://cluster.local/ns/a/sa/b", Scheme),
            ("SPIFFE://cluster.local/ns/a/sa/b", Scheme),
            ("spiffe://cluster.local", Layout),
            ("spiffe://cluster.local/workload/x", Layout),
            ("spiffe://cluster.local/ns/a/sa/b/", Layout),
            ("spiffe://cluster.local/ns/a/sa/b/c", Layout),
            ("spiffe://cluster.local/NS/a/sa/b", Layout),
            ("spiffe:///ns/a/sa/b", Part("trust domain")),
            ("spiffe://td/ns//sa/b", Part("namespace")),
            ("spiffe://td/ns/a/sa/", Part("service account")),
            ("spiffe://td/ns/a/sa/b?x", Part("service account")),
            ("spiffe://td/ns/a/sa/%62", Part("service account")),
            ("spiffe://td/ns/a/sa/b\n", Part("service account")),
            (&long, Part("namespace")),
        ] {
            assert_eq!(SpiffeId::parse(text), Err(error), "{text}");
        }
    }
}
