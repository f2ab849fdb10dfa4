//! Text to documents. YAML is read with bounded depth, size and aliases, and without duplicate
//! keys; JSON files as JSON.

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
    /// From 1.
    pub(crate) line: Option<u64>,
    /// From 1.
    pub(crate) column: Option<u64>,
}

impl Problem {
    fn new(reason: impl Into<String>) -> Problem {
        Problem { reason: reason.into(), hint: None, line: None, column: None }
    }
}

/// The documents of a text; an empty document is null.
pub(crate) fn documents(name: &str, bytes: &[u8]) -> Result<Vec<Value>, Problem> {
    let text = decode(bytes)?;
    if name.ends_with(".json") { json(text) } else { yaml(text) }
}

fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        let mut problem = Problem::new("the text is UTF-16");
        problem.hint = Some("save it as UTF-8".to_owned());
        return Err(problem);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::new(format!("the text is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    match text.bytes().position(|b| b == 0) {
        Some(at) => Err(Problem::new(format!("the text has a NUL byte at byte {at}"))),
        None => Ok(text),
    }
}

fn json(text: &str) -> Result<Vec<Value>, Problem> {
    let mut documents = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Unique>() {
        let value = value.map_err(|error| Problem {
            reason: format!("not JSON: {}", without_position(&error.to_string())),
            hint: None,
            line: Some(error.line() as u64),
            column: Some(error.column() as u64),
        })?;
        documents.push(value.0);
    }
    Ok(documents)
}

/// A value in which no mapping has a key twice: a reader that keeps the last one and a reader that
/// keeps the first would understand the document differently.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            match map.entry(key) {
                Entry::Vacant(place) => place.insert(entries.next_value::<Unique>()?.0),
                Entry::Occupied(place) => {
                    return Err(A::Error::custom(format_args!("duplicate key `{}`", place.key())));
                }
            };
        }
        Ok(map.into())
    }
}

/// A key as JSON has it. In YAML it may be written as another value than text, and then means the
/// text of that value: kubectl reads `y: x` as `"true": x`, so the cluster would have that key.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text as a key")
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }
}

/// A message without its " at line 1 column 2", which is told apart.
fn without_position(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text)
}

fn yaml(text: &str) -> Result<Vec<Value>, Problem> {
    serde_saphyr::from_multiple_with_options::<Unique>(text, options())
        .map(|documents| documents.into_iter().map(|d| d.0).collect())
        .map_err(|error| problem(&error, text))
}

fn options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_events: 50_000_000,
        max_nodes: 20_000_000,
        max_documents: 2_000_000,
        max_depth: 64,
        flow_nesting_limit: 64,
        max_aliases: 10_000,
        max_total_scalar_bytes: 512 << 20,
    };
    serde_saphyr::options! {
        budget: budget,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        leading_zero_numbers_as_strings: true,
        with_snippet: false,
    }
}

fn problem(error: &serde_saphyr::Error, text: &str) -> Problem {
    let location = error.location();
    let line = location.map(|l| l.line());
    let message = error.to_string();
    let reason = without_position(message.lines().next().unwrap_or_default());
    // The library goes on to name its own settings.
    let key = reason.strip_prefix("duplicate mapping key: ").and_then(|r| r.rsplit_once(", set "));
    let reason = key.map_or(reason.to_owned(), |(key, _)| format!("duplicate key `{key}`"));
    Problem {
        reason: format!("not YAML: {reason}"),
        hint: line.and_then(|line| indentation_hint(text, line)),
        line,
        column: location.map(|l| l.column()),
    }
}

/// The most common mistake: a key that is indented under a line which already has a value, as in
/// `selector: app == 'x'` with `ingress:` under it. Looks near the line the parser stumbled at.
fn indentation_hint(text: &str, line: u64) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let near = usize::try_from(line).ok()?;
    (near.saturating_sub(2)..near + 1).rev().find_map(|at| {
        let child = lines.get(at)?;
        let parent = lines.get(..at)?.iter().rev().find(|l| !l.trim().is_empty())?;
        let (key, parent_key) = (plain_key(child)?, plain_key(parent)?);
        let has_value = !parent.trim_end().ends_with(':');
        (indent(child) > indent(parent) && has_value).then(|| {
            format!(
                "`{key}:` in line {} is indented deeper than `{parent_key}:` above it, which \
                 already has a value; indent both alike",
                at + 1
            )
        })
    })
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The key of a line of the form `key:` or `key: value`.
fn plain_key(line: &str) -> Option<&str> {
    let (key, rest) = line.trim().trim_start_matches("- ").split_once(':')?;
    let word =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_/.".contains(c));
    (word && (rest.is_empty() || rest.starts_with(' '))).then_some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<Value>, Problem> {
        documents("x.yaml", text.as_bytes())
    }

    #[test]
    fn documents_of_all_shapes() {
        assert_eq!(
            read("a: 1\n---\nb: [x, z]\n").unwrap(),
            [json!({"a": 1}), json!({"b": ["x", "z"]})]
        );
        assert_eq!(read("a: 1\r\nb: 'x'\r\n").unwrap(), [json!({"a": 1, "b": "x"})]);
        assert_eq!(read("\u{feff}a: 0.5").unwrap(), [json!({"a": 0.5})]);
        assert_eq!(read(r#"{"a": {"b": null}}"#).unwrap(), [json!({"a": {"b": null}})]);
        assert_eq!(read("a: 036273\nb: '1'\n").unwrap(), [json!({"a": "036273", "b": "1"})]);
        assert!(read("").unwrap().iter().all(Value::is_null));
        assert!(read("# only a comment\n").unwrap().iter().all(Value::is_null));
        let mixed = read("---\na: 1\n---\n---\nb: 2\n").unwrap();
        assert_eq!(mixed.iter().filter(|v| !v.is_null()).count(), 2);
    }

    #[test]
    fn unreadable_texts() {
        for (text, want) in [
            ("a: 1\na: 2\n", "duplicate"),
            ("a: [1, 2\n", "not YAML"),
            ("a: 'x\n", "not YAML"),
            ("a: \0", "NUL"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.reason.contains(want), "{text:?}: {}", problem.reason);
        }
        assert!(documents("x", b"\xff\xfea\0").unwrap_err().reason.contains("UTF-16"));
        assert!(documents("x", b"a: \xff").unwrap_err().reason.contains("UTF-8"));
        assert!(documents("x.json", b"{\"a\": }").unwrap_err().reason.contains("not JSON"));
    }

    #[test]
    fn json_is_read_as_strictly_as_yaml() {
        let read = |text: &str| documents("x.json", text.as_bytes());
        let all =
            r#"{"a": [null, true, -1, 18446744073709551615, 0.5, "x\u20ac", {"a": {}}]} [] 1"#;
        let want = [
            json!({"a": [null, true, -1, 18_446_744_073_709_551_615_u64, 0.5, "x\u{20ac}", {"a": {}}]}),
            json!([]),
            json!(1),
        ];
        assert_eq!(read(all).unwrap(), want);
        let twice = read("{\"a\":\n {\"b\": 1, \"b\": 1}}").unwrap_err();
        assert_eq!(twice.reason, "not JSON: duplicate key `b`");
        assert_eq!(twice.line, Some(2));
        assert!(read(r#"{"a": 1e400}"#).is_err());
        assert!(read(&"[".repeat(100_000)).unwrap_err().reason.contains("recursion"));
        assert!(read(&r#"{"a":"#.repeat(100_000)).unwrap_err().reason.contains("recursion"));
    }

    #[test]
    fn a_key_under_a_value_gets_a_hint() {
        let text = "spec:\n  selector: app == 'database'\n    ingress:\n    - action: Allow\n";
        let problem = read(text).unwrap_err();
        assert_eq!(problem.line, Some(3), "{problem:?}");
        let hint = problem.hint.unwrap();
        assert!(
            hint.starts_with("`ingress:` in line 3 is indented deeper than `selector:`"),
            "{hint}"
        );
    }
}
