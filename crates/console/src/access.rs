//! Who may look.
//!
//! Whatever listens on a loopback address can be reached by every user of the machine, and by every
//! page that a browser on it shows. So what is asked for must be asked by its own name (a name that
//! somebody points at 127.0.0.1 is another one), by our own page or by no page at all, and by
//! somebody who has shown the code.
//!
//! Browsers send a cookie to every port of a host. Ours therefore counts below one path only, which
//! other ports do not know, so that it is not sent to what other users of the machine listen on.

use std::net::SocketAddr;

use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use crate::code::hex;

/// The cookie's name.
const COOKIE: &str = "tortie-console";

/// How many characters of the path are secret.
const SECRET: usize = 32;

/// Why somebody is turned away, in one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str);

/// Knows who may look.
#[derive(Debug)]
pub(crate) struct Access {
    /// What this host may be called, with the port.
    names: Vec<String>,
    /// Hashes of what is shown: comparing them tells nothing of it.
    code: String,
    cookie: String,
    /// What the cookie and its path are.
    value: String,
    path: String,
}

impl Access {
    /// For who has a code, at an address.
    pub(crate) fn new(code: &str, address: SocketAddr) -> Access {
        let port = address.port();
        let mut names = vec![address.to_string(), format!("localhost:{port}")];
        if port == 80 {
            let bare = names.iter().filter_map(|name| name.strip_suffix(":80"));
            names.extend(bare.map(str::to_owned).collect::<Vec<_>>());
        }
        let value = derived("cookie", code);
        let path = derived("path", code).chars().take(SECRET).collect();
        Access { names, code: hashed(code), cookie: hashed(&value), value, path }
    }

    /// The path of a request within the console: what comes after the secret part, if that is there.
    pub(crate) fn within<'a>(&self, path: &'a str) -> &'a str {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(&self.path));
        rest.filter(|rest| rest.starts_with('/')).unwrap_or(path)
    }

    /// Whether a request was meant for us and comes from our own page or from none.
    pub(crate) fn is_ours(&self, head: &Parts) -> Result<(), Refusal> {
        let host = only(&head.headers, "host");
        let Some(host) = host.filter(|host| self.names.iter().any(|name| name == host)) else {
            return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, "this host has another name"));
        };
        if head.headers.contains_key("origin") {
            let own = only(&head.headers, "origin").and_then(|o| o.strip_prefix("http://"));
            if own != Some(host) {
                return Err(Refusal(StatusCode::FORBIDDEN, "another page asks"));
            }
        }
        // Links from elsewhere lead to the entrance; nothing else may be asked for from there.
        let from = head.headers.get("sec-fetch-site").map(|value| value.as_bytes());
        let own = from.is_none_or(|from| [&b"same-origin"[..], b"none"].contains(&from));
        if own || head.uri.path() == "/" {
            return Ok(());
        }
        Err(Refusal(StatusCode::FORBIDDEN, "another page asks"))
    }

    /// Whether the cookie, or the code itself, was shown.
    pub(crate) fn may_look(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|p| p.split_once('='));
        let ours = |(name, value): (&str, &str)| {
            name.trim() == COOKIE && hashed(value.trim()) == self.cookie
        };
        pairs.any(ours) || self.has_code(headers)
    }

    /// Whether the code was shown.
    pub(crate) fn has_code(&self, headers: &HeaderMap) -> bool {
        let shown = only(headers, "authorization").and_then(|text| text.strip_prefix("Bearer "));
        shown.is_some_and(|code| hashed(code.trim()) == self.code)
    }

    /// Where the cookie counts.
    pub(crate) fn path(&self) -> String {
        format!("/{}/", self.path)
    }

    /// The header that sets the cookie.
    pub(crate) fn set_cookie(&self) -> String {
        let (value, path) = (&self.value, self.path());
        format!("{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict")
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn hashed(text: &str) -> String {
    derived("shown", text)
}

/// Something that follows from a code, and from which the code does not.
fn derived(what: &str, code: &str) -> String {
    hex(&Sha256::digest(format!("tortie-console {what} {code}")))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn access() -> Access {
        Access::new("secret", "127.0.0.1:6981".parse().unwrap())
    }

    fn head(path: &str, headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::get(path), |r, (name, value)| r.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn requests_of_others_are_refused() {
        let host = ("host", "127.0.0.1:6981");
        let (fine, misdirected, forbidden) =
            (None, Some(StatusCode::MISDIRECTED_REQUEST), Some(StatusCode::FORBIDDEN));
        let cases: &[(&str, &[(&str, &str)], _)] = &[
            ("/", &[host], fine),
            ("/", &[("host", "localhost:6981")], fine),
            ("/api/board", &[host, ("origin", "http://127.0.0.1:6981")], fine),
            ("/api/board", &[host, ("sec-fetch-site", "same-origin")], fine),
            ("/api/board", &[host, ("sec-fetch-site", "none")], fine),
            ("/", &[host, ("sec-fetch-site", "cross-site")], fine),
            ("/", &[], misdirected),
            ("/", &[host, host], misdirected),
            ("/", &[("host", "127.0.0.1")], misdirected),
            ("/", &[("host", "127.0.0.1:80")], misdirected),
            ("/", &[("host", "evil.example:6981")], misdirected),
            ("/", &[("host", "[::1]:6981")], misdirected),
            ("/api/board", &[host, ("origin", "http://localhost:6981")], forbidden),
            ("/api/board", &[host, ("origin", "http://127.0.0.1:1")], forbidden),
            ("/api/board", &[host, ("origin", "https://127.0.0.1:6981")], forbidden),
            ("/api/board", &[host, ("origin", "null")], forbidden),
            ("/api/board", &[host, ("sec-fetch-site", "cross-site")], forbidden),
            ("/api/board", &[host, ("sec-fetch-site", "same-site")], forbidden),
            ("/console.js", &[host, ("sec-fetch-site", "same-site")], forbidden),
        ];
        for (path, headers, expected) in cases {
            let refused = access().is_ours(&head(path, headers)).err().map(|refusal| refusal.0);
            assert_eq!(refused, *expected, "{path} {headers:?}");
        }
    }

    #[test]
    fn who_has_shown_the_code_may_look() {
        let access = access();
        let set = access.set_cookie();
        let cookie = set.split(';').next().unwrap().to_owned();
        assert!(set.ends_with("; HttpOnly; SameSite=Strict") && !set.contains("secret"), "{set}");
        let other = format!("a=b; {cookie} ; c=d");
        let wrong = format!("{cookie}0");
        let cases = [
            ("cookie", cookie.as_str(), true),
            ("cookie", &other, true),
            ("cookie", &wrong, false),
            ("cookie", "tortie-console=", false),
            ("cookie", "tortie-console=secret", false),
            ("authorization", "Bearer secret", true),
            ("authorization", "Bearer ", false),
            ("authorization", "Bearer secret2", false),
            ("authorization", "secret", false),
            ("x", "secret", false),
        ];
        for (name, value, expected) in cases {
            let head = head("/", &[(name, value)]);
            assert_eq!(access.may_look(&head.headers), expected, "{name}: {value}");
        }
        assert!(!access.has_code(&head("/", &[("cookie", &cookie)]).headers));
    }

    #[test]
    fn the_secret_path_leads_to_the_same_places() {
        let access = access();
        let path = access.path();
        assert_eq!(access.within(&format!("{path}api/board")), "/api/board");
        assert_eq!(access.within(&path), "/");
        for outside in ["/api/board", "/", "", path.trim_end_matches('/')] {
            assert_eq!(access.within(outside), outside);
        }
    }
}
