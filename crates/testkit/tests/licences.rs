//! Every package we build from has a licence that Apache-2.0 software may be distributed with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;

use tortie_testkit::workspace;

/// Licences that ask for no more than a notice.
const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages with another licence, and why that is no matter.
const EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "webpki-root-certs",
    "CDLA-Permissive-2.0",
    "data, and only built where the system has no certificates of its own: never on Linux",
)];

/// Whether an SPDX expression can be met with allowed licences. `A/B` is an old way to write
/// `A OR B`; `WITH` adds permissions to a licence, so it never forbids it.
fn acceptable(expression: &str) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = text.split_whitespace().peekable();
    any(&mut words) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>) -> bool {
    let mut result = all(words);
    while words.next_if_eq(&"OR").is_some() {
        result |= all(words);
    }
    result
}

fn all(words: &mut Words<'_>) -> bool {
    let mut result = one(words);
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words);
    }
    result
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => any(words) && words.next() == Some(")"),
        Some(licence) => {
            if words.next_if_eq(&"WITH").is_some() {
                words.next();
            }
            ALLOWED.contains(&licence)
        }
        None => false,
    }
}

#[test]
fn expressions_are_understood() {
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "GPL-2.0 OR (MIT AND ISC)",
    ] {
        assert!(acceptable(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MPL-2.0", "(MIT", "MIT ISC", "LicenseRef-x"] {
        assert!(!acceptable(bad), "{bad}");
    }
}

/// Whether a package is allowed by name, with the very licence it had then.
fn excepted(name: &str, licence: Option<&str>) -> bool {
    EXCEPTIONS.iter().any(|(package, known, _)| *package == name && licence == Some(*known))
}

#[test]
fn every_package_has_an_allowed_licence() {
    let metadata = workspace::metadata().unwrap();
    let refused: BTreeSet<String> = metadata
        .packages
        .iter()
        .filter(|p| !acceptable(p.license.as_deref().unwrap_or_default()))
        .filter(|p| !excepted(&p.name, p.license.as_deref()))
        .map(|p| format!("{} {}: {:?}", p.name, p.version, p.license))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
