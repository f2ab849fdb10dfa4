//! HTTP criteria, and the one form in which request paths and rule paths are compared.

use std::borrow::Cow;

use smol_str::SmolStr;

/// HTTP criteria of a rule; both lists must hold where they are not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// Methods, any of them, compared byte by byte; `*` is any method.
    pub methods: Vec<SmolStr>,
    /// Paths, any of them.
    pub paths: Vec<PathMatch>,
}

/// One path criterion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(NormalPath<'static>),
    /// The path itself or anything below it.
    Prefix(NormalPath<'static>),
}

impl PathMatch {
    /// Whether a request path meets the criterion.
    pub fn matches(&self, path: &NormalPath<'_>) -> bool {
        match self {
            PathMatch::Exact(want) => want.0 == path.0,
            PathMatch::Prefix(want) => path.is_at_or_below(want),
        }
    }
}

/// A path in normal form: starts with `/`, percent-decoded once, no `.`, `..` or empty segments,
/// no backslashes, no `;` parameters, no trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'a>(Cow<'a, [u8]>);

/// Why a path has no normal form: two readers could understand it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Neither `/` nor `\` at its start.
    #[error("it does not start with `/`")]
    NotAbsolute,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("it has a `%` without two hexadecimal digits")]
    Escape,
    /// `%2e`, `%2f` or `%5c` are left after decoding once.
    #[error("it has a dot, slash or backslash that is encoded twice")]
    DoubleEncoding,
    /// A NUL byte.
    #[error("it has a NUL byte")]
    Nul,
}

impl<'a> NormalPath<'a> {
    /// Normalises a path. The query and fragment are cut off first.
    ///
    /// # Errors
    /// If the path has no safe normal form; such a path meets no path criterion.
    pub fn parse(path: &'a str) -> Result<NormalPath<'a>, InvalidPath> {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if is_normal(path.as_bytes()) {
            return Ok(NormalPath(Cow::Borrowed(path.as_bytes())));
        }
        let mut decoded = decode(path)?;
        reject_unsafe(&decoded)?;
        for byte in &mut decoded {
            if *byte == b'\\' {
                *byte = b'/';
            }
        }
        if decoded.first() != Some(&b'/') {
            return Err(InvalidPath::NotAbsolute);
        }
        Ok(NormalPath(Cow::Owned(clean(&decoded))))
    }

    /// The normal form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same path, owning its text.
    pub fn into_owned(self) -> NormalPath<'static> {
        NormalPath(Cow::Owned(self.0.into_owned()))
    }

    fn is_at_or_below(&self, prefix: &NormalPath<'_>) -> bool {
        if *prefix.0 == *b"/" {
            return true;
        }
        self.0
            .strip_prefix(&*prefix.0)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

impl std::fmt::Display for NormalPath<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Whether a path is already in normal form; most are, and need no copy.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        let suspicious = matches!(byte, b'%' | b'\\' | b';' | 0);
        if suspicious || (previous == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        previous = byte;
    }
    path.first() == Some(&b'/') && (path.len() == 1 || previous != b'/')
}

/// Decodes percent escapes once; `+` stays as it is.
fn decode(path: &str) -> Result<Vec<u8>, InvalidPath> {
    let mut rest = path.as_bytes();
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        rest = rest.get(at + 1..).unwrap_or_default();
        match rest {
            [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {}
            _ => return Err(InvalidPath::Escape),
        }
    }
    Ok(percent_encoding::percent_decode_str(path).collect())
}

fn reject_unsafe(decoded: &[u8]) -> Result<(), InvalidPath> {
    if decoded.contains(&0) {
        return Err(InvalidPath::Nul);
    }
    let twice =
        |w: &[u8]| [b"%2e", b"%2f", b"%5c"].iter().any(|escape| w.eq_ignore_ascii_case(*escape));
    if decoded.windows(3).any(twice) { Err(InvalidPath::DoubleEncoding) } else { Ok(()) }
}

/// Drops `;` parameters, collapses slashes, resolves `.` and `..` (never above the root).
fn clean(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|b| *b == b'/') {
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        match name {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut clean = vec![b'/'];
    clean.extend(segments.join(&b'/'));
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn normal_form_has_its_properties(path in "[/.;%?#\\\\25eEfFcC+a\u{e9}]{0,24}") {
            if let Ok(normal) = NormalPath::parse(&path) {
                let bytes = normal.as_bytes();
                prop_assert_eq!(bytes.first(), Some(&b'/'));
                prop_assert!(!bytes.contains(&b'\\'));
                prop_assert!(bytes.len() == 1 || !bytes.ends_with(b"/"));
                let segments: Vec<_> = bytes[1..].split(|b| *b == b'/').collect();
                let plain = |s: &&[u8]| !matches!(*s, b"" | b"." | b"..");
                prop_assert!(bytes == b"/" || segments.iter().all(plain));
            }
        }

        #[test]
        fn no_shortcut_changes_the_answer(path in "/[/.a;b-]{0,16}") {
            let direct = NormalPath::parse(&path).expect("no escapes");
            let encoded = path.replace('a', "%61");
            let decoded = NormalPath::parse(&encoded).expect("valid escapes");
            prop_assert_eq!(direct, decoded);
        }
    }
}
