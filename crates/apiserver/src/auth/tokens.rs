//! Tokens of service accounts: JSON web tokens with a key of the server's own (HMAC with SHA-256),
//! which say whose they are, for whom, and until when. Whether the account is still there is asked
//! elsewhere.

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::tls::{TlsError, read_private};

/// Who issues tokens, and the audience that the API itself is: what Kubernetes calls it unless told
/// otherwise.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The only header there is: a token with another one, whatever it says of how it is to be verified,
/// is none.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Length of the key, in bytes.
const KEY: usize = 32;

/// An object that a token names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What a token says beside what all tokens do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) serviceaccount: Named,
    /// The objects that it ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Named>,
}

/// What a token says. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: Vec<String>,
    pub(crate) exp: u64,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) account: Account,
}

/// Makes tokens and knows its own.
#[derive(Debug, Clone)]
pub struct Signer(hmac::Key);

impl Signer {
    /// One whose tokens count as long as it lasts.
    pub(crate) fn passing(environment: &Environment) -> Signer {
        Signer::with(&fresh(environment))
    }

    /// One whose key is in a folder, where it is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be read or made, or others may read it.
    pub fn open(folder: &Path, environment: &Environment) -> Result<Signer, TlsError> {
        let path = folder.join("accounts.key");
        let fail = |source| TlsError::File { path: folder.to_owned(), source };
        // Of two that begin at once, one makes the key. The lock goes with the file.
        let lock = File::open(folder).map_err(fail)?;
        lock.lock().map_err(fail)?;
        let text = match read_private(&path, 0o077) {
            Err(TlsError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let text = BASE64.encode(fresh(environment));
                tortie_daemon::file::replace(&path, text.as_bytes(), 0o600)?;
                text
            }
            read => read?,
        };
        match BASE64.decode(text.trim()) {
            Ok(key) if key.len() == KEY => Ok(Signer::with(&key)),
            _ => Err(TlsError::Malformed { path, reason: "no key in it".to_owned() }),
        }
    }

    fn with(key: &[u8]) -> Signer {
        Signer(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A token that says this.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        // Text, numbers and lists of them can always be written.
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let said = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(claims));
        let tag = hmac::sign(&self.0, said.as_bytes());
        format!("{said}.{}", BASE64.encode(tag))
    }

    /// What a token says, if it is one of this signer's and its time is now.
    pub(crate) fn read(&self, token: &str, now: SystemTime) -> Option<Claims> {
        let (said, tag) = token.rsplit_once('.')?;
        let (header, claims) = said.split_once('.')?;
        let tag = BASE64.decode(tag).ok()?;
        hmac::verify(&self.0, said.as_bytes(), &tag).ok()?;
        if BASE64.decode(header).ok()? != HEADER.as_bytes() {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        let now = seconds(now);
        (claims.iss == ISSUER && claims.nbf <= now && now < claims.exp).then_some(claims)
    }
}

/// A key that nobody knows.
fn fresh(environment: &Environment) -> [u8; KEY] {
    let mut key = [0; KEY];
    let (one, two) = ((environment.random)(), (environment.random)());
    key.iter_mut().zip(one.into_iter().chain(two)).for_each(|(to, from)| *to = from);
    key
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn claims() -> Claims {
        let account = Named { name: "default".into(), uid: "u".into() };
        Claims {
            iss: ISSUER.into(),
            sub: "system:serviceaccount:shop:default".into(),
            aud: vec![ISSUER.into()],
            exp: 2000,
            iat: 1000,
            nbf: 1000,
            jti: "j".into(),
            account: Account {
                namespace: "shop".into(),
                serviceaccount: account,
                pod: None,
                secret: None,
            },
        }
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn tokens_count_while_they_last_and_only_as_they_were_made() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::default();
        let signer = Signer::open(folder.path(), &environment).unwrap();
        let token = signer.sign(&claims());
        let again = Signer::open(folder.path(), &environment).unwrap();
        assert_eq!(again.read(&token, at(1000)), Some(claims()));
        assert_eq!(again.read(&token, at(1999)), Some(claims()));
        assert!(again.read(&token, at(999)).is_none() && again.read(&token, at(2000)).is_none());
        assert!(Signer::passing(&environment).read(&token, at(1500)).is_none());

        let parts: Vec<&str> = token.split('.').collect();
        let other = BASE64.encode(serde_json::to_vec(&Claims { exp: 9000, ..claims() }).unwrap());
        let none = BASE64.encode(r#"{"alg":"none"}"#);
        let wrong = [
            String::new(),
            "..".into(),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}.{}", parts[0], other, parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{token}."),
            format!("{token}.{token}"),
            token.replace('.', ""),
        ];
        for token in wrong {
            assert!(signer.read(&token, at(1500)).is_none(), "{token}");
        }
        let elsewhere = signer.sign(&Claims { iss: "https://elsewhere".into(), ..claims() });
        assert!(signer.read(&elsewhere, at(1500)).is_none());
    }

    #[test]
    fn the_key_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::default();
        Signer::open(folder.path(), &environment).unwrap();
        let path = folder.path().join("accounts.key");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        let refused = Signer::open(folder.path(), &environment).unwrap_err().to_string();
        assert!(refused.contains("accounts.key`: no key"), "{refused}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Signer::open(folder.path(), &environment).unwrap_err().to_string();
        assert!(refused.contains("mode 0644"), "{refused}");
    }
}
