//! The part of JSONPath that columns of tables use: fields, positions, and one condition on the
//! elements of a list, as in `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// One step of a path.
enum Step<'a> {
    Field(&'a str),
    Position(usize),
    /// The first element of which a field has a value.
    Where(&'a str, &'a str),
    /// The first element.
    Any,
}

/// The first value that a path finds, without braces. A path that is not understood finds nothing.
pub(crate) fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut rest = path;
    let mut value = value;
    while !rest.is_empty() {
        let (step, after) = step(rest)?;
        value = match step {
            Step::Field(name) => value.get(name)?,
            Step::Position(position) => value.get(position)?,
            Step::Any => value.as_array()?.first()?,
            Step::Where(field, wanted) => {
                let is = |one: &&Value| find(one, field).and_then(Value::as_str) == Some(wanted);
                value.as_array()?.iter().find(is)?
            }
        };
        rest = after;
    }
    Some(value)
}

fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(inside) = path.strip_prefix('[') {
        return bracket(inside);
    }
    let rest = path.strip_prefix('.').unwrap_or(path);
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end)?;
    (!name.is_empty()).then_some((Step::Field(name), after))
}

fn bracket(inside: &str) -> Option<(Step<'_>, &str)> {
    if let Some(condition) = inside.strip_prefix("?(@") {
        let (condition, after) = condition.split_once(")]")?;
        let (field, wanted) = condition.split_once("==")?;
        return Some((Step::Where(field.trim(), unquoted(wanted.trim())?), after));
    }
    let (what, after) = inside.split_once(']')?;
    let step = match what {
        "*" => Step::Any,
        what => match what.parse() {
            Ok(position) => Step::Position(position),
            Err(_) => Step::Field(unquoted(what)?),
        },
    };
    Some((step, after))
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_values() {
        let value = json!({"a": {"b": [{"t": "x", "v": 1}, {"t": "y", "v": 2}], "c.d": 3}});
        let cases = [
            (".a.b[0].v", Some(json!(1))),
            (".a.b[?(@.t==\"y\")].v", Some(json!(2))),
            (".a.b[?(@.t == 'x')].v", Some(json!(1))),
            (".a.b[*].v", Some(json!(1))),
            (".a['c.d']", Some(json!(3))),
            (".a.z", None),
            (".a.b[", None),
            (".a..b", None),
            (".a.b[?(x)]", None),
        ];
        for (path, expected) in cases {
            assert_eq!(find(&value, path), expected.as_ref(), "{path}");
        }
    }
}
