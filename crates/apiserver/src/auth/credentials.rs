//! From what a caller shows to who that is.

use std::net::IpAddr;
use std::time::SystemTime;

use axum::http::{HeaderMap, header};
use smol_str::SmolStr;

use super::caller::{Caller, Peer};
use super::register::{Entry, Register, RegisterError, Stamp};
use crate::status::Status;
use crate::tls::Subject;

/// Knows users by their credentials.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// The users that were added; a server without a folder has none.
    register: Option<Register>,
}

impl Credentials {
    pub(crate) fn new(register: Option<Register>) -> Credentials {
        Credentials { register }
    }

    /// Who calls. A token says it if there is one, else the connection.
    ///
    /// # Errors
    /// If something is shown that does not count: that is no way to be nobody.
    pub(crate) fn caller(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Caller, Status> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        match (given.next(), given.next(), peer) {
            (Some(value), None, _) => self.token(value.to_str().unwrap_or_default(), now),
            (Some(_), Some(_), _) => Err(Status::unauthorized("more than one token")),
            (None, _, Peer::Local) => Ok(Caller::local()),
            (None, _, Peer::Open) if is_browser(headers) => {
                Err(Status::denied("without TLS nothing is served to web pages"))
            }
            (None, _, Peer::Open) => Ok(Caller::local()),
            (None, _, Peer::Certificate(subject)) => self.certificate(subject, now),
            (None, _, Peer::Untrusted(why)) => Err(Status::unauthorized(why)),
            (None, _, Peer::Unknown) => Ok(Caller::anonymous()),
        }
    }

    /// Which state the list of users is in; nothing if it cannot be seen.
    pub(crate) fn stamp(&self) -> Option<Option<Stamp>> {
        self.register.as_ref()?.stamp().ok()
    }

    fn token(&self, authorization: &str, now: SystemTime) -> Result<Caller, Status> {
        let token = bearer(authorization)
            .ok_or_else(|| Status::unauthorized("the Authorization header has no bearer token"))?;
        self.of_token(token, now)
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// If it does not count.
    pub(super) fn of_token(&self, token: &str, now: SystemTime) -> Result<Caller, Status> {
        let register = self.register.as_ref().ok_or_else(unknown_token)?;
        let entry = register.token(token).map_err(unreadable)?;
        entry.filter(|entry| entry.counts(now)).map(|entry| of(&entry)).ok_or_else(unknown_token)
    }

    fn certificate(&self, subject: &Subject, now: SystemTime) -> Result<Caller, Status> {
        // A connection may outlive the certificate it was begun with.
        let end = SystemTime::from(subject.not_after);
        if end <= now {
            return Err(Status::unauthorized("the client certificate has ended"));
        }
        if subject.user.is_empty() {
            return Err(Status::unauthorized("the client certificate names no user"));
        }
        let register = self.register.as_ref();
        let entry = register.map(|register| register.certificate(&subject.serial)).transpose();
        match entry.map_err(unreadable)?.flatten() {
            Some(entry) if !entry.counts(now) => {
                Err(Status::unauthorized("the client certificate was revoked"))
            }
            // A certificate has room for one group of those that were given.
            Some(entry) if entry.user == subject.user => {
                let caller = of(&entry);
                Ok(Caller { ends: caller.ends.min(Some(end)), ..caller })
            }
            _ => Ok(Caller::known(&subject.user, subject.groups.iter().cloned()).until(end)),
        }
    }
}

/// The token in the value of an Authorization header.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The token of a request that has one and no more.
pub(super) fn only_bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let one = given.next().filter(|_| given.next().is_none())?;
    bearer(one.to_str().ok()?)
}

/// Why a token does not count; which of these it is, is nobody's affair.
pub(super) fn unknown_token() -> Status {
    Status::unauthorized("the token is unknown, has ended or was revoked")
}

/// Whether a request may come from a web page, which must not have the rights of whoever looks at it:
/// it says from which one it comes, or calls this machine by another name.
fn is_browser(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    let local = name == "localhost" || address.is_ok_and(|address| address.is_loopback());
    headers.contains_key(header::ORIGIN) || !(local || host.is_empty())
}

fn of(entry: &Entry) -> Caller {
    Caller::known(&entry.user, entry.groups.iter().map(SmolStr::new)).until(entry.end())
}

fn unreadable(error: RegisterError) -> Status {
    tracing::error!(%error, "nobody can be known by token or certificate");
    Status::unavailable("the server cannot read its list of users")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use time::{Duration, OffsetDateTime};

    use super::super::register::{Credential, new_token};
    use super::*;

    fn subject(user: &str, serial: &str, days: i64) -> Subject {
        Subject {
            user: user.into(),
            groups: vec!["own".into()],
            serial: serial.to_owned(),
            names: Vec::new(),
            not_after: OffsetDateTime::now_utc() + Duration::days(days),
            authority: Vec::new(),
            key_id: Vec::new(),
            is_ca: false,
        }
    }

    #[test]
    fn callers_are_who_they_prove_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let (now, register) = (SystemTime::now(), Register::new(folder.path()));
        let (token, kept) = new_token().unwrap();
        let entry = |user: &str, credential, revoked| Entry {
            user: user.to_owned(),
            groups: vec!["dev".into(), "ops".into()],
            credential,
            created: 0,
            expires: i64::MAX,
            revoked,
        };
        let serial = |serial: &str| Credential::Certificate(serial.to_owned());
        register.add(entry("ada", kept, false), now).unwrap();
        register.add(entry("bob", serial("b0"), false), now).unwrap();
        register.add(entry("eve", serial("ee"), true), now).unwrap();
        let credentials = Credentials::new(Some(register));
        let bearer = format!("Bearer {token}");
        let shown = |user, serial, days| Peer::Certificate(subject(user, serial, days));
        let cases: [(&[&str], Peer, &str); 13] = [
            (&[], Peer::Local, "system:tortie system:masters,system:authenticated"),
            (&[], Peer::Unknown, "system:anonymous system:unauthenticated"),
            (&[&bearer], Peer::Unknown, "ada dev,ops,system:authenticated"),
            (&[&bearer], Peer::Local, "ada dev,ops,system:authenticated"),
            (&["Bearer tortie-guess"], Peer::Local, "401"),
            (&["Basic YTpi"], Peer::Unknown, "401"),
            (&[&bearer, &bearer], Peer::Unknown, "401"),
            (&[], shown("cy", "1", 1), "cy own,system:authenticated"),
            (&[], shown("bob", "b0", 1), "bob dev,ops,system:authenticated"),
            (&[], shown("eve", "ee", 1), "401"),
            (&[], shown("cy", "1", -1), "401"),
            (&[], shown("", "1", 1), "401"),
            (&[], Peer::Untrusted("it is not signed by us".into()), "401"),
        ];
        for (authorization, peer, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in authorization {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let found = match credentials.caller(&peer, &headers, now) {
                Ok(caller) => format!("{} {}", caller.user, caller.groups.join(",")),
                Err(status) => status.code().as_u16().to_string(),
            };
            assert_eq!(found, expected, "{authorization:?} {peer:?}");
        }
    }

    #[test]
    fn web_pages_have_no_rights_of_their_readers() {
        let cases = [
            (Some("127.0.0.1:6980"), None, true),
            (Some("localhost:6980"), None, true),
            (Some("[::1]:6980"), None, true),
            (Some("localhost"), None, true),
            (None, None, true),
            (Some("rebound.example.com:6980"), None, false),
            (Some("127.0.0.1:6980"), Some("https://example.com"), false),
        ];
        for (host, origin, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let caller = Credentials::default().caller(&Peer::Open, &headers, SystemTime::now());
            assert_eq!(caller.is_ok(), expected, "{host:?} {origin:?}");
        }
    }
}
