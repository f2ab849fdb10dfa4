//! Runs the cases under `corpus/selectors`, whose README describes the files.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "test code"
)]

use std::fs;
use std::path::{Path, PathBuf};

use tortie_selector::{ParseError, Restriction, Restrictions, Selector};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/selectors").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rows of a table, unescaped, each with its line number.
fn rows(name: &str) -> Vec<(String, Vec<String>)> {
    let text = read(name);
    let lines = text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    let rows: Vec<_> = lines
        .map(|(index, line)| {
            (format!("{name}:{}: {line}", index + 1), line.split('\t').map(unescape).collect())
        })
        .collect();
    assert!(!rows.is_empty(), "{name} has no cases");
    rows
}

fn unescape(cell: &str) -> String {
    if cell == "EMPTY" {
        return String::new();
    }
    let mut out = String::new();
    let mut rest = cell;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let (character, after) = unescape_one(escape);
        out.push(character);
        rest = after;
    }
    out + rest
}

fn unescape_one(escape: &str) -> (char, &str) {
    if let Some(code) = escape.strip_prefix("u{") {
        let (code, after) = code.split_once('}').unwrap();
        return (char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap(), after);
    }
    let character = match &escape[..1] {
        "t" => '\t',
        "n" => '\n',
        "r" => '\r',
        "\\" => '\\',
        other => panic!("unknown escape `{other}`"),
    };
    (character, &escape[1..])
}

#[test]
fn selectors_match_as_expected() {
    for (place, row) in rows("match.tsv") {
        let [answer, text, labels @ ..] = row.as_slice() else { panic!("{place}: too few cells") };
        let labels: Vec<_> = labels.iter().map(|label| label.split_once('=').unwrap()).collect();
        let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(selector.matches(&labels), answer == "yes", "{place}");
    }
}

#[test]
fn canonical_texts_and_ids_are_as_expected() {
    for (place, row) in rows("canonical.tsv") {
        let [text, canonical, id] = row.as_slice() else { panic!("{place}: not three cells") };
        let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!((selector.canonical(), selector.id()), (&**canonical, &**id), "{place}");
        assert_eq!(Selector::parse(canonical).unwrap(), selector, "{place}");
    }
}

#[test]
fn restrictions_are_as_expected() {
    for (place, row) in rows("restrictions.tsv") {
        let [text, expected @ ..] = row.as_slice() else { panic!("{place}: too few cells") };
        let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(describe(&selector.restrictions()), expected, "{place}");
    }
}

fn describe(restrictions: &Restrictions<'_>) -> Vec<String> {
    if restrictions.is_impossible() {
        return vec!["impossible".into()];
    }
    let cell = |(label, restriction): (&str, &Restriction<'_>)| match restriction {
        Restriction::Absent => format!("{label} absent"),
        Restriction::Present => format!("{label} present"),
        Restriction::OneOf(values) => {
            let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("{label} in {{{}}}", values.join(", "))
        }
    };
    restrictions.iter().map(cell).collect()
}

/// Compares each block with what its selector gives. With `UPDATE_CORPUS` set, writes it instead,
/// for a review of the difference.
#[test]
fn errors_are_as_expected() {
    let text = read("errors.txt");
    let actual: String = text.split_inclusive("\n\n").map(|block| rewrite(block) + "\n").collect();
    let actual = format!("{}\n", actual.trim_end());
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        return fs::write(path("errors.txt"), &actual).unwrap();
    }
    assert!(text.contains("\n> "), "errors.txt has no cases");
    for (expected, actual) in text.split("\n\n").zip(actual.split("\n\n")) {
        assert_eq!(actual, expected);
    }
    assert_eq!(actual, text);
}

/// The block with everything but comments and the selector made anew.
fn rewrite(block: &str) -> String {
    let kept = block.lines().filter(|line| line.starts_with(['#', '>']));
    let mut out: String = kept.map(|line| format!("{line}\n")).collect();
    if let Some(cell) = block.lines().find_map(|line| line.strip_prefix('>')) {
        let text = unescape(cell.strip_prefix(' ').unwrap_or(cell));
        out.push_str(&report(&Selector::parse(&text).expect_err(&text)));
    }
    out
}

fn report(error: &ParseError) -> String {
    let excerpt: String = error.render().lines().map(|line| format!("| {line}\n")).collect();
    let hint = error.hint().map_or(String::new(), |hint| format!("hint: {hint}\n"));
    format!("{excerpt}error: {error}\n{hint}")
}
