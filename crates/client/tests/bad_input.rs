//! Texts made to hurt: each is read correctly, or refused with a clear reason.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use serde_json::{Value, json};
use tortie_client::files::{self, Loaded};

const YAML: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n";

/// A document in YAML with another field.
fn yaml(field: &str) -> Vec<u8> {
    format!("{YAML}{field}").into_bytes()
}

/// A document in JSON with another field.
fn json(field: &str) -> Vec<u8> {
    format!(r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "x"}}, {field}}}"#)
        .into_bytes()
}

fn load(file: &str, text: &[u8]) -> Result<Loaded, String> {
    files::load_text(file, text).map_err(|errors| errors[0].to_string())
}

/// The value of the field `a`.
fn field(file: &str, text: &[u8]) -> Value {
    load(file, text).unwrap().resources[0].raw["a"].clone()
}

fn refused(file: &str, text: &[u8], want: &str) {
    let reason = load(file, text).err();
    assert!(reason.as_ref().is_some_and(|r| r.contains(want)), "{want}: {reason:?}");
}

fn utf16(text: &[u8], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let units = std::str::from_utf8(text).unwrap().encode_utf16();
    std::iter::once(0xfeff).chain(units).flat_map(bytes).collect()
}

#[test]
fn a_line_of_ten_megabytes_is_read() {
    let long = "x".repeat(10 << 20);
    assert_eq!(field("x.yaml", &yaml(&format!("a: {long}\n"))).as_str(), Some(long.as_str()));
    assert_eq!(field("x.json", &json(&format!(r#""a": "{long}""#))).as_str(), Some(long.as_str()));
    let list = format!("[{}1]", "1,".repeat(5 << 20 >> 4));
    let count = |value: Value| value.as_array().unwrap().len();
    assert_eq!(count(field("x.yaml", &yaml(&format!("a: {list}\n")))), (5 << 20 >> 4) + 1);
    assert_eq!(count(field("x.json", &json(&format!(r#""a": {list}"#)))), (5 << 20 >> 4) + 1);
}

#[test]
fn documents_of_a_thousand_levels_are_refused() {
    let lists = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    let mappings = format!("{}1{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
    for deep in [&lists, &mappings] {
        refused("x.yaml", &yaml(&format!("a: {deep}\n")), "not YAML");
        refused("x.json", &json(&format!(r#""a": {deep}"#)), "recursion limit");
    }
    let indented: String = (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    refused("x.yaml", indented.as_bytes(), "not YAML");
    refused("x.yaml", &yaml(&format!("a:\n{}1\n", "- ".repeat(1000))), "not YAML");
}

#[test]
fn documents_of_fifty_levels_are_read() {
    let deep = format!("{}1{}", "[".repeat(50), "]".repeat(50));
    let yaml = field("x.yaml", &yaml(&format!("a: {deep}\n")));
    assert_eq!(yaml, field("x.json", &json(&format!(r#""a": {deep}"#))));
}

#[test]
fn alias_bombs_are_refused() {
    let mut bomb = "a: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..12 {
        let previous = format!("*a{},", i - 1).repeat(10);
        bomb.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
    }
    refused("x.yaml", &yaml(&bomb), "not YAML");
    refused("x.yaml", &yaml("a: &a [*a]\n"), "not YAML");
    assert_eq!(field("x.yaml", &yaml("b: &b [1, 2]\na: *b\n")), json!([1, 2]));
}

#[test]
fn keys_are_given_once() {
    refused(
        "x.yaml",
        &yaml("a: 1\nb:\n  c: 1\n  c: 2\n"),
        "x.yaml:8:3: not YAML: duplicate key `c`",
    );
    refused("x.yaml", &yaml("kind: Secret\n"), "duplicate key `kind`");
    refused("x.yaml", &yaml("'a': 1\n\"a\": 2\n"), "duplicate key `a`");
    refused("x.yaml", &yaml("true: 1\ny: 2\n"), "duplicate key `true`");
    refused("x.json", &json(r#""a": {"c": 1, "c": 2}"#), "not JSON: duplicate key `c`");
    refused("x.json", &json(r#""a": 1, "\u0061": 2"#), "not JSON: duplicate key `a`");
    // JSON in a file that is not called so.
    refused("x.yaml", &json(r#""a": 1, "a": 2"#), "duplicate key `a`");
}

#[test]
fn nul_bytes_are_refused() {
    refused("x.yaml", &yaml("a: x\0y\n"), "NUL byte at byte 55");
    refused("x.json", &json("\"a\": \"\0\""), "NUL byte");
    // Written as an escape it is a character like any other.
    assert_eq!(field("x.yaml", &yaml("a: \"\\0\"\n")), "\0");
    assert_eq!(field("x.json", &json(r#""a": "\u0000""#)), "\0");
    refused("x.json", &json("\"a\": \"\u{1}\""), "control character");
}

#[test]
fn lines_may_end_as_in_windows() {
    let text = String::from_utf8(yaml("a: |\n  one\n  two\nb: 1 # note\n")).unwrap();
    let windows = text.replace('\n', "\r\n");
    assert_eq!(field("x.yaml", windows.as_bytes()), "one\ntwo\n");
    let documents = format!("{windows}---\r\n{windows}");
    assert_eq!(load("x.yaml", documents.as_bytes()).unwrap().resources.len(), 2);
    let text = String::from_utf8(json("\n\"a\": \"x\"\n")).unwrap().replace('\n', "\r\n");
    assert_eq!(field("x.json", text.as_bytes()), "x");
}

#[test]
fn utf_16_is_named() {
    for (file, text) in [("x.yaml", yaml("a: 1\n")), ("x.json", json(r#""a": 1"#))] {
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let encoded = utf16(&text, bytes);
            refused(file, &encoded, "the text is UTF-16");
            let error = files::load_text(file, &encoded).unwrap_err().remove(0);
            assert_eq!(error.hint.as_deref(), Some("save it as UTF-8"));
            // Without the mark at its head it is text with NUL bytes.
            refused(file, &encoded[2..], "NUL byte");
        }
        let marked = ["\u{feff}".as_bytes(), text.as_slice()].concat();
        assert_eq!(field(file, &marked), 1);
        refused(file, &[text.as_slice(), b"\xc3\x28"].concat(), "not UTF-8 from byte");
    }
}

/// What kubectl makes of values without quotes, with the library it reads YAML with.
#[test]
fn plain_words_are_read_as_kubectl_reads_them() {
    for (text, want) in [
        ("y", json!(true)),
        ("N", json!(false)),
        ("yes", json!(true)),
        ("No", json!(false)),
        ("on", json!(true)),
        ("OFF", json!(false)),
        ("'y'", json!("y")),
        ("!!str on", json!("on")),
        ("~", json!(null)),
        ("1_000", json!(1000)),
        ("0x1F", json!(31)),
        ("1:30", json!("1:30")),
        ("2001-01-01", json!("2001-01-01")),
    ] {
        assert_eq!(field("x.yaml", &yaml(&format!("a: {text}\n"))), want, "{text}");
    }
    for (text, key) in [("y", "true"), ("off", "false"), ("'y'", "y"), ("1", "1"), ("0x10", "16")] {
        let loaded = load("x.yaml", &yaml(&format!("a: {{{text}: 1}}\n"))).unwrap();
        assert_eq!(loaded.resources[0].raw["a"], json!({key: 1}), "{text}");
    }
    for key in ["~", "[a]", "{}"] {
        refused("x.yaml", &yaml(&format!("a:\n  ? {key}\n  : 1\n")), "expected text as a key");
    }
}

#[test]
fn a_plain_word_where_text_is_meant_gets_a_hint() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {beta: n}}\n";
    let error = files::load_text("x.yaml", text.as_bytes()).unwrap_err().remove(0);
    assert_eq!(error.field, "metadata.labels.beta");
    assert!(error.hint.unwrap().contains("put it in quotes"));
}
