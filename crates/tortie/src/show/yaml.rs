//! YAML for `-o yaml`, as other programs of Kubernetes write it: block style, keys in order, and
//! plain text wherever YAML takes it for text.

use serde_json::Value;

use super::jsonpath::shown;

/// A document, ending with a line feed.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut text, value, 0),
        Value::Array(list) if !list.is_empty() => block(&mut text, value, 0),
        plain => scalar(&mut text, plain, 0),
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// A mapping or a list, from the place where its first line begins.
fn block(text: &mut String, value: &Value, indent: usize) {
    let mut first = true;
    let mut line = |text: &mut String| {
        if !std::mem::take(&mut first) {
            pad(text, indent);
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                line(text);
                scalar(text, &Value::String(key.clone()), 0);
                text.push(':');
                field(text, value, indent);
            }
        }
        Value::Array(list) => {
            for item in list {
                line(text);
                text.push_str("- ");
                match nested(item) {
                    true => block(text, item, indent + 2),
                    false => {
                        scalar(text, item, indent + 2);
                        end(text);
                    }
                }
            }
        }
        plain => scalar(text, plain, indent),
    }
}

fn field(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(_) if nested(value) => {
            text.push('\n');
            pad(text, indent + 2);
            block(text, value, indent + 2);
        }
        // A list stands as far left as its key.
        Value::Array(_) if nested(value) => {
            text.push('\n');
            pad(text, indent);
            block(text, value, indent);
        }
        plain => {
            text.push(' ');
            scalar(text, plain, indent + 2);
            end(text);
        }
    }
}

fn end(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

fn pad(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// Whether it takes lines of its own.
fn nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

/// Anything that is written where it stands: text of several lines is a block below it.
fn scalar(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(string) if is_text(string) && is_plain(string) => text.push_str(string),
        Value::String(string) if indent > 0 && is_block(string) => literal(text, string, indent),
        Value::String(string) if is_text(string) && string.chars().all(is_printable) => {
            text.push('\'');
            text.push_str(&string.replace('\'', "''"));
            text.push('\'');
        }
        Value::Number(number) if number.is_f64() => text.push_str(&shown(value)),
        // JSON's form of everything else is YAML, too.
        other => text.push_str(&other.to_string()),
    }
}

fn is_printable(c: char) -> bool {
    c.is_ascii_graphic() || c == ' '
}

/// Whether bare words may be written so.
fn is_plain(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '(' | '$');
    text.starts_with(begins)
        && text.chars().all(is_printable)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.starts_with("...")
}

/// Whether every reader takes bare words for text: some know more words for something else, numbers
/// with units of sixty, and dates.
fn is_text(text: &str) -> bool {
    let words = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "=", "<<"];
    let digits = text.trim_start_matches(['+', '-', '.']).replace('_', "").to_ascii_lowercase();
    let radix = ["0x", "0o", "0b"].iter().any(|prefix| digits.starts_with(prefix));
    let number = digits.parse::<f64>().is_ok() || radix;
    let sixties = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.contains(':');
    let year = text.get(..5).is_some_and(|start| {
        start.strip_suffix('-').is_some_and(|year| year.bytes().all(|b| b.is_ascii_digit()))
    });
    let word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    !(word || number || sixties || year)
}

/// Whether text of several lines can stand as it is.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
        && !text.ends_with("\n\n")
}

fn literal(text: &mut String, string: &str, indent: usize) {
    text.push_str(if string.ends_with('\n') { "|" } else { "|-" });
    for line in string.lines() {
        text.push('\n');
        if !line.is_empty() {
            pad(text, indent);
            text.push_str(line);
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_look_as_kubectl_writes_them() {
        let value = json!({
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"annotations": {}, "name": "web"},
            "spec": {
                "ingress": [{"action": "Allow", "destination": {"ports": [80, "8080:8090"]}}],
                "selector": "app == 'web'",
                "text": "one\n\n two\n",
            },
        });
        let want = "apiVersion: projectcalico.org/v3\nmetadata:\n  annotations: {}\n  name: web\n\
                    spec:\n  ingress:\n  - action: Allow\n    destination:\n      ports:\n      \
                    - 80\n      - \"8080:8090\"\n  selector: app == 'web'\n  text: |\n    one\n\n     \
                    two\n";
        assert_eq!(document(&value), want);
    }

    #[test]
    fn whatever_is_written_is_read_again() {
        let texts = [
            "",
            " ",
            "a",
            "a ",
            " a",
            "a: b",
            "a:",
            "a #b",
            "# a",
            "- a",
            "null",
            "Yes",
            "~",
            "1",
            "1.5",
            "0x1f",
            ".5",
            ".inf",
            "2026-11-22",
            "2026-11-22T10:00:00Z",
            "a\nb",
            "a\nb\n",
            "\na",
            " a\nb",
            "a\n\n",
            "a\tb",
            "\u{1}",
            "é",
            "{a}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "'a'",
            "\"a\"",
            "a\"b'",
            "\\",
            "a, b",
            "|",
            ">",
            "? a",
            "---",
            "...",
            "--- a",
            "=",
            "<<",
            "12:30:45",
            "a\u{85}b",
            "10.65.0.2",
            "192.0.2.0/24",
            "3f2a-1",
            "1e5",
            "0b1",
            "1_000",
            "+1",
            "-x",
            "it's: so",
            "{\"a\": 'b'}",
            "a\u{2028}b",
            "line one\n  line two\nline three",
            "tab\n\tx",
            "true\nfalse",
        ];
        for text in texts {
            let shapes = [
                json!(text),
                json!([text, [text]]),
                json!({"k": text, "m": {"x": [{"y": text}]}}),
                json!({text: {text: 1}}),
            ];
            for value in shapes {
                let written = document(&value);
                let read = tortie_client::document(written.as_bytes());
                assert_eq!(read.as_ref(), Ok(&value), "{written}");
            }
        }
        for value in [
            json!({"a": null}),
            json!(-1),
            json!(0.5),
            json!([]),
            json!({}),
            json!({"a": [[], {}]}),
        ] {
            let read = tortie_client::document(document(&value).as_bytes());
            assert_eq!(read, Ok(value));
        }
    }
}
