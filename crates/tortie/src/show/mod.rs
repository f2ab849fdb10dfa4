//! How objects are shown: tables, YAML, JSON, names, columns of one's own, JSONPath templates.

pub(crate) mod describe;
pub(crate) mod jsonpath;
mod path;
pub(crate) mod table;
pub(crate) mod yaml;

use std::str::FromStr;

use serde_json::{Value, json};

use self::jsonpath::{Problem, Template, problem};
use self::path::Path;

/// What `-o` chooses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// The columns that the server says, or with more of them.
    Table { wide: bool },
    /// `kind/name`, one a line.
    Name,
    /// One document of YAML.
    Yaml,
    /// One document of JSON.
    Json,
    /// A template.
    JsonPath(Template),
    /// Headings and where their values are.
    Columns(Vec<(String, Path)>),
}

/// The formats, for messages and help.
pub(crate) const SHAPES: &str = "table, wide, name, yaml, json, jsonpath=TEMPLATE or \
                                 custom-columns=HEADING:PATH,…";

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        match (name, rest) {
            ("table", None) => Ok(Shape::Table { wide: false }),
            ("wide", None) => Ok(Shape::Table { wide: true }),
            ("name", None) => Ok(Shape::Name),
            ("yaml" | "yml", None) => Ok(Shape::Yaml),
            ("json", None) => Ok(Shape::Json),
            ("jsonpath", Some(template)) => Template::parse(template)
                .map(Shape::JsonPath)
                .map_err(|problem| problem.to_string()),
            ("custom-columns", Some(columns)) => columns
                .split(',')
                .map(column)
                .collect::<Result<_, Problem>>()
                .map(Shape::Columns)
                .map_err(|problem| problem.to_string()),
            _ => Err(format!("must be {SHAPES}")),
        }
    }
}

/// A heading and a path, with or without braces and its first dot.
fn column(text: &str) -> Result<(String, Path), Problem> {
    let Some((heading, path)) = text.split_once(':') else {
        return problem(format!("`{text}` is not HEADING:PATH"));
    };
    let path = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
    let path =
        if path.starts_with(['.', '[', '$', '@']) { path.into() } else { format!(".{path}") };
    Ok((heading.to_owned(), Path::parse(&path)?))
}

/// Columns of one's own.
pub(crate) fn columns(columns: &[(String, Path)], objects: &[Value]) -> table::Grid {
    let headings = columns.iter().map(|(heading, _)| heading.clone()).collect();
    let cell = |object: &Value, path: &Path| {
        let found: Vec<String> =
            path.find(object, object).into_iter().map(jsonpath::shown).collect();
        if found.is_empty() { "<none>".to_owned() } else { found.join(",") }
    };
    let row = |object| columns.iter().map(|(_, path)| cell(object, path)).collect();
    table::Grid { headings, rows: objects.iter().map(row).collect() }
}

/// Objects as one document: the object itself if it was asked for by name, or a list.
pub(crate) fn one_document(mut objects: Vec<Value>, single: bool) -> Value {
    if single && objects.len() == 1 {
        return objects.pop().unwrap_or_default();
    }
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read() {
        assert_eq!("wide".parse(), Ok(Shape::Table { wide: true }));
        assert!(matches!("jsonpath={.a}".parse(), Ok(Shape::JsonPath(_))));
        assert!("jsonpath={.a".parse::<Shape>().unwrap_err().contains("not closed"));
        for wrong in ["", "Yaml", "jsonpath", "json=1", "go-template={{.}}", "custom-columns=A"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn columns_are_filled() {
        let Ok(Shape::Columns(wanted)) = "custom-columns=NAME:.metadata.name,P:{.p[*]},Q:q".parse()
        else {
            panic!("no columns");
        };
        let objects = [json!({"metadata": {"name": "a"}, "p": [1, 2]}), json!({"q": "x"})];
        let grid = columns(&wanted, &objects);
        assert_eq!(grid.headings, ["NAME", "P", "Q"]);
        assert_eq!(grid.rows, [["a", "1,2", "<none>"], ["<none>", "<none>", "x"]]);
    }
}
