//! JSONPath templates as kubectl reads them: text with expressions in braces, loops over `range` …
//! `end`, slices, filters and recursive descent.

use std::fmt;

use serde_json::Value;

use super::path::{self, Path};

/// A template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Values(Path),
    Range(Path, Vec<Node>),
}

/// Why a template cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(pub(super) String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem(text.into()))
}

/// What an expression in braces is.
enum Word {
    Text(String),
    Path(Path),
    Range(Path),
    End,
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Template, Problem> {
        let mut open: Vec<(Path, Vec<Node>)> = Vec::new();
        let mut nodes = Vec::new();
        for word in words(text)? {
            match word {
                Word::Text(text) => nodes.push(Node::Text(text)),
                Word::Path(path) => nodes.push(Node::Values(path)),
                Word::Range(path) => open.push((path, std::mem::take(&mut nodes))),
                Word::End => match open.pop() {
                    None => return problem("`{end}` without `{range}`"),
                    Some((path, before)) => {
                        let inside = std::mem::replace(&mut nodes, before);
                        nodes.push(Node::Range(path, inside));
                    }
                },
            }
        }
        if open.is_empty() { Ok(Template(nodes)) } else { problem("`{range}` without `{end}`") }
    }

    /// What it comes to for a document. What is not there is empty.
    pub(crate) fn render(&self, root: &Value) -> String {
        let mut text = String::new();
        render(&self.0, root, root, &mut text);
        text
    }
}

fn render(nodes: &[Node], root: &Value, current: &Value, text: &mut String) {
    for node in nodes {
        match node {
            Node::Text(literal) => text.push_str(literal),
            Node::Values(path) => {
                let values: Vec<String> = path.find(root, current).into_iter().map(shown).collect();
                text.push_str(&values.join(" "));
            }
            Node::Range(path, inside) => {
                for value in path.find(root, current) {
                    render(inside, root, value, text);
                }
            }
        }
    }
}

/// A value as text: that of JSON, but for text itself.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Number(number) if number.is_f64() => number.as_f64().map(float).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// A number with a fraction as programs in Go write it, kubectl among them: `0.5`, `1000`, `1e+06`.
fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => number.to_string(),
    }
}

fn words(text: &str) -> Result<Vec<Word>, Problem> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once('{') {
        if !before.is_empty() {
            words.push(Word::Text(before.to_owned()));
        }
        let Some(length) = path::end_of(inside, &['}']) else {
            return problem(format!("`{{{inside}` is not closed"));
        };
        let (expression, after) = inside.split_at(length);
        expressions(expression.trim(), &mut words)?;
        rest = after.strip_prefix('}').unwrap_or(after);
    }
    if !rest.is_empty() {
        words.push(Word::Text(rest.to_owned()));
    }
    Ok(words)
}

/// What stands in a pair of braces: one or more words.
fn expressions(text: &str, words: &mut Vec<Word>) -> Result<(), Problem> {
    if text == "end" {
        words.push(Word::End);
        return Ok(());
    }
    if let Some(path) = text.strip_prefix("range ") {
        words.push(Word::Range(Path::parse(path.trim())?));
        return Ok(());
    }
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(path::end_of(rest, &[' ']).unwrap_or(rest.len()));
        words.push(match path::unquoted(word) {
            Some(literal) => Word::Text(literal),
            None => Word::Path(Path::parse(word)?),
        });
        rest = after.trim_start();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value() -> Value {
        json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"x.org/y": "1"}}, "n": 1, "ports": [80, 81, 82]},
                {"metadata": {"name": "b"}, "n": 2.5, "ok": true, "status": {"addresses": [
                    {"type": "IP", "address": "192.0.2.1"}, {"type": "Name", "address": "h"}]}},
            ],
        })
    }

    #[test]
    fn templates_are_rendered() {
        let cases = [
            ("{.kind}", "List"),
            ("{$.kind}{'\\n'}", "List\n"),
            ("kinds: {.kind}!", "kinds: List!"),
            ("{.items[*].metadata.name}", "a b"),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1].metadata.name}", "b"),
            ("{.items[0].ports[0:2]}", "80 81"),
            ("{.items[0].ports[::2]}", "80 82"),
            ("{.items[0].ports[-2:]}", "81 82"),
            ("{.items[0].ports[0,2]}", "80 82"),
            ("{.items[0].ports}", "[80,81,82]"),
            ("{.items[0].metadata.labels.x\\.org/y}", "1"),
            ("{.items[0].metadata.labels['x.org/y']}", "1"),
            ("{.items[0]['metadata']['name']}", "a"),
            ("{.items[0].metadata['name','labels']}", r#"a {"x.org/y":"1"}"#),
            ("{..name}", "a b"),
            ("{.items[?(@.metadata.name==\"b\")].n}", "2.5"),
            ("{.items[?(@.metadata.name == 'b')].ok}", "true"),
            ("{.items[?(@.n>=2)].metadata.name}", "b"),
            ("{.items[?(@.n<2)].metadata.name}", "a"),
            ("{.items[?(@.ok)].metadata.name}", "b"),
            ("{.items[?(@.metadata.name!='b')].metadata.name}", "a"),
            ("{.items[*].status.addresses[?(@.type=='IP')].address}", "192.0.2.1"),
            ("{range .items[*]}{.metadata.name}={.n}{\"\\n\"}{end}", "a=1\nb=2.5\n"),
            ("{range .items[*]}[{range .ports[*]}{@}.{end}]{end}", "[80.81.82.][]"),
            ("{.items[*].metadata.name .kind}", "a bList"),
            ("{.kind \"-\" .kind}", "List-List"),
            ("{.no.such.thing}", ""),
            ("{.items[7].n}", ""),
            ("{.items[0].*.name}", "a"),
            ("plain", "plain"),
            ("", ""),
        ];
        for (template, want) in cases {
            let template_read =
                Template::parse(template).unwrap_or_else(|p| panic!("{template}: {p}"));
            assert_eq!(template_read.render(&value()), want, "{template}");
        }
    }

    #[test]
    fn numbers_are_written_as_in_go() {
        let cases = [
            (0.5, "0.5"),
            (1000.0, "1000"),
            (123_456.0, "123456"),
            (1_000_000.0, "1e+06"),
            (1_250_000.5, "1.2500005e+06"),
            (-0.000_01, "-1e-05"),
            (1e100, "1e+100"),
        ];
        for (number, want) in cases {
            assert_eq!(shown(&json!(number)), want);
        }
        assert_eq!(shown(&json!(1_000_000)), "1000000");
    }

    #[test]
    fn templates_that_make_no_sense_are_refused() {
        for (template, want) in [
            ("{.a", "not closed"),
            ("{end}", "without `{range}`"),
            ("{range .a}", "without `{end}`"),
            ("{.a[}", "not closed"),
            ("{.a[x]}", "`x`"),
            ("{.a[?(@.b ~ 1)]}", "`@.b ~ 1`"),
            ("{.a[?b]}", "`?b`"),
            ("{.a[::0]}", "step"),
            ("{a b}", "`a`"),
        ] {
            let problem = Template::parse(template).expect_err(template).to_string();
            assert!(problem.contains(want), "{template}: {problem}");
        }
    }
}
