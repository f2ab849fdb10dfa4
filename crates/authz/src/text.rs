//! Showing text that strangers wrote: bounded, escaped and without what may be secret.

use std::fmt::{self, Write};

/// Text that a stranger may have had a hand in, shown in at most `most` bytes and without control
/// characters, so that it can neither flood a log nor play with a terminal. A cut is marked by
/// `…`.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    text: &'a str,
    most: usize,
}

impl<'a> Shown<'a> {
    /// A certificate's principal. SPIFFE IDs of Kubernetes workloads are well below this bound.
    #[must_use]
    pub fn principal(text: &'a str) -> Self {
        Self { text, most: 256 }
    }

    /// A request path, cut before its parameters, query or fragment, which may hold secrets.
    #[must_use]
    pub fn path(text: &'a str) -> Self {
        let public = text.split(['?', '#', ';']).next().unwrap_or_default();
        Self { text: public, most: 256 }
    }

    /// A sentence of our own that may quote a stranger.
    #[must_use]
    pub fn sentence(text: &'a str) -> Self {
        Self { text, most: 1024 }
    }

    /// An HTTP method, a request id, or something else that is short by nature.
    #[must_use]
    pub fn word(text: &'a str) -> Self {
        Self { text, most: 64 }
    }

    /// Whether the text is shown as it is. Most is, and then costs no more than this look.
    fn is_plain(&self) -> bool {
        self.text.len() <= self.most && self.text.bytes().all(|b| matches!(b, b' '..=b'~'))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return f.write_str(self.text);
        }
        let mut left = self.most;
        for c in self.text.chars() {
            // Quotes and backslashes are for the log's own format to escape.
            let plain = matches!(c, '"' | '\'' | '\\');
            let escaped = c.escape_debug();
            let length = if plain { 1 } else { escaped.clone().map(char::len_utf8).sum() };
            let Some(rest) = left.checked_sub(length) else { return f.write_char('…') };
            left = rest;
            if plain { f.write_char(c)? } else { escaped.fmt(f)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_bounds() {
        let long = "x".repeat(300);
        for (shown, expected) in [
            (Shown::principal("spiffe://td/ns/a/sa/b"), "spiffe://td/ns/a/sa/b"),
            (Shown::word("a\nlevel=INFO \u{1b}[31m\0"), r"a\nlevel=INFO \u{1b}[31m\0"),
            (Shown::word("right\u{202e}left \\ \"q\" 'p' é"), "right\\u{202e}left \\ \"q\" 'p' é"),
            (Shown::word(""), ""),
            (Shown::principal(&long), &format!("{}…", "x".repeat(256))),
            (Shown::word(&"é".repeat(40)), &format!("{}…", "é".repeat(32))),
            (Shown::word(&"\n".repeat(40)), &format!("{}…", r"\n".repeat(32))),
        ] {
            assert_eq!(shown.to_string(), expected);
        }
    }

    #[test]
    fn paths_lose_what_may_be_secret() {
        for (path, expected) in [
            ("/v2/keys?token=secret", "/v2/keys"),
            ("/a#secret", "/a"),
            ("/a;jsessionid=secret/b", "/a"),
            ("?secret", ""),
            ("/plain/path", "/plain/path"),
        ] {
            assert_eq!(Shown::path(path).to_string(), expected);
        }
    }
}
